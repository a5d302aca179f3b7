"""Batches of shards: shapes, targets and sample weights, and the alignment of images and masks."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from zoobot3d_tf.data.dataset import Share, Survey, evaluation_batches, training_batches
from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import Manifest, read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.shards.write import create_shards

FRAMING = Framing(initial_size=100, crop_size=75, final_size=64)


def one_survey(paths, n_answers: int, **settings) -> list[Survey]:
    return [Survey(tuple(map(str, paths)), np.eye(n_answers), **settings)]


def numpy_batches(dataset) -> list:
    return list(dataset.as_numpy_iterator())


@pytest.mark.parametrize("make", [training_batches, evaluation_batches])
def test_batches_have_the_form_that_the_model_needs(shards, make):
    manifest = read_manifest(shards)
    images, targets, weights = numpy_batches(make(one_survey(manifest.paths("train"), 34), FRAMING, batch_size=4))[0]
    assert images.shape == (4, 64, 64, 3)
    assert images.dtype == np.float32
    assert 20 < images.max() <= 255
    assert {name: target.shape for name, target in targets.items()} == {
        "votes": (4, 34),
        "spiral_mask": (4, 64, 64, 1),
        "bar_mask": (4, 64, 64, 1),
    }
    assert {name: weight.shape for name, weight in weights.items()} == dict.fromkeys(targets, (4,))


def test_weights_are_1_for_targets_that_exist_and_masks_are_fractions(shards):
    manifest = read_manifest(shards)
    records = list(iterate_records(manifest.paths("train")))
    whole = Framing(100, 100, 100)
    batches = numpy_batches(evaluation_batches(one_survey(manifest.paths("train"), 34), whole, batch_size=5))
    targets = {name: np.concatenate([batch[1][name] for batch in batches]) for name in batches[0][1]}
    weights = {name: np.concatenate([batch[2][name] for batch in batches]) for name in batches[0][2]}
    assert 0 < weights["spiral_mask"].sum() < len(records)
    for i, record in enumerate(records):
        np.testing.assert_array_equal(targets["votes"][i], record["votes"])
        for name in ("votes", "spiral_mask", "bar_mask"):
            assert weights[name][i] == record[f"has_{name}"]
        for name in ("spiral_mask", "bar_mask"):
            expected = 0 if record[name] is None else record[name] / record["n_volunteers"]
            np.testing.assert_allclose(targets[name][i, ..., 0], expected, atol=1e-6)


VOLUNTEERS = (1, 3, 7, 15, 100, 128, 255)


@pytest.fixture(scope="module")
def projects(tmp_path_factory) -> Manifest:
    """Shards of galaxies whose bars were drawn by different numbers of volunteers. Nobody was asked for spiral arms."""
    folder = tmp_path_factory.mktemp("projects")
    Image.fromarray(np.arange(32 * 32 * 3).astype(np.uint8).reshape(32, 32, 3)).save(folder / "galaxy.png")
    rows = []
    for n in VOLUNTEERS:
        Image.fromarray(np.linspace(0, n, 32 * 32).astype(np.uint8).reshape(32, 32)).save(folder / f"{n}.png")
        rows.append({"id_str": f"g{n}", "file_loc": "galaxy.png", "bar_mask_loc": f"{n}.png", "n_volunteers": n})
    pd.DataFrame(rows).assign(ring_yes=VOLUNTEERS, ring_no=0).to_csv(folder / "catalog.csv", index=False)
    options = ShardOptions(img_size=32, eval_size=0.5)
    return read_manifest(create_shards(folder / "catalog.csv", folder / "shards", get_schema("rings"), options).parent)


def test_counts_of_any_number_of_volunteers_become_their_fraction(projects):
    seen = 0
    for split in ("train", "eval"):
        [(_, targets, _)] = numpy_batches(
            evaluation_batches(one_survey(projects.paths(split), 2), Framing(32, 32, 32), 7)
        )
        for record, fraction in zip(iterate_records(projects.paths(split)), targets["bar_mask"], strict=True):
            np.testing.assert_allclose(fraction[..., 0], record["bar_mask"] / record["n_volunteers"], rtol=1e-6)
            seen += 1
    assert seen == len(VOLUNTEERS)


@pytest.mark.parametrize("make", [training_batches, evaluation_batches])
def test_masks_carry_the_number_of_volunteers_of_their_own_galaxy(projects, make):
    framing = Framing(32, 32, 32)
    seen = []
    for split in ("train", "eval"):
        paths = projects.paths(split)
        batches = numpy_batches(make(one_survey(paths, 2), framing, batch_size=2, with_volunteers=True))
        plain = numpy_batches(make(one_survey(paths, 2), framing, batch_size=2))
        for (_, targets, weights), (_, fractions, _) in zip(batches, plain, strict=True):
            # The first answer of each galaxy has as many votes as volunteers drew its bar.
            volunteers = targets["votes"][:, 0]
            for name in MASKS:
                assert targets[name].shape == (len(volunteers), 32, 32, 2)
                assert targets[name].dtype == np.float32
                np.testing.assert_array_equal(targets[name][..., 0], fractions[name][..., 0])
                np.testing.assert_array_equal(
                    targets[name][..., 1], np.broadcast_to(volunteers[:, None, None], (len(volunteers), 32, 32))
                )
            np.testing.assert_array_equal(weights["bar_mask"], 1)
            np.testing.assert_array_equal(weights["spiral_mask"], 0)
            seen += volunteers.astype(int).tolist()
    assert sorted(seen) == sorted(VOLUNTEERS)


def votes_and_images(paths, seed: int, epochs: range) -> tuple[np.ndarray, np.ndarray]:
    batches = numpy_batches(training_batches(one_survey(paths, 34), FRAMING, batch_size=4, seed=seed, epochs=epochs))
    return np.concatenate([batch[1]["votes"] for batch in batches]), np.concatenate([batch[0] for batch in batches])


def test_each_epoch_has_each_galaxy_once_in_another_order(shards):
    paths = read_manifest(shards).paths("train")
    stored = np.array([record["votes"] for record in iterate_records(paths)])
    votes = votes_and_images(paths, 3, range(2))[0].reshape(2, *stored.shape)
    for epoch in votes:
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(stored, axis=0))
    assert not np.array_equal(votes[0], votes[1])


def test_order_and_augmentation_follow_from_the_seed_and_the_epoch(shards):
    paths = read_manifest(shards).paths("train")
    whole = votes_and_images(paths, 3, range(3))
    continued = votes_and_images(paths, 3, range(1, 3))
    for received, expected in zip(continued, whole, strict=True):
        np.testing.assert_array_equal(received, expected[len(expected) // 3 :])
    assert not np.array_equal(votes_and_images(paths, 4, range(3))[1], whole[1])
    highest = votes_and_images(paths, 2**32 - 1, range(1))  # the largest seed of a run
    np.testing.assert_array_equal(np.sort(highest[0], axis=0), np.sort(whole[0][: len(highest[0])], axis=0))


def test_an_epoch_can_be_entered_within(shards):
    survey = one_survey(read_manifest(shards).paths("train"), 34)
    whole, rest = (
        numpy_batches(training_batches(survey, FRAMING, 4, seed=3, epochs=range(1, 3), first_batch=first))
        for first in (0, 2)
    )
    assert len(rest) == len(whole) - 2
    for received, expected in zip(rest, whole[2:], strict=True):
        np.testing.assert_array_equal(received[0], expected[0])


@pytest.mark.parametrize("make", [training_batches, evaluation_batches])
def test_the_parts_of_a_batch_are_the_batch(shards, make):
    survey = one_survey(read_manifest(shards).paths("train"), 34)
    n_galaxies = len(list(iterate_records(survey[0].paths)))
    batch_size = next(size for size in range(5, n_galaxies) if n_galaxies % size == 2)  # the last batch has two
    whole = numpy_batches(make(survey, FRAMING, batch_size))
    shares = [Share(range(2), 3), Share(range(2, 3), 3)]  # a process with two devices, and a process with one
    datasets = [make(survey, FRAMING, batch_size, share=share) for share in shares]
    # The step is traced for the shapes that a dataset promises.
    assert all(dataset.element_spec[:3] == make(survey, FRAMING, batch_size).element_spec for dataset in datasets)
    first, second = map(numpy_batches, datasets)
    assert (len(first), len(second)) == (2 * len(whole), len(whole))
    for number, (images, targets, _) in enumerate(whole):
        parts = [*first[2 * number : 2 * number + 2], second[number]]
        for place, (part, of_targets, _, weight) in enumerate(parts):
            rows = slice(place, None, 3) if len(images) >= 3 else slice(None)
            np.testing.assert_array_equal(part, images[rows])
            np.testing.assert_array_equal(of_targets["votes"], targets["votes"][rows])
            assert weight == pytest.approx(1 if len(images) >= 3 else 1 / 3)


def survey_of(paths, first_answer: int, **settings) -> Survey:
    """A survey whose votes go to one answer of two, so that a batch says which survey a galaxy is of."""
    to_tree = np.zeros((34, 2), np.float32)
    to_tree[:, first_answer] = 1
    return Survey(tuple(map(str, paths)), to_tree, **settings)


def test_surveys_are_mixed_in_the_numbers_of_each_epoch(shards):
    manifest = read_manifest(shards)
    surveys = [
        survey_of(manifest.paths("train"), 0, per_epoch=5),
        survey_of(manifest.paths("eval"), 1, per_epoch=30),  # more than there are
    ]

    def seen(epochs: range) -> np.ndarray:
        batches = numpy_batches(training_batches(surveys, FRAMING, 7, seed=1, epochs=epochs))
        votes = np.concatenate([batch[1]["votes"] for batch in batches])
        images = np.concatenate([batch[0] for batch in batches]).mean(axis=(1, 2, 3))
        return np.column_stack([votes, images])

    whole = seen(range(2))
    assert whole.shape == (70, 3)
    labelled = [int((votes[:, 0] > 0).sum()) for votes in (whole[:35], whole[35:])]
    assert max(labelled) <= 5
    first = whole[:35]
    assert (first[:, 1] > 0).sum() > 20
    assert not (first[:5, 0] > 0).all()  # not one survey after the other
    np.testing.assert_array_equal(seen(range(1, 2)), whole[35:])


def test_batches_of_surveys_alternate(shards):
    paths = read_manifest(shards).paths("train")
    surveys = [survey_of(paths, 0, per_epoch=8), survey_of(paths, 1, per_epoch=16)]
    batches = numpy_batches(training_batches(surveys, FRAMING, 8, alternating=True))
    has_survey = np.array([(batch[1]["votes"] > 0).any(axis=0) for batch in batches])
    np.testing.assert_array_equal(has_survey, [[False, True], [True, False], [False, True]])


def test_masked_galaxies_are_used_more_often(projects, shards):
    paths = read_manifest(shards).paths("train")
    records = list(iterate_records(paths))
    masked = sum(record["has_spiral_mask"] or record["has_bar_mask"] for record in records)
    n = len(records) + 2 * masked
    survey = survey_of(paths, 0, per_epoch=n, masked_times=3)
    weights = [batch[2]["spiral_mask"] for batch in numpy_batches(training_batches([survey], FRAMING, 8))]
    assert np.concatenate(weights).sum() == 3 * sum(record["has_spiral_mask"] for record in records)


def test_only_the_targets_of_the_tasks_are_read(shards):
    paths = read_manifest(shards).paths("eval")
    _, targets, weights = numpy_batches(evaluation_batches(one_survey(paths, 34), FRAMING, 4, tasks=("votes",)))[0]
    assert set(targets) == set(weights) == {"votes"}
    _, targets, _ = numpy_batches(training_batches(one_survey(paths, 34), FRAMING, 4, tasks=("bar_mask",)))[0]
    assert set(targets) == {"bar_mask"}


def test_images_and_masks_stay_aligned_from_the_catalogue_to_the_batch(tmp_path):
    rows = []
    for i, (x, y) in enumerate(np.random.default_rng(0).uniform(80, 120, (24, 2))):
        columns = np.clip(12.5 - np.hypot(*(np.mgrid[:200, :200] - np.array([y, x])[:, None, None])), 0, 1)
        Image.fromarray(np.repeat((columns * 240).astype(np.uint8)[..., None], 3, axis=2)).save(tmp_path / f"{i}.png")
        Image.fromarray((columns * 15).round().astype(np.uint8)).save(tmp_path / f"{i}_mask.png")
        rows.append(
            {"id_str": f"g{i}", "file_loc": f"{i}.png", "bar_mask_loc": f"{i}_mask.png", "ring_yes": 1, "ring_no": 0}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "catalog.csv", index=False)
    options = ShardOptions(img_size=150, eval_size=0.2)
    manifest = read_manifest(
        create_shards(tmp_path / "catalog.csv", tmp_path / "shards", get_schema("rings"), options).parent
    )
    for paths, make in ((manifest.paths("train"), training_batches), (manifest.paths("eval"), evaluation_batches)):
        for images, targets, _ in numpy_batches(make(one_survey(paths, 2), Framing(150, 112, 128), batch_size=4)):
            for image, mask in zip(images, targets["bar_mask"], strict=True):
                apart = np.subtract(ndimage.center_of_mass(image[..., 0]), ndimage.center_of_mass(mask[..., 0]))
                assert np.hypot(*apart) < 0.1

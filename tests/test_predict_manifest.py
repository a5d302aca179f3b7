"""Manifests, and the framing of checkpoints with and without a fixed crop."""

import json

import pytest
from archive_server import archive_server
from prediction_runs import CROP, DECALS, INITIAL, make_run

from zoobot3d_tf.active_learning.fixed_crop import FixedCrop
from zoobot3d_tf.active_learning.predict_manifest import ManifestOptions, predict_manifest, read_manifest
from zoobot3d_tf.predictions import network
from zoobot3d_tf.runs.checkpoint_file import write_checkpoint

BOX = {"lower_left_x": 0, "lower_left_y": 0, "upper_right_x": 40, "upper_right_y": 40}


def entry(url, **described):
    return [url, json.dumps({"project_id": "1", "subject_set_id": "2", "frame_id": "0", **described})]


@pytest.fixture
def manifest():
    """Function that reads a manifest with this content from a server."""

    def read(content):
        text = content if isinstance(content, str) else json.dumps(content)
        with archive_server({"manifest.json": text.encode()}) as server:
            return read_manifest(f"{server.url}manifest.json")

    return read


def test_each_subject_has_its_first_image(manifest):
    images, failures = manifest(
        [entry("u/1.png", subject_id=7), entry("u/2.png", subject_id="8"), entry("u/3.png", subject_id="7")]
    )
    assert images == {"7": "u/1.png", "8": "u/2.png"}
    assert failures == [("7", "u/3.png", "only the first image of a subject is used")]


def test_an_id_that_cannot_name_a_file_costs_its_subject(manifest):
    images, failures = manifest([entry("u/1.png", subject_id="../x"), entry("u/2.png", subject_id="8")])
    assert list(images) == ["8"]
    assert failures[0][:2] == ("../x", "u/1.png")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "manifest.json: the manifest is not valid JSON"),
        ({"a": 1}, "must be a JSON list"),
        (
            [entry("u", subject_id="1"), ["u"]],
            r"entry 1 of the manifest must be \[address, JSON text with subject_id\]",
        ),
        ([entry("u")], "entry 0 of the manifest"),
        ([["u", "not json"]], "entry 0 of the manifest"),
        ([entry(5, subject_id="1")], "entry 0 of the manifest"),
    ],
)
def test_other_manifests_are_refused(manifest, content, words):
    with pytest.raises(ValueError, match=words):
        manifest(content)


def test_an_address_without_a_manifest_is_an_error():
    with archive_server() as server, pytest.raises(OSError, match=r"none.json: cannot be downloaded: HTTP status 404"):
        read_manifest(f"{server.url}none.json")


class SeenImages:
    """A stand-in for the network that keeps the images that it sees, and is certain that all galaxies are smooth."""

    step = 2

    def __init__(self, run, masks, n_samples, *settings):
        self.n_samples = n_samples
        SeenImages.framing = run.framing
        SeenImages.images = []

    def __call__(self, images, id_strs):
        import numpy as np

        SeenImages.images += list(images[: len(id_strs)])
        votes = np.ones((self.step, len(DECALS.answers), self.n_samples), np.float32)
        votes[:, 0] = 101
        return {"votes": votes}


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Function that predicts images from a server with the stand-in, and returns the content of predictions.json."""
    monkeypatch.setattr(network, "Network", SeenImages)

    def predict(checkpoint, images, **options):
        with archive_server(images) as server:
            entries = [entry(server.url + name, subject_id=str(i)) for i, name in enumerate(images)]
            server.files["manifest.json"] = json.dumps(entries).encode()
            save_path = tmp_path / "predictions.json"
            predict_manifest(checkpoint, f"{server.url}manifest.json", save_path, ManifestOptions(**options))
            return json.loads(save_path.read_text())

    return predict


def picture(height=48, width=48):
    """PNG whose red band is the number of the row, and whose green band is the number of the column."""
    import cv2
    import numpy as np

    rows, columns = np.mgrid[:height, :width]
    return cv2.imencode(".png", np.stack([0 * rows, columns, rows], axis=-1).astype(np.uint8))[1].tobytes()


def test_a_checkpoint_keeps_its_fixed_crop(tmp_path, predict):
    run = make_run(tmp_path / "run", tasks=["votes"], sizes=(INITIAL, INITIAL, 32))
    checkpoint = write_checkpoint(run, tmp_path / "zoobot.ckpt", {"fixed_crop": BOX})
    content = predict(checkpoint, {"a.png": picture()}, num_samples=3)
    assert content["data"] == {"0": {str(n): [0.0, [101.0, 1.0, 1.0]] for n in range(3)}}
    (image,) = SeenImages.images
    assert image[0, 0].max() <= 1  # the first pixels of rows and columns
    assert abs(int(image[-1, -1, 0]) - 39) <= 1
    with pytest.raises(ValueError, match=r"trained with fixed_crop .* received .*41"):
        predict(checkpoint, {"a.png": picture()}, fixed_crop=FixedCrop(**BOX | {"upper_right_x": 41}))


def test_a_fixed_crop_is_seen_whole_by_a_checkpoint_without_one(tmp_path, predict, caplog):
    run = make_run(tmp_path / "run", tasks=["votes"])
    predict(run, {"a.png": picture()})
    assert SeenImages.framing.crop_size == CROP
    predict(run, {"a.png": picture()}, fixed_crop=FixedCrop(**BOX))
    assert SeenImages.framing.crop_size == INITIAL
    assert "trained without fixed_crop" in caplog.text


def test_a_smaller_image_is_left_out_and_groups_follow_each_other(tmp_path, predict):
    run = make_run(tmp_path / "run", tasks=["votes"])
    images = {f"{n}.png": picture(20 if n == 4 else 48) for n in range(7)}
    content = predict(run, images, fixed_crop=FixedCrop(**BOX), batch_size=2, prefetch_factor=1)
    assert list(content["data"]) == ["0", "1", "2", "3", "5", "6"]
    failed = (tmp_path / "predictions_failed.csv").read_text().splitlines()
    assert len(failed) == 2
    assert failed[1].startswith("4,http://127.0.0.1:")
    assert "it has 20 x 48" in failed[1]


def test_without_any_image_nothing_is_written(tmp_path, predict):
    run = make_run(tmp_path / "run", tasks=["votes"])
    with pytest.raises(ValueError, match=r"none of its images can be used; the first error: .*a.png"):
        predict(run, {"a.png": b"no image"})
    assert not (tmp_path / "predictions.json").exists()
    assert predict(run, {})["data"] == {}


def test_models_and_options_that_production_cannot_use_are_refused(tmp_path, predict):
    with pytest.raises(ValueError, match="does not predict votes"):
        predict(make_run(tmp_path / "masks", tasks=["bar_mask"]), {})
    with pytest.raises(ValueError, match="batch_size must be at least 1; received 0"):
        ManifestOptions(batch_size=0)
    with pytest.raises(ValueError, match=r"predictions.csv: the name of the file of predictions must end in .json"):
        predict_manifest(tmp_path, "http://127.0.0.1/", tmp_path / "predictions.csv")

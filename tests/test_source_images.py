"""Reading of images from files and shards: in order, unchanged, with an error for each unusable image."""

import errno
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from astropy.io import fits
from PIL import Image

from zoobot3d_tf.images.read import ImageError, read_image
from zoobot3d_tf.images.rgb import to_rgb
from zoobot3d_tf.images.stretch import STRETCHES
from zoobot3d_tf.inference.inputs import galaxies_in_folder, galaxies_in_list, galaxies_in_shards
from zoobot3d_tf.inference.source_images import read_images
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records, read_records
from zoobot3d_tf.shards.record import encode_image, encode_mask
from zoobot3d_tf.shards.write import create_shards


def draw_galaxies(folder: Path, n: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (32 + i, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def shards(tmp_path) -> Path:
    """Shards of nine galaxies: five and one for training, three for evaluation."""
    folder = draw_galaxies(tmp_path / "drawn", 9)
    table = pd.DataFrame({"id_str": [f"g{i}" for i in range(9)], "file_loc": [f"{i}.png" for i in range(9)]})
    table.assign(ring_yes=1, ring_no=1).to_csv(folder / "catalog.csv", index=False)
    options = ShardOptions(img_size=32, eval_size=0.3, shard_size=4)
    return create_shards(folder / "catalog.csv", tmp_path / "shards", get_schema("rings"), options).parent


def test_images_of_files_come_in_order_and_unchanged(tmp_path):
    folder = draw_galaxies(tmp_path / "images", 3)
    fluxes = np.random.default_rng(0).normal(0.05, 0.05, (3, 32, 20)).astype(np.float32)
    fits.PrimaryHDU(fluxes, fits.Header({"BANDS": "grz"})).writeto(folder / "flux.fits")
    galaxies = galaxies_in_folder(folder)[::-1]
    assert list(galaxies["id_str"]) == ["flux", "2", "1", "0"]
    for stretch in STRETCHES:
        flux, *others = read_images(galaxies, stretch)
        np.testing.assert_array_equal(flux, to_rgb(fluxes, stretch=stretch)[::-1])
        for i, image in zip((2, 1, 0), others, strict=True):
            np.testing.assert_array_equal(image, read_image(folder / f"{i}.png"))


def test_an_unusable_image_gives_an_error_and_the_others_are_read(tmp_path):
    folder = draw_galaxies(tmp_path / "images", 2)
    (folder / "half.png").write_bytes((folder / "0.png").read_bytes()[:500])
    (folder / "folder.png").mkdir()
    Image.new("RGB", (40, 40)).save(folder / "black.png")
    reasons = {
        "0.png": None,
        "missing.png": "no such file",
        "half.png": "cannot be read",
        "folder.png": "a folder",
        "black.png": "every pixel",
        "1.png": None,
    }
    (tmp_path / "list.txt").write_text("\n".join(str(folder / name) for name in reasons))
    outcomes = list(read_images(galaxies_in_list(tmp_path / "list.txt"), "galaxy-zoo"))
    for (name, reason), outcome in zip(reasons.items(), outcomes, strict=True):
        if reason is None:
            np.testing.assert_array_equal(outcome, read_image(folder / name))
        else:
            assert isinstance(outcome, ImageError)
            assert str(outcome).startswith(f"{folder / name}: ")
            assert reason in str(outcome)


def test_images_of_shards_are_the_stored_images_in_any_order(shards):
    manifest = read_manifest(shards)
    paths = [path for split in manifest.splits for path in manifest.paths(split)]
    stored = [galaxy["image"] for galaxy in iterate_records(paths)]
    galaxies = galaxies_in_shards(shards)
    assert len(galaxies) == 9
    for rows in (range(9), range(2, 7), [3, 4, 0, 8, 7, 7]):
        images = list(read_images(galaxies.iloc[list(rows)], "galaxy-zoo"))
        for row, image in zip(rows, images, strict=True):
            np.testing.assert_array_equal(image, stored[row])


def test_images_are_read_one_after_the_other(tmp_path):
    folder = draw_galaxies(tmp_path / "images", 3)
    images = read_images(galaxies_in_folder(folder), "galaxy-zoo")
    assert isinstance(next(images), np.ndarray)
    (folder / "1.png").unlink()
    assert isinstance(next(images), ImageError)
    assert isinstance(next(images), np.ndarray)


def test_only_the_galaxy_of_a_damaged_record_is_skipped(shards):
    galaxies = galaxies_in_shards(shards)
    path = Path(galaxies["file_loc"][0])
    whole = list(read_images(galaxies, "galaxy-zoo"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    outcomes = list(read_images(galaxies, "galaxy-zoo"))
    failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, ImageError)]
    assert len(failed) == 1
    record = galaxies["record"][failed[0]]
    assert 0 < record < (galaxies["file_loc"] == str(path)).sum() - 1
    assert str(outcomes[failed[0]]).startswith(f"{path}: record {record} is damaged or missing")
    for i in set(range(len(whole))) - set(failed):
        np.testing.assert_array_equal(outcomes[i], whole[i])


def test_each_galaxy_lost_with_a_cut_or_missing_shard_gives_an_error(shards):
    galaxies = galaxies_in_shards(shards)
    path = Path(galaxies["file_loc"][0])
    n_in_shard = (galaxies["file_loc"] == str(path)).sum()
    path.write_bytes(path.read_bytes()[:-9])
    outcomes = list(read_images(galaxies, "galaxy-zoo"))
    failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, ImageError)]
    assert failed == [n_in_shard - 1]
    path.unlink()
    outcomes = list(read_images(galaxies, "galaxy-zoo"))
    assert [str(outcome) for outcome in outcomes[:n_in_shard]] == [f"{path}: no such file"] * n_in_shard
    assert isinstance(outcomes[n_in_shard], np.ndarray)


@pytest.mark.parametrize(
    ("encode", "reason"),
    [
        (lambda: b"\xff\xd8 no picture", "cannot be decoded"),
        (lambda: b"", "record 1: "),
        (lambda: encode_mask(np.eye(32, dtype=np.uint8)), "three colours"),
        (lambda: encode_image(np.full((32, 32, 3), 90, np.uint8)), "every pixel"),
    ],
)
def test_only_the_galaxy_of_an_unusable_stored_image_is_skipped(shards, encode, reason):
    path = read_manifest(shards).paths("train")[0]
    galaxies = galaxies_in_shards(shards / "train_shards")
    records = [tf.train.Example.FromString(serialised.numpy()) for serialised in read_records([path])]
    records[1].features.feature["image"].bytes_list.value[0] = encode()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    outcomes = list(read_images(galaxies, "galaxy-zoo"))
    assert [isinstance(outcome, ImageError) for outcome in outcomes] == [i == 1 for i in range(len(outcomes))]
    assert str(outcomes[1]).startswith(f"{path}: record 1: ")
    assert reason in str(outcomes[1])


@pytest.mark.parametrize(
    "error", [tf.errors.UnknownError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError]
)
def test_errors_of_the_machine_pass_and_name_the_shard(shards, monkeypatch, error):
    galaxies = galaxies_in_shards(shards)

    def fail(*arguments):
        raise error(None, None, "Input/output error")

    monkeypatch.setattr("zoobot3d_tf.shards.record.parse", fail)
    with pytest.raises(OSError, match=r"00000-of-.*\.tfrecord: cannot be read: Input/output error"):
        next(read_images(galaxies, "galaxy-zoo"))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_errors_of_the_machine_are_no_error_of_a_galaxy(tmp_path, shards, monkeypatch, error):
    folder = draw_galaxies(tmp_path / "images", 2)

    def fail(path, mode):
        raise error

    for galaxies in (galaxies_in_folder(folder), galaxies_in_shards(shards)):
        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", fail)
            with pytest.raises(type(error), match=galaxies["file_loc"][0]):
                next(read_images(galaxies, "galaxy-zoo"))

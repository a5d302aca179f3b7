"""Listing galaxies: one form of table from folders, catalogues, shards and lists, and errors about faulty inputs."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from PIL import Image

from zoobot3d_tf.inference.inputs import (
    fingerprint,
    galaxies_in_catalog,
    galaxies_in_folder,
    galaxies_in_list,
    galaxies_in_shards,
    is_image,
)
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.shards.write import create_shards

COLUMNS = ["id_str", "file_loc", "record", "ra", "dec", "pixscale"]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write_catalog(path: Path, **columns) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def check_form(galaxies: pd.DataFrame) -> None:
    assert list(galaxies.columns) == COLUMNS
    assert galaxies["record"].dtype == np.int64
    assert all(galaxies[name].dtype == np.float64 for name in ("ra", "dec", "pixscale"))
    assert all(isinstance(value, str) for name in ("id_str", "file_loc") for value in galaxies[name])
    assert all(os.path.isabs(loc) for loc in galaxies["file_loc"])


# Folders


def test_images_are_found_by_suffix_sorted_and_hidden_ones_passed_over(tmp_path):
    touch(tmp_path, "b.png", "a.2.PNG", "c.jpg", "d.jpeg", ".hidden.png", "sub/a.png", ".cache/a.png", "sub/deep/e.png")
    touch(tmp_path, "f.fits", "g.fits.gz", "h.1.FITS.FZ", "i.fit", "notes.txt", "j.gz")

    def ids(*arguments):
        galaxies = galaxies_in_folder(tmp_path, *arguments)
        check_form(galaxies)
        return list(galaxies["id_str"])

    assert ids("png") == ["a.2", "b"]
    assert ids("jpg") == ["c", "d"]
    assert ids("fits") == ["f", "g", "h.1", "i"]
    assert ids() == ["a.2", "b", "c", "d", "f", "g", "h.1", "i"]
    assert ids("png", True) == ["a.2", "b", "sub/a", "sub/deep/e"]
    galaxies = galaxies_in_folder(tmp_path, "png", recursive=True)
    names = ["a.2.PNG", "b.png", "sub/a.png", "sub/deep/e.png"]
    assert list(galaxies["file_loc"]) == [str(tmp_path / name) for name in names]
    assert (galaxies["record"] == -1).all()
    assert galaxies[["ra", "dec", "pixscale"]].isna().all(axis=None)


def test_a_folder_named_as_an_image_is_a_folder_and_a_dangling_link_is_not_lost(tmp_path):
    touch(tmp_path, "a.png/b.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert list(galaxies_in_folder(tmp_path)["id_str"]) == ["lost"]
    assert list(galaxies_in_folder(tmp_path, recursive=True)["id_str"]) == ["a.png/b", "lost"]


def test_links_to_folders_are_followed_but_not_round_in_circles(tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "b.png", "deep/c.png")
    images = touch(tmp_path / "images", "sub/a.png")
    (images / "sub" / "again").symlink_to(images)
    (images / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(images / "sub")
    (elsewhere / "itself").symlink_to("itself")
    ids = ["linked/b", "linked/deep/c", "sub/a"]
    assert list(galaxies_in_folder(images, recursive=True)["id_str"]) == ids
    assert list(galaxies_in_folder(images / "linked")["id_str"]) == ["b"]


def test_folders_that_link_to_each_other_are_listed_once_each_by_their_own_names(tmp_path):
    for i in range(12):
        touch(tmp_path, f"{i:02d}/a.png")
        for j in range(12):
            (tmp_path / f"{i:02d}" / f"to_{j}").symlink_to(tmp_path / f"{j:02d}")
    assert list(galaxies_in_folder(tmp_path, recursive=True)["id_str"]) == [f"{i:02d}/a" for i in range(12)]


def test_other_formats_are_read_or_counted_with_the_reason(tmp_path, caplog):
    touch(tmp_path, "a.png", "b.TIF", "c.tiff", "d.fits.bz2", "e.fts", "f.fit.gz")
    touch(tmp_path, "1.webp", "2.WEBP", "3.fits.xz", "README", "sub/4.gif", ".hidden.webp")
    assert list(galaxies_in_folder(tmp_path)["id_str"]) == ["a", "b", "c", "d", "e", "f"]
    assert len(caplog.messages) == 1
    assert "4 files are left out" in caplog.messages[0]
    assert caplog.messages[0].endswith(": 2 .webp, 1 .xz, 1 without a suffix")
    assert list(galaxies_in_folder(tmp_path, "tif", True)["id_str"]) == ["b", "c"]
    assert "1 .gif" in caplog.messages[1]
    caplog.clear()
    galaxies_in_folder(touch(tmp_path / "images", "a.png"))
    assert not caplog.messages


@pytest.mark.parametrize("name", ["a.1.png", "a.1.FITS.bz2", "a.1.tif"])
def test_one_image_is_taken_as_a_folder_of_one(tmp_path, name, monkeypatch):
    touch(tmp_path, name, "other.png", "notes.txt")
    monkeypatch.chdir(tmp_path)
    galaxies = galaxies_in_folder(name)
    check_form(galaxies)
    assert list(galaxies["id_str"]) == ["a.1"]
    assert list(galaxies["file_loc"]) == [str(tmp_path / name)]


def test_one_id_for_two_images_is_refused_by_both_names(tmp_path):
    touch(tmp_path, "a.jpg", "a.b.jpg", "a.jpeg", "z.png")
    with pytest.raises(ValueError, match=r"/a.jpeg and .*/a.jpg .*'a'"):
        galaxies_in_folder(tmp_path)


def test_a_name_that_no_table_can_hold_is_refused(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/gal\xe9.png")).touch()
    with pytest.raises(ValueError, match=r"'gal.udce9' .*UTF-8"):
        galaxies_in_folder(tmp_path, "png")


def test_an_unfit_id_is_listed_with_its_galaxy(tmp_path):
    """The galaxy fails alone when the job reads its image."""
    touch(tmp_path, "a.png", "two\nlines.png")
    assert list(galaxies_in_folder(tmp_path)["id_str"]) == ["a", "two\nlines"]


@pytest.mark.parametrize(
    ("name", "file_format", "error", "words"),
    [
        ("nowhere", None, FileNotFoundError, "/nowhere: no such folder"),
        ("notes.txt", None, OSError, "notes.txt: .*folder .*image"),
        ("images/a.png", "jpg", OSError, "a.png: .*.jpg or .jpeg"),
        ("images", "jpg", ValueError, "images: .* .jpg or .jpeg .*recursive"),
        ("images", "gif", ValueError, "file_format must be one of png, jpg, tif, fits; received 'gif'"),
    ],
)
def test_folders_without_images_are_refused(tmp_path, name, file_format, error, words):
    touch(tmp_path, "images/a.png", "notes.txt")
    with pytest.raises(error, match=words):
        galaxies_in_folder(tmp_path / name, file_format)


def test_a_folder_that_cannot_be_listed_is_an_error_not_a_gap(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(place):
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list(galaxies_in_folder(tmp_path)["id_str"]) == ["a"]
    with pytest.raises(OSError, match=r"closed: .*Permission denied"):
        galaxies_in_folder(tmp_path, recursive=True)


# Catalogues


def test_a_catalogue_keeps_its_order_and_what_it_knows(tmp_path):
    path = write_catalog(
        tmp_path / "catalog.csv",
        id_str=["007", "NA", "a/b"],
        file_loc=["z.png", "/elsewhere/a.fits", "no such file.jpg"],
        ra=[10.5, "", 359],
        dec=[-5, "", 89.5],
        pixscale=["", 0.262, 0.4],
        spiral_fraction=[0.1, 0.2, 0.3],
    )
    galaxies = galaxies_in_catalog(path)
    check_form(galaxies)
    assert list(galaxies["id_str"]) == ["007", "NA", "a/b"]
    assert list(galaxies["file_loc"]) == [f"{tmp_path}/z.png", "/elsewhere/a.fits", f"{tmp_path}/no such file.jpg"]
    np.testing.assert_array_equal(galaxies["ra"], [10.5, np.nan, 359])
    np.testing.assert_array_equal(galaxies["dec"], [-5, np.nan, 89.5])
    np.testing.assert_array_equal(galaxies["pixscale"], [np.nan, 0.262, 0.4])
    assert galaxies_in_catalog(path, "/images")["file_loc"][0] == "/images/z.png"


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".ecsv"])
def test_catalogues_of_other_formats_are_read_alike(tmp_path, suffix):
    from zoobot3d_tf.tables.formats import write_table

    table = pd.DataFrame({"id_str": ["0001", "b"], "file_loc": ["1.png", "2.png"], "pixscale": [0.2, 0.3]})
    galaxies = galaxies_in_catalog(write_table(table, tmp_path / f"catalog{suffix}"))
    check_form(galaxies)
    assert list(galaxies["id_str"]) == ["0001", "b"]
    np.testing.assert_array_equal(galaxies["pixscale"], [0.2, 0.3])
    assert galaxies["ra"].isna().all()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id_str": ["a"]}, "lacks the column file_loc"),
        ({"id_str": [], "file_loc": []}, "the catalogue has no rows"),
        (
            {"id_str": ["a", "b", "a"], "file_loc": ["1", "2", "3"]},
            "/1 and .*/3 .*'a'",
        ),
        ({"id_str": ["a", "b"], "file_loc": ["1", ""]}, r"file_loc is '' in row 3 \(b\)"),
        ({"id_str": ["a"], "file_loc": ["1"], "ra": [1]}, "lacks the column dec"),
        ({"id_str": ["a"], "file_loc": ["1"], "ra": [1], "dec": [91]}, r"dec is 91.* in row 2 \(a\)"),
        (
            {"id_str": ["a"], "file_loc": ["1"], "pixscale": [0]},
            "pixscale is 0 in row 2 .a.; .* arcsec",
        ),
        ({"id_str": ["a"], "file_loc": ["1"], "pixscale": ["x"]}, "pixscale is 'x' in row 2 .a.; .*number"),
    ],
)
def test_bad_catalogues_are_refused(tmp_path, columns, words):
    with pytest.raises(ValueError, match=f"catalog.csv: .*{words}"):
        galaxies_in_catalog(write_catalog(tmp_path / "catalog.csv", **columns))


# Shards


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """Shards of eleven galaxies, stored at half the size of their images: two training files, one evaluation file."""
    folder = tmp_path_factory.mktemp("stored")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(11):
        Image.fromarray(rng.integers(0, 256, (64, 70, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        rows.append({"id_str": f"g/{i}é", "file_loc": f"{i}.png", "ring_yes": 1, "ring_no": 1, "ra": i, "dec": -i})
        rows[-1]["pixscale"] = 0.2 if i else None
    pd.DataFrame(rows).to_csv(folder / "catalog.csv", index=False)
    options = ShardOptions(img_size=32, eval_size=0.3, shard_size=5)
    return create_shards(folder / "catalog.csv", folder / "shards", get_schema("rings"), options).parent


def test_galaxies_of_shards_stand_in_the_order_of_the_records(stored):
    galaxies = galaxies_in_shards(stored)
    check_form(galaxies)
    manifest = read_manifest(stored)
    paths = [path for split in manifest.splits for path in manifest.paths(split)]
    records = list(iterate_records(paths))
    assert len(galaxies) == len(records) == 11
    for name in ("id_str", "ra", "dec", "pixscale"):
        np.testing.assert_array_equal(galaxies[name], [record[name] for record in records])
    assert sorted(galaxies["id_str"]) == sorted(f"g/{i}é" for i in range(11))
    for path in paths:
        rows = galaxies[galaxies["file_loc"] == str(path)]
        assert list(rows["record"]) == list(range(len(rows)))
    by_id = galaxies.set_index("id_str")
    assert by_id.loc["g/3é", "pixscale"] == pytest.approx(0.4)
    assert np.isnan(by_id.loc["g/0é", "pixscale"])


def test_one_folder_of_shards_is_a_part_of_them(stored, monkeypatch):
    whole = galaxies_in_shards(stored)
    monkeypatch.chdir(stored)
    parts = [galaxies_in_shards("train_shards"), galaxies_in_shards("eval_shards")]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


def test_shards_of_the_first_version_do_not_know_the_scale_of_what_they_hold(stored, tmp_path):
    copy = shutil.copytree(stored, tmp_path / "old")
    manifest = (copy / "shards.json").read_text()
    (copy / "shards.json").write_text(manifest.replace('"format_version": 3', '"format_version": 1'))
    galaxies = galaxies_in_shards(copy)
    assert galaxies["pixscale"].isna().all()
    assert galaxies["ra"].notna().all()


def test_a_shard_without_galaxies_is_passed_over(stored, tmp_path):
    copy = shutil.copytree(stored, tmp_path / "copy")
    content = json.loads((copy / "shards.json").read_text())
    (copy / "train_shards" / "empty.tfrecord").touch()
    counts = dict.fromkeys(("galaxies", "with_votes", "with_spiral_mask", "with_bar_mask", "bytes"), 0)
    empty = {"name": "train_shards/empty.tfrecord", "sha256": "", **counts}
    content["splits"]["train"]["files"].insert(1, empty)
    (copy / "shards.json").write_text(json.dumps(content))
    galaxies = galaxies_in_shards(copy)
    check_form(galaxies)
    pd.testing.assert_frame_equal(
        galaxies.drop(columns="file_loc"), galaxies_in_shards(stored).drop(columns="file_loc")
    )
    content["splits"]["train"]["files"][0]["galaxies"] += 1
    (copy / "shards.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"train-00000-of-00002.tfrecord: .* 5 galaxies.*shards.json .*6"):
        galaxies_in_shards(copy)


def test_damaged_shards_are_refused(stored, tmp_path):
    copy = shutil.copytree(stored, tmp_path / "damaged")
    path = copy / "train_shards" / "train-00000-of-00002.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-00000-of-00002.tfrecord: .*damaged record"):
        galaxies_in_shards(copy)
    path.write_bytes(content[:-7])
    with pytest.raises(ValueError, match=r"train-00000-of-00002.tfrecord: .* bytes"):
        galaxies_in_shards(copy)
    (copy / "other").mkdir()
    with pytest.raises(ValueError, match=r"other: .*shards.json .*no galaxies"):
        galaxies_in_shards(copy / "other")
    with pytest.raises(FileNotFoundError, match=r"no shards.json"):
        galaxies_in_shards(tmp_path)


# Lists


def test_a_list_is_taken_line_by_line_from_a_file_or_standard_input(tmp_path, monkeypatch):
    text = "b.png\r\n\n/elsewhere/sub/a.2.FITS.gz\n  \nsub/no suffix.2\nspace .jpg"
    (tmp_path / "list.txt").write_text(text, newline="")
    monkeypatch.chdir(tmp_path)
    galaxies = galaxies_in_list("list.txt")
    check_form(galaxies)
    assert list(galaxies["id_str"]) == ["b", "a.2", "no suffix.2", "space "]
    assert list(galaxies["file_loc"]) == [
        f"{tmp_path}/b.png",
        "/elsewhere/sub/a.2.FITS.gz",
        f"{tmp_path}/sub/no suffix.2",
        f"{tmp_path}/space .jpg",
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    pd.testing.assert_frame_equal(galaxies_in_list("-"), galaxies)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "list.txt: lists no images"),
        (b"\n \n", "list.txt: lists no images"),
        (b"\x89PNG\r\n", "list.txt: .*UTF-8 .*one path per line"),
        (b"a/g.png\nb/g.jpg\n", "/a/g.png and .*/b/g.jpg .*'g'"),
    ],
)
def test_bad_lists_are_refused(tmp_path, content, words):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        galaxies_in_list(tmp_path / "list.txt")


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list.txt: no such"):
        galaxies_in_list(tmp_path / "list.txt")


# Fingerprints


def test_a_fingerprint_notices_other_galaxies_and_other_files(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    path = write_catalog(tmp_path / "c.csv", id_str=["a", "b", "c"], file_loc=["a.png", "b.png", "lost.png"])
    galaxies = galaxies_in_catalog(path)
    before = fingerprint(galaxies)
    assert fingerprint(galaxies_in_catalog(path)) == before
    assert fingerprint(galaxies[::-1]) != before
    assert fingerprint(galaxies.assign(pixscale=0.2)) != before
    assert fingerprint(galaxies.assign(ra=-galaxies["ra"])) == before  # the sign of a NaN does not matter
    os.utime(tmp_path / "b.png", (1, 1))
    touched = fingerprint(galaxies)
    assert touched != before
    (tmp_path / "lost.png").touch()
    assert fingerprint(galaxies) != touched


def test_a_fingerprint_notices_other_shards(stored, tmp_path):
    copy = shutil.copytree(stored, tmp_path / "copy")
    galaxies = galaxies_in_shards(copy)
    before = fingerprint(galaxies)
    os.utime(copy / "eval_shards" / "eval-00000-of-00001.tfrecord", (1, 1))
    assert fingerprint(galaxies) != before


def test_an_image_is_told_from_a_catalogue_of_the_same_format(tmp_path):
    fits.ImageHDU(np.zeros((20, 20))).writeto(tmp_path / "image.fits")
    fits.PrimaryHDU(np.zeros((20, 20))).writeto(tmp_path / "primary.fit")
    fits.CompImageHDU(np.zeros((20, 20))).writeto(tmp_path / "packed.fits.fz")
    fits.BinTableHDU.from_columns([fits.Column("id_str", "3A", array=["a"])]).writeto(tmp_path / "catalog.fits")
    touch(tmp_path, "a.JPG", "b.csv", "c.fits")
    found = {path.name for path in tmp_path.iterdir() if is_image(path)}
    assert found == {"image.fits", "primary.fit", "packed.fits.fz", "a.JPG", "c.fits"}
    assert not is_image(tmp_path)
    assert not is_image(tmp_path / "missing.png")

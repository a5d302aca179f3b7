"""Files of Galaxy Zoo: 3D: real files give the published values, and damaged files do not affect other files."""

import errno
import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from zoobot3d_tf.images.masks import counts_from_marks
from zoobot3d_tf.images.wcs import north_up_wcs
from zoobot3d_tf.surveys import gz3d
from zoobot3d_tf.surveys.gz3d import gz3d_catalog, gz3d_marks, mask_wcs, read_gz3d
from zoobot3d_tf.tables.formats import read_table

SPIRAL, NOT_SPIRAL, BLANK, UNASKED = (
    "1-304336_127_14724446",
    "1-379196_127_14728482",
    "1-999902_19_99999902",
    "1-999901_37_99999901",
)
TRIANGLE = [[[10, 10], [20.5, 10], [10, 30]]]


@pytest.fixture(scope="module")
def golden(reference):
    return reference / "reference" / "golden"


def make_hdus(spiral=("[]", "[]"), bar=(), pixscale=0.099):
    """Make the 11 HDUs of a galaxy at ra 359.9, dec -10, with the given cells of marks."""

    def marks(column, texts):
        # Empty tables of the archive have columns of numbers, even where text belongs.
        texts = np.array(texts, dtype="S") if texts else np.zeros(0)
        return fits.BinTableHDU(Table({"classification_id": np.arange(len(texts)), column: texts}))

    metadata = Table(
        {
            "ra": np.float32([359.9]),
            "dec": np.float32([-10]),
            "MANGAID": ["1-77"],
            "IFUDESIGNSIZE": [61.0],
            **{f"GZ_{what}": np.int16([n]) for what, n in (("total_classifications", 9), ("spiral_votes", 4))},
            "GZ_bar_votes": np.int16([2]),
        }
    )
    header = north_up_wcs(359.9, -10, pixscale, (262.5, 262.5)).to_header()
    counts = [fits.ImageHDU(np.zeros((525, 525)), header) for _ in range(4)]
    clusters = [fits.BinTableHDU(Table({"x": np.zeros(0)})) for _ in range(3)]
    tables = [fits.BinTableHDU(metadata), *clusters, marks("spiral_paths", spiral), marks("bar_paths", bar)]
    return [fits.PrimaryHDU(np.zeros((525, 525, 3), np.uint8)), *counts, *tables]


def make_file(path, hdus=None, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus or make_hdus(**settings)).writeto(path, overwrite=True)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of a correct file, not compressed."""
    return make_file(tmp_path_factory.mktemp("whole") / "gz3d.fits").read_bytes()


def test_real_galaxy_is_read_whole(golden):
    galaxy = read_gz3d(golden / "gz3d_fits" / f"gz3d_{SPIRAL}.fits.gz")
    assert (galaxy.id_str, galaxy.mangaid, galaxy.ifu_size, galaxy.subject_id) == (SPIRAL, "1-304336", 127, 14724446)
    assert (galaxy.wcs_ra, galaxy.wcs_dec) == (165.2971496582, 12.474752426147)
    assert (galaxy.ra, galaxy.dec) == pytest.approx((galaxy.wcs_ra, galaxy.wcs_dec), abs=2e-5)
    assert galaxy.votes == {"GZ_total_classifications": 34, "GZ_spiral_votes": 13, "GZ_bar_votes": 14}


@pytest.mark.parametrize("id_str", [SPIRAL, NOT_SPIRAL, BLANK])
def test_marks_are_those_in_the_source(golden, id_str):
    marks = json.loads((golden / "gz3d_marks" / f"gz3d_{id_str}_marks.json").read_text())
    assert read_gz3d(golden / "gz3d_fits" / f"gz3d_{id_str}.fits.gz").marks == marks


@pytest.mark.parametrize("id_str", [SPIRAL, NOT_SPIRAL])
def test_marks_give_the_counts_and_the_wcs_in_the_file(golden, id_str):
    path = golden / "gz3d_fits" / f"gz3d_{id_str}.fits.gz"
    galaxy = read_gz3d(path)
    with fits.open(path) as hdus:
        for number, mask in ((3, "spiral_mask"), (4, "bar_mask")):
            counts = counts_from_marks(galaxy.marks[mask], drop_self_crossing=True)
            np.testing.assert_array_equal(counts, hdus[number].data)
        corners = [0, 524, 0, 524], [0, 0, 524, 524]
        ours = mask_wcs(galaxy.wcs_ra, galaxy.wcs_dec).pixel_to_world_values(*corners)
        np.testing.assert_allclose(ours, WCS(hdus[3].header).pixel_to_world_values(*corners), rtol=0, atol=1e-9)


def test_nobody_asked_is_not_nobody_drew(golden):
    assert read_gz3d(golden / "gz3d_fits" / f"gz3d_{UNASKED}.fits.gz").marks == {}
    assert read_gz3d(golden / "gz3d_fits" / f"gz3d_{BLANK}.fits.gz").marks["bar_mask"] == [[]] * 15


def test_column_forms_may_spell_out_a_count_of_one(tmp_path, whole):
    path = tmp_path / "gz3d_1-77_61_33.fits"
    path.write_bytes(whole.replace(b"'E       '", b"'1E      '").replace(b"'D       '", b"'1D      '"))
    galaxy = read_gz3d(path)
    assert (galaxy.dec, galaxy.ifu_size, galaxy.wcs_ra, galaxy.wcs_dec) == (-10, 61, 359.9, -10)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits"])
def test_catalogue_has_a_row_for_each_file_by_name(golden, tmp_path, suffix):
    table = read_table(gz3d_catalog(golden / "gz3d_fits", tmp_path / f"catalog.{suffix}"))
    assert list(table["id_str"]) == [SPIRAL, NOT_SPIRAL, UNASKED, BLANK]
    assert list(table["n_volunteers_spiral"]) == list(table["n_volunteers_bar"]) == [15, 15, 0, 15]
    assert list(table["ifu_size"]) == [127, 127, 37, 19]
    assert list(table["GZ_bar_votes"]) == [14, 0, 0, 0]
    assert table["wcs_ra"][0] == 165.2971496582
    assert table["ra"].dtype == np.float64
    assert set(table["pixscale"]) == {0.099}
    assert table["gz3d_loc"][0] == str(golden / "gz3d_fits" / f"gz3d_{SPIRAL}.fits.gz")
    assert not (tmp_path / "catalog_failed.csv").exists()


def test_a_damaged_file_fails_alone(tmp_path):
    make_file(tmp_path / "b" / "gz3d_1-2_37_22.fits", spiral=[json.dumps(TRIANGLE), "[]", "[]"])
    make_file(tmp_path / "a" / "gz3d_1-77_61_33.fits", bar=["[]"])
    (tmp_path / "gz3d_metadata.fits").touch()
    damaged = tmp_path / "gz3d_1-1_19_11.fits.gz"
    damaged.write_bytes(b"<!DOCTYPE html>")
    (tmp_path / "failed.csv").write_text("what could not be downloaded")
    table = read_table(gz3d_catalog(tmp_path, tmp_path / "catalog.csv", workers=2))
    assert list(table["id_str"]) == ["1-2_37_22", "1-77_61_33"]
    assert list(table["gz3d_loc"]) == ["b/gz3d_1-2_37_22.fits", "a/gz3d_1-77_61_33.fits"]
    assert list(table["n_volunteers_spiral"]) == [3, 2]
    assert list(table["n_volunteers_bar"]) == [0, 1]
    failed = pd.read_csv(tmp_path / "catalog_failed.csv")
    assert list(failed["id_str"]) == ["1-1_19_11"]
    assert "Not a gzipped file" in failed["reason"][0]

    damaged.unlink()
    gz3d_catalog(tmp_path, tmp_path / "catalog.csv")
    assert not (tmp_path / "catalog_failed.csv").exists()
    assert (tmp_path / "failed.csv").read_text() == "what could not be downloaded"


@pytest.mark.parametrize("make", [gz3d_catalog, gz3d_marks])
def test_too_many_damaged_files_stop_the_run(tmp_path, make):
    make_file(tmp_path / "gz3d_1-77_61_33.fits", bar=["[]"])
    for i in range(6):
        (tmp_path / f"gz3d_1-{i}_61_33.fits").write_bytes(b"")
    with pytest.raises(ValueError, match=r"6 of 7 galaxies .*max_failed 0\.01 .*gz3d_1-0_61_33\.fits.*failed\.csv"):
        make(tmp_path, tmp_path / "out.csv")
    make(tmp_path, tmp_path / "out.csv", max_failed=0.9)


@pytest.mark.parametrize("make", [gz3d_catalog, gz3d_marks])
def test_a_fault_of_the_disk_stops_the_run(tmp_path, make, monkeypatch):
    make_file(tmp_path / "gz3d_1-77_61_33.fits", bar=["[]"])

    def fail(stream):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), stream.name)

    monkeypatch.setattr(gz3d, "_read_hdu", fail)
    with pytest.raises(OSError, match=r"Stale file handle: .*gz3d_1-77_61_33"):
        make(tmp_path, tmp_path / "out.csv")


def test_existing_marks_are_kept(tmp_path):
    make_file(tmp_path / "gz3d_1-77_61_33.fits", spiral=[json.dumps(TRIANGLE), "[]"])
    make_file(tmp_path / "gz3d_1-78_61_34.fits")
    (tmp_path / "gz3d_1-79_61_35.fits").write_bytes(b"")
    out = tmp_path / "marks"
    out.mkdir()
    (out / "1-78_61_34.json").write_text("made earlier")
    assert gz3d_marks(tmp_path, out) == out
    assert sorted(path.name for path in out.iterdir()) == ["1-77_61_33.json", "1-78_61_34.json", "failed.csv"]
    assert json.loads((out / "1-77_61_33.json").read_text()) == {"spiral_mask": [TRIANGLE, []]}
    assert (out / "1-78_61_34.json").read_text() == "made earlier"
    assert list(pd.read_csv(out / "failed.csv")["id_str"]) == ["1-79_61_35"]


def gzipped(content):
    return gzip.compress(content, compresslevel=1)


DAMAGES = {
    "truncated gzip": (lambda whole: gzipped(whole)[:-2000], "ended before the end-of-stream marker"),
    "wrong checksum": (lambda whole: gzipped(whole)[:-8] + bytes(8), "CRC check failed"),
    "bytes behind": (lambda whole: gzipped(whole) + b"<html>" * 9, "Not a gzipped file"),
    "bomb": (lambda whole: gzipped(b"SIMPLE  =".ljust(80) + b" " * 10**8), "a header has no end"),
    "endless array": (lambda whole: gzipped(whole.replace(b" 525 ", b"9525 ", 2)), "more than 67108864 bytes"),
    "negative axis": (lambda whole: gzipped(whole.replace(b" 525 ", b"-525 ", 1)), "more than 67108864 bytes"),
    "HTML in gzip": (lambda whole: gzipped(b"<html></html>"), "not a FITS file"),
    "a table short": (lambda whole: gzipped(whole[: whole.rindex(b"XTENSION")]), "cut short"),
    "an HDU more": (lambda whole: gzipped(whole + whole[whole.rindex(b"XTENSION") :]), "more than 11 HDUs"),
    "rows cut short": (lambda whole: gzipped(whole[:-2880]), "cut short"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_the_reason(tmp_path, whole, damage):
    make_damaged, words = DAMAGES[damage]
    path = tmp_path / "gz3d_1-77_61_33.fits.gz"
    path.write_bytes(make_damaged(whole))
    with pytest.raises(ValueError, match=words) as error:
        read_gz3d(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"spiral": ["[]", "[[[1, 2]"]}, "Expecting"),
        ({"spiral": ["[]", "[[[1, 2, 3]]]"]}, "spiral_mask: component 0 of volunteer 1"),
        ({"bar": ["[[[1, NaN]]]"]}, "bar_mask: component 0 of volunteer 0"),
        ({"bar": ['{"x": 1}']}, "bar_mask: volunteer 0"),
        ({"bar": ["[" * 10**5]}, "recursion"),
        ({"pixscale": 0.2}, "525 x 525 pixels of 0.099 arcsec"),
    ],
)
def test_content_of_a_complete_file_is_checked(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        read_gz3d(make_file(tmp_path / "gz3d_1-77_61_33.fits", **settings))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("ra", np.float32([np.nan]), "ra nan"), ("MANGAID", [1.5], "decode"), ("ra", None, "ra")],
)
def test_metadata_are_checked(tmp_path, column, value, words):
    hdus = make_hdus()
    metadata = Table(hdus[5].data)
    metadata.remove_column(column)
    if value is not None:
        metadata[column] = value
    hdus[5] = fits.BinTableHDU(metadata)
    with pytest.raises(ValueError, match=words):
        read_gz3d(make_file(tmp_path / "gz3d_1-77_61_33.fits", hdus))


def test_faulty_folders_are_refused(tmp_path, whole):
    with pytest.raises(ValueError, match=r"no files gz3d_\*\.fits\.gz"):
        gz3d_catalog(tmp_path, tmp_path / "catalog.csv")
    for name in ("gz3d_1-77_61_33.fits", "gz3d_1-77_61_33.fits.gz"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"61_33\.fits and .*61_33\.fits\.gz .*same galaxy"):
        gz3d_marks(tmp_path, tmp_path / "marks")
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"catalog_failed\.csv: all 1 galaxies .*cut short"):
        gz3d_catalog(tmp_path, tmp_path / "catalog.csv")
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        gz3d_catalog(tmp_path, tmp_path / "catalog.txt")
    (tmp_path / "gz3d_strange.fits").write_bytes(whole)
    with pytest.raises(ValueError, match=r"gz3d_strange.fits: .*gz3d_<MaNGA id>"):
        read_gz3d(tmp_path / "gz3d_strange.fits")

"""Formats of tables: they agree, values keep their meaning, and damaged or dangerous files are refused."""

import gzip
import io
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from zoobot3d_tf.tables import formats
from zoobot3d_tf.tables.formats import read_table, write_table

LONG_ID = 587722984435351615  # of SDSS: as a float it would end in 616


@pytest.fixture
def galaxies():
    return pd.DataFrame(
        {
            "id_str": ["0123", "J1", "J2"],
            "spiral_mask_loc": ["", "m.png", ""],
            "ring_yes": [3, 0, 1],
            "ra": [0.1, 359.9, np.nan],
        }
    )


def write_fits_tar(path, members, compress="gz"):
    """Write an archive of FITS tables, given by the names of their members."""
    with tarfile.open(path, f"w:{compress}") as archive:
        for name, table in members.items():
            file = io.BytesIO()
            table.write(file, format="fits")
            entry = tarfile.TarInfo(name)
            entry.size = file.tell()
            archive.addfile(entry, io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    "suffix",
    ["csv", "csv.gz", "parquet", "fits", "FITS.gz", "ecsv", "vot", "votable.gz", "xml", "tar", "tar.gz", "tgz"],
)
def test_formats_agree(tmp_path, galaxies, suffix):
    path = tmp_path / f"catalog.{suffix}"
    table = Table.from_pandas(galaxies)
    table["spectrum"] = np.zeros((3, 5))
    if suffix.startswith("csv"):
        galaxies.to_csv(path, index=False)
    elif suffix == "parquet":
        galaxies.to_parquet(path)
    elif suffix in ("tar", "tar.gz", "tgz"):
        write_fits_tar(path, {"../sami.fits": table, "._sami.fits": table}, "" if suffix == "tar" else "gz")
    else:
        formats = {"fits": "fits", "FITS": "fits", "ecsv": "ascii.ecsv"}
        table.write(path.with_suffix("") if path.suffix == ".gz" else path, format=formats.get(suffix[:4], "votable"))
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    read = read_table(path)
    for column in galaxies:
        np.testing.assert_array_equal(read[column], galaxies[column])
    assert not list(tmp_path.parent.glob("*.fits"))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits", "ecsv"])
def test_what_is_written_is_read_again(tmp_path, galaxies, suffix):
    galaxies["objid"] = pd.array([LONG_ID, None, 1], dtype="Int64")
    path = write_table(galaxies[::-1], tmp_path / "new folder" / f"catalog.{suffix}")
    pd.testing.assert_frame_equal(read_table(path), galaxies[::-1].reset_index(drop=True), check_dtype=False)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_failed_writing_leaves_the_table_of_before(tmp_path, galaxies):
    path = write_table(galaxies, tmp_path / "catalog.fits")
    with pytest.raises(ValueError, match=r"catalog\.fits: .* as a FITS table: .*asked has missing truth"):
        write_table(galaxies.assign(asked=pd.array([True, None, False], dtype="boolean")), path)
    assert len(read_table(path)) == 3


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("catalog.vot", ValueError, r"catalog\.vot: .* must end in .csv or .parquet or .fits or .ecsv"),
        ("folder.csv", IsADirectoryError, r"folder\.csv: is a folder"),
        ("file/new/catalog.csv", NotADirectoryError, "file: is a file"),
    ],
)
def test_names_that_cannot_be_written_are_refused(tmp_path, galaxies, name, error, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for refuse in (formats.check_writable, lambda path: write_table(galaxies, path)):
        with pytest.raises(error, match=message):
            refuse(tmp_path / name)


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "vot"])
def test_masked_values_are_missing_and_bytes_are_text(tmp_path, suffix):
    table = Table(
        {
            "CATID": np.array([b"9008500001", b"22", b"3"]),
            "objid": MaskedColumn([1, LONG_ID, 3], mask=[True, False, False]),
            "RA_OBJ": MaskedColumn([1.5, 2.5, 3.5], mask=[False, True, False]),
        }
    )
    table.write(tmp_path / f"sami.{suffix}", format={"fits": "fits", "ecsv": "ascii.ecsv", "vot": "votable"}[suffix])
    read = read_table(tmp_path / f"sami.{suffix}")
    assert list(read["CATID"]) == ["9008500001", "22", "3"]
    assert list(read["objid"].isna()) == [True, False, False]
    assert read["objid"][1] == LONG_ID
    np.testing.assert_array_equal(read["RA_OBJ"], [1.5, np.nan, 3.5])


def test_columns_of_more_than_plain_values_are_left_out(tmp_path):
    sky, observed = SkyCoord([1, 2], [3, 4], unit="deg"), Time([2450000.5, 2460000.5], format="jd")
    table = Table({"id_str": ["a", "b"], "sky": sky, "observed": observed, "z": [0.1, 0.2]})
    table.write(tmp_path / "catalog.ecsv")
    assert read_table(tmp_path / "catalog.ecsv").to_dict("list") == {"id_str": ["a", "b"], "z": [0.1, 0.2]}


def test_numbers_of_fits_have_the_byte_order_of_this_machine(tmp_path, galaxies):
    read = read_table(write_table(galaxies, tmp_path / "catalog.fits"))
    assert all(dtype.isnative for dtype in (read["ra"].dtype, read["ring_yes"].dtype))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_long_ids_keep_their_digits_beside_gaps(tmp_path, suffix):
    if suffix == "csv":
        (tmp_path / "a.csv").write_text(f"objid,n,asked\n{LONG_ID},1,True\n,,\n")
    else:
        columns = {"objid": [LONG_ID, None], "n": [1, None], "asked": [True, None]}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    read = read_table(tmp_path / f"a.{suffix}")
    assert read["objid"][0] == LONG_ID
    assert read["n"].dtype == np.float64
    assert list(read["asked"].isna()) == [False, True]


def test_parquet_keeps_ids_from_an_index(tmp_path, galaxies):
    galaxies[1:].to_parquet(tmp_path / "filtered.parquet")
    assert list(read_table(tmp_path / "filtered.parquet")["id_str"]) == ["J1", "J2"]
    galaxies.set_index("id_str").to_parquet(tmp_path / "indexed.parquet")
    assert list(read_table(tmp_path / "indexed.parquet")["id_str"]) == ["0123", "J1", "J2"]


def test_ids_that_look_like_something_else_stay_text(tmp_path):
    (tmp_path / "catalog.csv").write_text("id_str,file_loc\n007,a\nNA,b\n1e5,c\n 12 ,d\n")
    assert list(read_table(tmp_path / "catalog.csv")["id_str"]) == ["007", "NA", "1e5", "12"]
    (tmp_path / "matched.csv").write_text("ra,id_str_right,id_strange\n1,007,007\n2,,8\n")
    matched = read_table(tmp_path / "matched.csv")
    assert list(matched["id_str_right"]) == ["007", ""]
    assert list(matched["id_strange"]) == [7, 8]


def test_whole_numbers_as_ids_become_text(tmp_path, galaxies):
    galaxies.assign(id_str=[7, 8, 9]).to_parquet(tmp_path / "catalog.parquet")
    assert list(read_table(tmp_path / "catalog.parquet")["id_str"]) == ["7", "8", "9"]


def test_fractions_as_ids_are_refused(tmp_path, galaxies):
    galaxies.assign(id_str=[7.0, 8.0, 9.0]).to_parquet(tmp_path / "catalog.parquet")
    with pytest.raises(ValueError, match=r"catalog.parquet: id_str is stored as floating-point numbers"):
        read_table(tmp_path / "catalog.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "cannot be read as a CSV table"),
        ("latin.csv", b"id_str,file_loc\n\xe9\xff,a\n", "cannot be read as a CSV table"),
        ("ragged.csv", b"id_str,file_loc\na,b,c\nd,e,f\n", "cannot be read .* rows have more fields than the header"),
        ("broken.csv", b"id_str,file_loc\na,b\nd,e,f,g\n", "cannot be read as a CSV table: .* line 3"),
        ("broken.parquet", b"PAR1 no more", "cannot be read as a PARQUET table"),
        ("broken.fits", b"SIMPLE", "cannot be read as a FITS table"),
        ("broken.vot", b"<html>no such page</html>", "cannot be read as a VOT table"),
        ("plain.csv.gz", b"id_str\na\n", "cannot be read as a CSV table: Not a gzipped file"),
        (
            "short.csv.gz",
            gzip.compress(b"id_str\n" * 99, mtime=0)[:-9],
            "cannot be read as a CSV table: Compressed file ended",
        ),
        ("catalog.xlsx", b"", r".* must end in .csv, .parquet, .fits, .ecsv, .vot, .*.gz"),
    ],
)
def test_unreadable_tables_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        read_table(tmp_path / name)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize("names", [[], ["a.fits", "b.fits"]])
def test_an_archive_must_hold_one_table(tmp_path, names, galaxies):
    write_fits_tar(tmp_path / "a.tar.gz", {name: Table.from_pandas(galaxies) for name in [*names, "readme.txt"]})
    with pytest.raises(ValueError, match=rf"a.tar.gz: .* holds {len(names)} files \*.fits; it must hold one"):
        read_table(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("suffix", ["csv.gz", "fits.gz", "tar.gz"])
def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(formats, "MAX_INFLATED_BYTES", 10**6)
    (tmp_path / f"bomb.{suffix}").write_bytes(gzip.compress(bytes(10**6 + 1)))
    with pytest.raises(ValueError, match=rf"bomb.{suffix}: .* inflates to more than 1000000 bytes"):
        read_table(tmp_path / f"bomb.{suffix}")


def test_a_sparse_member_longer_than_its_archive_is_refused(tmp_path):
    entry = tarfile.TarInfo("bomb.fits")
    entry.pax_headers = {"GNU.sparse.size": str(10**12), "GNU.sparse.map": "0,0"}
    with tarfile.open(tmp_path / "bomb.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry)
    with pytest.raises(ValueError, match=r"bomb.tar: .* bomb.fits inflates to more than 4294967296 bytes"):
        read_table(tmp_path / "bomb.tar")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits"])
def test_columns_of_paths_are_text_and_others_of_such_names_stay_numbers(tmp_path, galaxies, suffix):
    galaxies = galaxies.assign(fits_loc=["0", "1", "2"], line_loc=[0.5, 1.5, np.nan], mask_loc=np.nan)
    table = read_table(write_table(galaxies, tmp_path / f"catalog.{suffix}"))
    assert list(table["fits_loc"]) == ["0", "1", "2"]
    np.testing.assert_array_equal(table["line_loc"], [0.5, 1.5, np.nan])
    assert list(table["mask_loc"]) == ["", "", ""]


def test_paths_of_digits_stay_text_beside_empty_cells(tmp_path):
    (tmp_path / "catalog.csv").write_text("id_str,fits_loc\na,007\nb,\n")
    assert list(read_table(tmp_path / "catalog.csv")["fits_loc"]) == ["007", ""]

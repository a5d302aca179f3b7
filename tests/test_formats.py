"""Formats of tables: they agree, values keep their meaning, and damaged or dangerous files are refused."""

import bz2
import gzip
import io
import re
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from zoobot3d_tf.tables import formats
from zoobot3d_tf.tables.columns import convert_unit, read_positions
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
    (tmp_path / "matched.csv").write_text("ra,id_str_right,id_strange,id_str_old\n1,007,007,1.50\n2,,8,2\n")
    matched = read_table(tmp_path / "matched.csv")
    assert list(matched["id_str_old"]) == ["1.50", "2"]
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
        ("latin.csv", b"id_str,file_loc\nJ1,a\n\xe9\xff,a\n", "id_str is .* in row 3 .*UTF-8"),
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
    with pytest.raises(ValueError, match=r"bomb.tar: .* bomb.fits inflates to more than 536870912 bytes"):
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


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("id_str;ra;dec\n007;1.5;2.5\n", {"ra": [1.5], "dec": [2.5]}),
        ("id_str;ra;dec\n007;1,5;2\n", {"ra": [1.5], "dec": [2]}),
        ("sep=;\nid_str;ra\n007;1\n", {"ra": [1]}),
        ("id_str\tra\n007\t1\n", {"ra": [1]}),
        ("id_str|ra\n007|1\n", {"ra": [1]}),
        ("id_str  ra\n007    1\n", {"ra": [1]}),
        ('id_str, ra , "name"\n007, 1, "a, b"\n', {"ra": [1], "name": ["a, b"]}),
        ("# by hand, in 2024\n\n# and later\nid_str,ra\n007,1\n# the end\n", {"ra": [1]}),
        ("# a\x85, b\u2028, c\nid_str,ra\n007,1\n", {"ra": [1]}),
        ("# c\r\nid_str,ra\r\n007,1\r\n# the end\r\n", {"ra": [1]}),
        ("# id_str,ra\n007,1\n", {"ra": [1]}),
        ("#id_str ra dec\n007 1 2\n", {"ra": [1], "dec": [2]}),
        ("ID_STR,RA,File_Loc\n007,1,003\n", {"ra": [1], "file_loc": ["003"]}),
        ("id_str,RA,Ra\n007,1,2\n", {"RA": [1], "Ra": [2]}),
        ("id_str,ra;dec\n007,1\n", {"ra;dec": [1]}),
        ("id_str,ra\r007,1\r", {"ra": [1]}),
        ('id_str,note\n007,"1\n# 2"\n', {"note": ["1\n# 2"]}),
        ("id_str,note,ra\n007,caf\xe9,1\n".encode("latin-1"), {"note": ["caf\ufffd"], "ra": [1]}),
        ("id_str\tname\n007\té\n".encode("utf-16"), {"name": ["é"]}),
        ("\ufeffid_str;ra\n007;1\n", {"ra": [1]}),
    ],
)
def test_the_dialect_of_a_csv_file_is_recognised(tmp_path, content, columns):
    (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_table(tmp_path / "a.csv").to_dict("list") == {"id_str": ["007"], **columns}


def test_a_galaxy_whose_name_begins_with_a_number_sign_is_no_comment(tmp_path):
    (tmp_path / "a.csv").write_text("id_str,ra\n#1,1\n")
    assert list(read_table(tmp_path / "a.csv")["id_str"]) == ["#1"]


@pytest.mark.parametrize("suffix", ["fit", "fts", "pq", "tsv", "csv.bz2", "fits.bz2", "tar.bz2", "tbz2"])
def test_other_names_of_the_formats_are_known(tmp_path, galaxies, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix.startswith("t") and suffix != "tsv":
        write_fits_tar(path, {"a.fit": Table.from_pandas(galaxies)}, "bz2")
    elif suffix == "pq":
        galaxies.to_parquet(path)
    elif suffix == "tsv":
        galaxies.to_csv(path, sep="\t", index=False)
    else:
        plain = write_table(galaxies, tmp_path / ("plain.csv" if "csv" in suffix else "plain.fits")).read_bytes()
        path.write_bytes(bz2.compress(plain) if suffix.endswith("bz2") else plain)
    pd.testing.assert_frame_equal(read_table(path), galaxies, check_dtype=False)


@pytest.mark.parametrize("wrong", ["5.88018E+17", "5.88018e+17", "588018090547020096.0", "6E+17", "7."])
def test_ids_that_were_floating_point_numbers_are_refused_by_row(tmp_path, wrong):
    (tmp_path / "a.csv").write_text(f"id_str,ra\nJ1,1\n{wrong},2\n")
    with pytest.raises(ValueError, match=rf"a.csv: id_str is '{re.escape(wrong)}' in row 3 .*as text"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.uint8(), pa.string(), pa.binary()])
def test_a_parquet_id_that_is_missing_is_empty(tmp_path, kind):
    ids = pa.array([7, None], pa.int64()).cast(kind) if pa.types.is_integer(kind) else pa.array(["7", None]).cast(kind)
    pq.write_table(pa.table({"id_str": ids, "id_str_old": [0.5, None]}), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert list(table["id_str"]) == ["7", ""]
    np.testing.assert_array_equal(table["id_str_old"], [0.5, np.nan])


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "vot"])
@pytest.mark.parametrize(
    ("unit", "degrees"),
    [("deg", 1.5), ("rad", np.degrees(1.5)), ("h", 22.5), ("arcmin", 0.025), ("arcsec", 1.5 / 3600)],
)
def test_positions_are_converted_to_degrees(tmp_path, suffix, unit, degrees):
    table = Table({"id_str": ["a"], "RA": [1.5], "dec": [1], "ALPHA": [1.5], "e_ra": [1.5]})
    for name in ("RA", "ALPHA", "e_ra"):
        table[name].unit = unit
    table.write(tmp_path / f"a.{suffix}", format={"fits": "fits", "ecsv": "ascii.ecsv", "vot": "votable"}[suffix])
    read = read_table(tmp_path / f"a.{suffix}")
    assert read["ra"].item() == pytest.approx(degrees, rel=1e-14)
    assert read["e_ra"].item() == 1.5
    assert read_positions("a", read, ("ALPHA", "dec"))["ra"].item() == pytest.approx(degrees, rel=1e-14)


@pytest.mark.parametrize("unit", ["hourangle", "hours", "Hour"])
def test_hour_angles_by_their_other_names(unit):
    assert list(convert_unit("ra", pd.Series([0, 12]), unit, "deg")) == [0, 180]


@pytest.mark.parametrize(
    ("unit", "arcsec"),
    [("arcsec", 0.25), ("arcsec / pix", 0.25), ("arcmin", 15), ("deg", 900), ("deg/pixel", 900), ("mas", 0.00025)],
)
def test_pixel_scales_are_converted_to_arcsec(tmp_path, unit, arcsec):
    table = Table({"id_str": ["a"], "pixscale": [0.25]})
    table["pixscale"].unit = unit
    table.write(tmp_path / "a.ecsv")
    assert read_table(tmp_path / "a.ecsv")["pixscale"].item() == pytest.approx(arcsec)


@pytest.mark.parametrize("unit", ["km", "hms", "pix"])
def test_units_that_are_none_of_angles_are_refused(tmp_path, unit):
    table = fits.BinTableHDU.from_columns([fits.Column("ra", "D", unit, array=[1.0])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=f"a.fits: .* ra has the unit '{unit}'; it must be deg"):
        read_table(tmp_path / "a.fits")


def test_missing_integers_of_any_width_keep_their_digits(tmp_path):
    columns = {
        "u": MaskedColumn(np.array([2**64 - 5, 7], np.uint64), mask=[False, True]),
        "i": MaskedColumn(np.array([-(2**63) + 5, 7], np.int64), mask=[False, True]),
        "n": MaskedColumn(np.array([3, 7], np.int16), mask=[False, True]),
    }
    for suffix in ("fits", "ecsv"):
        Table(columns).write(tmp_path / f"a.{suffix}")
        table = read_table(tmp_path / f"a.{suffix}")
        assert [table[name][0] for name in columns] == [2**64 - 5, -(2**63) + 5, 3]
        assert table.isna().sum().tolist() == [1, 1, 1]
    scaled = fits.Column("n", "I", array=np.array([1, -99], np.int16), null=-99)
    raw = fits.BinTableHDU.from_columns([scaled])
    raw.header["TSCAL1"], raw.header["TZERO1"] = 0.5, 10
    fits.HDUList([fits.PrimaryHDU(), raw]).writeto(tmp_path / "scaled.fits")
    np.testing.assert_array_equal(read_table(tmp_path / "scaled.fits")["n"], [10.5, np.nan])


def test_a_latin_letter_costs_its_cell_of_a_fits_table(tmp_path):
    path = write_table(pd.DataFrame({"id_str": ["J1", "J2"], "name": ["cafe", "b"]}), tmp_path / "a.fits")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"cafe", b"caf\xe9"))
    assert read_table(path)["name"].tolist() == ["caf\ufffd", "b"]
    path.write_bytes(content.replace(b"J2", b"J\xe9"))
    with pytest.raises(ValueError, match=r"a.fits: id_str is .* in row 3 .*UTF-8"):
        read_table(path)


@pytest.mark.parametrize("bad", [b"caf\xe9", b"\xff\xfe"])
def test_bytes_that_are_not_text_cost_their_cell_of_a_parquet_table(tmp_path, bad):
    names = pa.array([bad, b"b", None], pa.binary())
    columns = {
        "id_str": ["J1", "J2", "J3"],
        "text": pa.Array.from_buffers(pa.string(), 3, names.buffers()),
        "raw": names,
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    for name in ("text", "raw"):
        assert table[name][:2].tolist() == [bad.decode("utf-8", "replace"), "b"]
        assert table[name].isna().tolist() == [False, False, True]


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "vot"])
def test_a_vector_in_the_place_of_a_position_is_named(tmp_path, suffix):
    table = Table({"id_str": ["a", "b"], "RA": [[1.0, 2.0], [3.0, 4.0]]})
    table.write(tmp_path / f"a.{suffix}", format={"fits": "fits", "ecsv": "ascii.ecsv", "vot": "votable"}[suffix])
    with pytest.raises(ValueError, match=rf"a.{suffix}: .* RA has .* per row.*; it must have one"):
        read_table(tmp_path / f"a.{suffix}")


def test_arrays_of_variable_length_are_left_out(tmp_path):
    spectra = fits.Column("spectrum", "PD()", array=np.array([np.arange(3.0), np.arange(2.0)], object))
    table = fits.BinTableHDU.from_columns([fits.Column("id_str", "2A", array=["J1", "J2"]), spectra])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    assert read_table(tmp_path / "a.fits").to_dict("list") == {"id_str": ["J1", "J2"]}


def test_one_of_several_tables_is_named(tmp_path):
    tables = [fits.BinTableHDU(Table({"id_str": [name]}), name=name) for name in ("VOTES", "META")]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"a.fits: .* has 2 tables; .*1 \(VOTES\), 2 \(META\).*\.fits\[1\]"):
        read_table(tmp_path / "a.fits")
    for part, name in (("1", "VOTES"), ("2", "META"), ("meta", "META")):
        assert read_table(tmp_path / f"a.fits[{part}]")["id_str"].item() == name
    for part in ("0", "3", "x"):
        with pytest.raises(ValueError, match=rf"a.fits: .*'{part}'.*1 \(VOTES\)"):
            read_table(tmp_path / f"a.fits[{part}]")
    with pytest.raises(FileNotFoundError, match=r"none.fits: no such"):
        read_table(tmp_path / "none.fits[1]")
    (tmp_path / "a.csv").write_text("id_str\na\n")
    with pytest.raises(ValueError, match=r"a.csv: .*\[1\]"):
        read_table(tmp_path / "a.csv[1]")


def test_a_table_compressed_by_fpack_is_refused_with_the_remedy(tmp_path):
    table = fits.BinTableHDU(Table({"id_str": ["a"]}))
    table.header["ZTABLE"] = True
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits.fz")
    with pytest.raises(ValueError, match=r"a.fits.fz: .*funpack"):
        read_table(tmp_path / "a.fits.fz")
    del table.header["ZTABLE"]
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "b.fits.fz")
    assert read_table(tmp_path / "b.fits.fz")["id_str"].item() == "a"


def votable(tables, head=""):
    space = 'xmlns="http://www.ivoa.net/xml/VOTable/v1.3"'
    return f'<?xml version="1.0"?>{head}<VOTABLE version="1.3" {space}><RESOURCE>{tables}</RESOURCE></VOTABLE>'


def votable_table(attributes="", field="", data="<TABLEDATA><TR><TD>1</TD></TR></TABLEDATA>"):
    return f'<TABLE {attributes}><FIELD name="n" datatype="int" {field}/><DATA>{data}</DATA></TABLE>'


def test_one_of_several_tables_of_a_votable_is_named(tmp_path):
    second = votable_table('ID="second"', data="<TABLEDATA><TR><TD>2</TD></TR></TABLEDATA>")
    (tmp_path / "a.vot").write_text(votable(votable_table('name="first"') + second))
    with pytest.raises(ValueError, match=r"a.vot: .* has 2 tables; .*0 \(first\), 1 \(second\)"):
        read_table(tmp_path / "a.vot")
    assert [read_table(tmp_path / f"a.vot[{part}]")["n"].item() for part in ("first", "second", "1")] == [1, 2, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (votable(votable_table(), '<!DOCTYPE x [<!ENTITY a "aaa">]>'), "XML entity a"),
        (votable(votable_table('nrows="3000000000"')), "3000000000 rows"),
        (votable(votable_table(field='arraysize="100000x100000"')), "10000000000 columns"),
        (votable(votable_table(data='<BINARY><STREAM href="file:///etc/passwd"/></BINARY>')), "file:///etc/passwd"),
    ],
)
def test_a_votable_that_fills_the_memory_or_leads_elsewhere_is_refused(tmp_path, content, message):
    (tmp_path / "a.vot").write_text(content)
    with pytest.raises(ValueError, match=f"a.vot: .*{message}"):
        read_table(tmp_path / "a.vot")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (",".join("c" * 20_000) + "\n1\n", "20000 columns; the limit is 10000"),
        ("c," * 2**20, "no end of a line within 2097152 bytes"),
        ("a,b\n" + "1," * 20_000 + "\n", "more fields than the header"),
        (",".join("c" * 9_000) + "\n" + "1\n" * 9_000, "9001 rows of 9000 columns"),
    ],
)
def test_a_csv_file_of_too_many_columns_is_refused(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=f"a.csv: .*{message}"):
        read_table(tmp_path / "a.csv")


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_small_files_of_large_tables_are_refused(tmp_path):
    zeros = pa.chunked_array([pa.array(np.zeros(10**6, np.int64))] * 40)
    pq.write_table(pa.table({"n": zeros}), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows.parquet: .* 40000000 rows of 1 columns"):
        read_table(tmp_path / "rows.parquet")
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, np.int32)), ["a" * 1000])
    pq.write_table(pa.table({"note": texts}), tmp_path / "texts.parquet", store_schema=False)
    with pytest.raises(ValueError, match=r"texts.parquet: .* inflates to more than 536870912 bytes"):
        read_table(tmp_path / "texts.parquet")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"1,1\n" * 2 * 10**7))
    with pytest.raises(ValueError, match=r"a.csv.gz: .* 20000000 rows of 2 columns"):
        read_table(tmp_path / "a.csv.gz")
    path = write_table(pd.DataFrame({"n": [1, 2]}), tmp_path / "a.fits")
    axis = b"NAXIS2  =                    2"
    for n_rows, message in ((2 * 10**9, "2000000000 rows"), (10**6, "is cut")):
        wrong = axis[:-10] + f"{n_rows:10d}".encode()
        (tmp_path / "b.fits").write_bytes(path.read_bytes().replace(axis, wrong))
        with pytest.raises(ValueError, match=f"b.fits: .*{message}"):
            read_table(tmp_path / "b.fits")
    fields = "".join(f"# - {{name: c{i}, datatype: float64}}\n" for i in range(20_000))
    (tmp_path / "a.ecsv").write_text(f"# %ECSV 1.0\n# ---\n# datatype:\n{fields}c\n1\n")
    with pytest.raises(ValueError, match=r"a.ecsv: .* header of more than 524288 bytes"):
        read_table(tmp_path / "a.ecsv")
    fits.HDUList([fits.PrimaryHDU(), *[fits.ImageHDU()] * 1001]).writeto(tmp_path / "many.fits")
    with pytest.raises(ValueError, match=r"many.fits: .* more than 1000 extensions"):
        read_table(tmp_path / "many.fits")

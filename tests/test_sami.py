"""Targets of the SAMI survey as a catalogue of galaxies."""

import io
import tarfile

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

from zoobot3d_tf.catalogs.crossmatch import match_files
from zoobot3d_tf.surveys.sami import sami_catalog
from zoobot3d_tf.tables.formats import read_table, write_table


def write_sami(path, **columns):
    """Write a table of SAMI's targets as published: text as bytes, big-endian numbers, the table in an archive."""
    targets = Table(
        {
            "CATID": np.array([b"9008500001", b"22633", b"7289"]),
            "RA_OBJ": [10.0, 180.5, 215.25],
            "DEC_OBJ": [-20.0, 0.5, -1.5],
            "RA_IFU": [10.001, 180.5, 215.25],
            "DEC_IFU": [-20.0, 0.5, -1.5],
            **columns,
        }
    )
    file = io.BytesIO()
    targets.write(file, format="fits")
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("InputCatGAMADR3.fits")
        entry.size = file.tell()
        archive.addfile(entry, io.BytesIO(file.getvalue()))
    return path


def test_targets_of_sami_are_named_and_matched(tmp_path):
    catalog = sami_catalog(write_sami(tmp_path / "sami.tar.gz"), tmp_path / "sami.csv")
    galaxies = pd.DataFrame({"ra": [180.5, 10.001], "dec": [0.5 + 1 / 3600, -20], "id_str": ["d1", "d2"]})
    desi = write_table(galaxies, tmp_path / "desi.fits")
    joined = read_table(match_files(catalog, desi, tmp_path / "joined.csv", keep_unmatched=True))
    assert list(joined["id_str"]) == ["9008500001", "22633", "7289"]
    assert list(joined["ra"]) == [10, 180.5, 215.25]
    assert list(joined["RA_IFU"]) == [10.001, 180.5, 215.25]
    assert list(joined["id_str_right"].fillna("")) == ["", "d1", ""]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"CATID": [1, 2, 1]}, "CATID is 1 in row 4; it names an earlier target already"),
        ({"CATID": [b"a", b"", b"b"]}, "CATID is '' in row 3; every target needs one"),
        ({"CATID": [1.0, 2.0, 3.0]}, "CATID is stored as floating-point numbers"),
        ({"RA_OBJ": [b"10h", b"2", b"3"]}, "RA_OBJ is '10h' in row 2; it must be a number"),
    ],
)
def test_faulty_targets_are_refused(tmp_path, columns, message):
    with pytest.raises(ValueError, match=f"sami.tar.gz: {message}"):
        sami_catalog(write_sami(tmp_path / "sami.tar.gz", **columns), tmp_path / "sami.csv")

"""Targets of the SAMI survey as a catalogue of galaxies."""

from pathlib import Path

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.tables.columns import read_positions, read_text, refuse, require_columns
from zoobot3d_tf.tables.formats import check_writable, read_table, write_table


def sami_catalog(targets_loc: PathLike, out: PathLike) -> Path:
    """Give a table of SAMI targets the column names of this package, for cross-matches and cutouts.

    Args:
        targets_loc: path of the table of targets as published, often a `.tar.gz`, such as InputCatGAMADR3 (Bryant et
            al. 2015), with `CATID` and the position of the galaxy, `RA_OBJ` and `DEC_OBJ`, in degrees. `RA_IFU` and
            `DEC_IFU`, the position of the instrument, differ for asymmetric galaxies and close pairs.
        out: path of the table to write; see `write_table`.

    Returns:
        Path of the table: `id_str` (the CATID), `ra`, `dec`, and all columns of the targets.

    Raises:
        FileNotFoundError: the table of targets does not exist.
        ValueError: the table of targets cannot be read or lacks a column, a CATID is empty or repeated, or a position
            is not a number or out of range.
    """
    check_writable(out)
    targets = read_table(targets_loc)
    require_columns(targets_loc, targets.columns, ["CATID", "RA_OBJ", "DEC_OBJ"])
    ids = read_text(targets_loc, targets, "CATID")
    refuse(targets_loc, targets, "CATID", ids == "", "every target needs one")
    refuse(targets_loc, targets, "CATID", ids.duplicated(), "it names an earlier target already and must be unique")
    positions = read_positions(targets_loc, targets, ["RA_OBJ", "DEC_OBJ"])
    catalog = targets.drop(columns=["id_str", "ra", "dec"], errors="ignore")
    catalog.insert(0, "id_str", ids)
    catalog.insert(1, "ra", positions["ra"])
    catalog.insert(2, "dec", positions["dec"])
    return write_table(catalog, out)

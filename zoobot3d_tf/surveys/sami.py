"""Targets of the SAMI survey as a catalogue of galaxies."""

from pathlib import Path

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.tables.columns import read_positions, read_text, refuse, require_columns
from zoobot3d_tf.tables.formats import check_writable, read_table, write_table


def sami_catalog(targets_loc: PathLike, out: PathLike) -> Path:
    """Name SAMI's targets as the rest of this package does, ready to cross-match and to download cutouts of.

    Args:
        targets_loc: table of targets as published, often a `.tar.gz`, such as InputCatGAMADR3 (Bryant et al. 2015):
            `CATID` and the galaxy's position `RA_OBJ`, `DEC_OBJ` in degrees. `RA_IFU` and `DEC_IFU`, where the
            instrument pointed, differ for asymmetric galaxies and close pairs.
        out: table to write; see `write_table`.

    Returns:
        Path of the table: `id_str` (the CATID), `ra`, `dec`, and all columns of the targets.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: the table cannot be read, lacks one of these columns, or a CATID is empty or repeated, or a position
            is impossible.
    """
    check_writable(out)
    targets = read_table(targets_loc)
    require_columns(targets_loc, targets.columns, ["CATID", "RA_OBJ", "DEC_OBJ"])
    ids = read_text(targets_loc, targets, "CATID")
    refuse(targets_loc, targets, "CATID", ids == "", "every target needs one")
    refuse(targets_loc, targets, "CATID", ids.duplicated(), "it names an earlier target already")
    positions = read_positions(targets_loc, targets, ["RA_OBJ", "DEC_OBJ"])
    catalog = targets.drop(columns=["id_str", "ra", "dec"], errors="ignore")
    catalog.insert(0, "id_str", ids)
    catalog.insert(1, "ra", positions["ra"])
    catalog.insert(2, "dec", positions["dec"])
    return write_table(catalog, out)

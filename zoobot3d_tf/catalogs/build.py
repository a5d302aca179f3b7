"""Training catalogue built from tables of images, votes and masks of the same galaxies."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.crossmatch import match
from zoobot3d_tf.catalogs.selection import passes_cuts, split_of
from zoobot3d_tf.catalogs.training_catalog import MASK_COLUMNS, check_training_catalog, has_mask
from zoobot3d_tf.common_tree import CLASS_VOTES
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.surveys.sources import read_galaxies, read_votes
from zoobot3d_tf.tables.columns import check_ids, read_positions
from zoobot3d_tf.tables.formats import check_writable, read_table, write_table

log = logging.getLogger(__name__)

_PATH_COLUMNS = ["file_loc", *MASK_COLUMNS]
_POSITION = ["ra", "dec"]
_IMAGE_POSITION = ["image_ra", "image_dec"]


def build_catalog(
    images_loc: PathLike,
    out: PathLike,
    schema: Schema,
    votes: Sequence[tuple[str, PathLike]] = (),
    tasks_loc: PathLike | None = None,
    class_votes: int = CLASS_VOTES,
    masks_loc: PathLike | None = None,
    match_radius_arcsec: float | None = None,
    predicted_loc: PathLike | None = None,
    min_featured: float | None = None,
    min_face_on: float | None = None,
    split: bool = False,
) -> Path:
    """Build a training catalogue of all galaxies that have an image, and a vote or a mask.

    Tables are joined by `id_str`. With `match_radius_arcsec`, tables that hold positions are joined by position
    instead: each galaxy with the nearest one within the radius, and no galaxy twice.

    `ra` and `dec` of the catalogue are the position of the image: `cutout_ra`, `cutout_dec` of the table that the image
    is from, or else its `ra`, `dec`. If this table has neither, they are the position of the galaxy in another table of
    images or, after that, in a table of votes. Tables are joined by `ra`, `dec`, the position of the galaxy.

    Args:
        images_loc: path of the table of images, with `id_str`, `file_loc` and, if known, `ra`, `dec`, `cutout_ra`,
            `cutout_dec` and `pixscale`. Masks in this table are used. Votes in it are ignored, unless the table is also
            named in `votes`.
        out: path of the table to write, `*.csv`, `*.parquet`, `*.fits` or `*.ecsv`. Paths in it are relative to its
            folder.
        schema: decision tree of the votes.
        votes: form and path of each table of votes; see `sources.read_votes`. Only one of them may have votes on a
            given question of a given galaxy.
        tasks_loc: path of the file of tasks for Zooniverse exports; see `zooniverse`.
        class_votes: number of votes that a class counts as, for tables of the form `classes`.
        masks_loc: path of a table of images with masks, in the form of `images_loc`. If a galaxy is in both tables,
            image, position, pixel scale and masks are taken from this one, since they fit only their own image.
            Galaxies that are only in this table are added.
        match_radius_arcsec: radius within which tables are joined by position. By default they are joined by `id_str`.
        predicted_loc: path of a table of predicted vote fractions for the cuts, with `id_str`, `iauname` or `dr8_id`;
            see `selection.passes_cuts`.
        min_featured: smallest predicted fraction of volunteers who see features or a disk.
        min_face_on: smallest predicted fraction of volunteers who see a disk that is not edge-on.
        split: whether to add the column `split`; see `selection.split_of`.

    Returns:
        Path of the table.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: a table is faulty; two tables have votes on the same question of a galaxy; there are cuts without
            `predicted_loc`, or the reverse; or no galaxy is left.
        OSError: the table cannot be written.
    """
    out = check_writable(out)
    cuts = {"min_featured": min_featured, "min_face_on": min_face_on}
    if (predicted_loc is None) != (cuts["min_featured"] is None and cuts["min_face_on"] is None):
        raise ValueError(
            "the cuts min_featured and min_face_on need predicted_loc, a table of predicted fractions, which is used "
            "for nothing else; give a cut and the table, or neither"
        )

    galaxies = _read_images(images_loc, schema)
    if masks_loc is not None:
        galaxies = _add_masked(galaxies, masks_loc, _read_images(masks_loc, schema), match_radius_arcsec)
    if predicted_loc is not None:
        galaxies = _cut(galaxies, predicted_loc, cuts, match_radius_arcsec)
    found_votes = _join_votes(galaxies, schema, votes, tasks_loc, class_votes, match_radius_arcsec)
    galaxies = galaxies.drop(columns=_POSITION).rename(columns=dict(zip(_IMAGE_POSITION, _POSITION, strict=True)))
    galaxies = pd.concat([galaxies, found_votes], axis=1)

    labelled = (found_votes > 0).any(axis=1) | has_mask(galaxies)
    if not labelled.any():
        raise ValueError(
            f"{images_loc}: none of its {len(galaxies)} galaxies has a vote or a mask in any of the tables"
        )
    log.info("%d galaxies without a vote or a mask were left out", (~labelled).sum())
    catalog = galaxies[labelled]
    if split:
        catalog = catalog.assign(split=catalog["id_str"].map(split_of))
    write_table(_with_relative_paths(catalog, out.parent), out)
    log.info("%s", summarise(catalog, schema).to_string())
    return out


def summarise(catalog: pd.DataFrame, schema: Schema) -> pd.Series:
    """Count the galaxies of a catalogue by their labels.

    Args:
        catalog: catalogue as `read_training_catalog` returns it, with or without the column `split`.
        schema: decision tree of the votes.

    Returns:
        Numbers of galaxies: all; with votes, with each mask, with marks; with both masks; with votes and a mask or
        marks; in each part of the split.
    """
    has_votes = (catalog[schema.label_cols] > 0).any(axis=1)
    has = {column: catalog[column] != "" for column in MASK_COLUMNS}
    counts: dict[str, Any] = {"galaxies": len(catalog), "with votes": has_votes.sum()}
    counts |= {f"with {column.removesuffix('_loc').replace('_', ' ')}": has[column].sum() for column in MASK_COLUMNS}
    counts["with both masks"] = (has["spiral_mask_loc"] & has["bar_mask_loc"]).sum()
    counts["with votes and a mask"] = (has_votes & has_mask(catalog)).sum()
    if "split" in catalog:
        counts |= {f"in {name}": (catalog["split"] == name).sum() for name in ("train", "val", "test")}
    return pd.Series(counts).astype(int)


def _read_images(path: PathLike, schema: Schema) -> pd.DataFrame:
    # The folder above a symbolic link is the folder above its target.
    root = path_of(path).parent.resolve()
    table = read_table(path)
    images = check_training_catalog(path, table, schema, root, labels=("masks",))
    check_ids(path, table)
    images[_IMAGE_POSITION] = images[_POSITION]
    if "ra" in table:
        images[_POSITION] = read_positions(path, table, _POSITION).reindex(table.index).fillna(images[_POSITION])
    return images[["id_str", *_POSITION, *_IMAGE_POSITION, "pixscale", *_PATH_COLUMNS, "n_volunteers"]]


def _add_masked(galaxies: pd.DataFrame, path: PathLike, masked: pd.DataFrame, radius: float | None) -> pd.DataFrame:
    partners = _find_partners(galaxies, path, masked, radius)
    in_both = partners >= 0
    for column in (*_IMAGE_POSITION, "pixscale", *_PATH_COLUMNS, "n_volunteers"):
        galaxies.loc[in_both, column] = masked[column].to_numpy()[partners[in_both]]
    _fill_positions(galaxies, _POSITION, path, masked, partners)
    galaxies = pd.concat([galaxies, masked[~masked.index.isin(partners)]], ignore_index=True)
    repeated = galaxies["id_str"][galaxies["id_str"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"{path}: {repeated.iloc[0]} has the id_str, but not the position, of a galaxy in the table of images"
        )
    return galaxies


def _cut(galaxies: pd.DataFrame, path: PathLike, cuts: dict[str, float | None], radius: float | None) -> pd.DataFrame:
    table = read_table(path)
    predicted = read_galaxies(path, table, "id_str", "iauname", "dr8_id")
    partners = _find_partners(galaxies, path, predicted, radius)
    # Galaxies without a partner, -1, take the last value.
    passes = np.append(passes_cuts(path, table, **cuts), False)[partners]
    log.info("%s: %d of %d galaxies pass the cuts", path, passes.sum(), len(galaxies))
    return galaxies[passes].reset_index(drop=True)


def _join_votes(
    galaxies: pd.DataFrame,
    schema: Schema,
    sources: Sequence[tuple[str, PathLike]],
    tasks_loc: PathLike | None,
    class_votes: int,
    radius: float | None,
) -> pd.DataFrame:
    """Read all tables of votes, and add their votes for each galaxy. Images without a position receive one."""
    for image, galaxy in zip(_IMAGE_POSITION, _POSITION, strict=True):
        galaxies[image] = galaxies[image].fillna(galaxies[galaxy])
    votes = np.zeros((len(galaxies), len(schema.answers)), np.int64)
    for form, path in sources:
        source = read_votes(path, form, schema, tasks_loc, class_votes)
        partners = _find_partners(galaxies, path, source, radius)
        found = partners >= 0
        added = np.zeros_like(votes)
        added[found] = source[schema.label_cols].to_numpy()[partners[found]]
        asked_twice = (schema.sum_by_question(votes) > 0) & (schema.sum_by_question(added) > 0)
        if asked_twice.any():
            galaxy, question = np.argwhere(asked_twice)[0]
            raise ValueError(
                f"{path}: has votes on {schema.questions[question].text} of {galaxies['id_str'].iloc[galaxy]}, as an "
                "earlier table of votes has; use a schema with separate columns for each campaign, such as "
                "decals_all_campaigns_ortho"
            )
        votes += added
        _fill_positions(galaxies, _IMAGE_POSITION, path, source, partners)
    return pd.DataFrame(votes, index=galaxies.index, columns=schema.label_cols)


def _fill_positions(
    galaxies: pd.DataFrame, columns: list[str], path: PathLike, table: pd.DataFrame, partners: np.ndarray
) -> None:
    """Fill empty positions with those in a table. `partners` are the rows of the galaxies, -1 if there is none."""
    known = read_positions(path, table, _POSITION).reindex(table.index)
    lacks = galaxies[columns].isna().any(axis=1).to_numpy() & (partners >= 0)
    galaxies.loc[lacks, columns] = known.to_numpy()[partners[lacks]]


def _find_partners(galaxies: pd.DataFrame, path: PathLike, table: pd.DataFrame, radius: float | None) -> np.ndarray:
    """Find the row of each galaxy in a table, -1 if there is none."""
    left, right = galaxies[_POSITION].dropna(), read_positions(path, table, _POSITION)
    if radius is None or left.empty or right.empty:
        partners = pd.Index(table["id_str"]).get_indexer(galaxies["id_str"])
        how = "by id_str"
    else:
        pairs = match(left.assign(galaxy=left.index), right.assign(partner=right.index), radius, one_to_one=True)
        partners = np.full(len(galaxies), -1)
        partners[pairs["galaxy"]] = pairs["partner"]
        how = f"by position within {radius:g} arcsec"
    log.info("%s: contains %d of %d galaxies, joined %s", path, (partners >= 0).sum(), len(galaxies), how)
    return partners


def _with_relative_paths(catalog: pd.DataFrame, folder: Path) -> pd.DataFrame:
    folder = folder.resolve()
    relative = {
        column: [os.path.relpath(location, folder) if location else "" for location in catalog[column]]
        for column in _PATH_COLUMNS
    }
    return catalog.assign(**relative)

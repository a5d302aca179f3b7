"""List the galaxies to process: from a folder, a catalogue, shards, a list of paths, or memory.

Each function returns a table of the same form, with one row per galaxy in the order of its source:

- `id_str`: id, text; unique. A galaxy whose id cannot be used otherwise fails alone, see `run_job.named_images`;
- `file_loc`: absolute path of the image, or of the shard that holds it, text; '' for an image in memory;
- `record`: number of the record in the shard, from 0, int64; -1 for an image file;
- `ra`, `dec`: position of the centre of the image, degrees, ICRS, float64; NaN if unknown;
- `pixscale`: arcsec per pixel of the image, float64; NaN if unknown;
- then the columns of the catalogue that the table of results keeps, text, integers, float64 or bool; their units, where
  known, are in `attrs["units"]`.

Image files are not opened here; see `source_images`.
"""

import hashlib
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.shards.manifest import MANIFEST_NAME, Manifest, ShardFile, check_shards, read_manifest
from zoobot3d_tf.tables.columns import id_fault, read_image_positions, read_pixscale, read_text, refuse, require_columns
from zoobot3d_tf.tables.formats import read_table

FILE_SUFFIXES = {
    "png": (".png",),
    "jpg": (".jpg", ".jpeg"),
    "tif": (".tif", ".tiff"),
    "fits": tuple(f".{name}{end}" for name in ("fits", "fit", "fts") for end in ("", ".gz", ".fz", ".bz2")),
}
_ALL_SUFFIXES = tuple(suffix for suffixes in FILE_SUFFIXES.values() for suffix in suffixes)
_SUFFIX = re.compile("(" + "|".join(map(re.escape, _ALL_SUFFIXES)) + ")$", re.IGNORECASE)
# Takes a tenth of the memory of Python's strings, so that ten million galaxies fit.
_TEXT = pd.StringDtype("pyarrow")
# The other columns of an image file.
_UNKNOWN: dict[str, Any] = {"record": -1, "ra": np.nan, "dec": np.nan, "pixscale": np.nan}
log = logging.getLogger(__name__)

_COLUMNS = ("id_str", "file_loc", *_UNKNOWN)
_ROWS_AT_ONCE = 2**16
_RECORDS_AT_ONCE = 64


def is_image(path: Path) -> bool:
    """Whether a path is that of an image, by its suffix. A FITS file without an image, such as a catalogue, is none."""
    if not path.is_file() or not path.name.lower().endswith(_ALL_SUFFIXES):
        return False
    if not path.name.lower().endswith(FILE_SUFFIXES["fits"]):
        return True
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            return any(hdu.is_image and hdu.header["NAXIS"] for hdu in hdus)
    except OSError:  # damaged; reading it says so
        return True


def galaxies_in_folder(folder: PathLike, file_format: str | None = None, recursive: bool = False) -> pd.DataFrame:
    """List the images in a folder, by their suffixes in lower or upper case.

    Files of other formats are left out; one line of the log counts them.

    Args:
        folder: folder of images, or a single image. Hidden files and folders are ignored.
        file_format: one of `FILE_SUFFIXES`, or None for all of them.
        recursive: whether to include sub-folders. Links to folders are followed. Each folder is listed once.

    Returns:
        The table of this module, sorted by the paths of the images in the folder, with '/'. The id of a galaxy is this
        path without its suffix.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the format is unknown, there is no such image, a name is not UTF-8, or two names differ only in
            their suffix.
        OSError: the folder or a folder in it cannot be listed.
    """
    if file_format is not None and file_format not in FILE_SUFFIXES:
        raise ValueError(f"file_format must be one of {', '.join(FILE_SUFFIXES)}; received {file_format!r}")
    suffixes = _ALL_SUFFIXES if file_format is None else FILE_SUFFIXES[file_format]
    place = path_of(folder).absolute()
    if place.is_dir():
        folder, found = place, list(_names_below(place, recursive))
    elif os.path.lexists(place):
        folder, found = place.parent, [place.name]
    else:
        raise FileNotFoundError(f"{place}: no such folder or image")
    names = sorted(name for name in found if name.lower().endswith(suffixes))
    if not names:
        kinds = " or ".join(suffixes)
        if not place.is_dir():
            raise NotADirectoryError(f"{place}: is neither a folder of images nor an image, which is a {kinds} file")
        hint = "" if recursive else "; to include sub-folders, set recursive"
        raise ValueError(f"{place}: holds no {kinds} files{hint}")
    if left_out := Counter(os.path.splitext(name)[1].lower() or "without a suffix" for name in set(found) - set(names)):
        log.warning(
            "%s: %d files are left out, since only %s files are taken: %s",
            folder,
            left_out.total(),
            ", ".join(suffixes),
            ", ".join(f"{count} {suffix}" for suffix, count in sorted(left_out.items())),
        )
    ids = _as_text(folder, [_SUFFIX.sub("", name) for name in names])
    file_locs = _as_text(folder, [f"{folder}{os.sep}{name}" for name in names])
    return _checked(folder, pd.DataFrame({"id_str": ids, "file_loc": file_locs, **_UNKNOWN}))


def galaxies_in_catalog(path: PathLike, image_root: PathLike | None = None, keep: Sequence[str] = ()) -> pd.DataFrame:
    """List the galaxies in a catalogue.

    Args:
        path: catalogue, see `read_table`. It needs the columns `id_str` and `file_loc`. The position of the image
            (see `read_image_positions`) and `pixscale` are optional.
        image_root: folder that relative paths start from; by default the folder of the catalogue.
        keep: columns of the catalogue to keep for the table of results.

    Returns:
        The table of this module, in the order of the rows.

    Raises:
        FileNotFoundError: the catalogue does not exist.
        ValueError: the catalogue cannot be read, lacks a column or has no rows; an id is repeated; or a value is
            impossible.
    """
    root = image_root if image_root is not None else path_of(path).parent
    return galaxies_in_table(read_table(path), path, root, keep)


def galaxies_in_table(
    table: pd.DataFrame, path: PathLike, image_root: PathLike, keep: Sequence[str] = ()
) -> pd.DataFrame:
    """List the galaxies in a catalogue that was read.

    Args:
        table: content of the catalogue, with the columns of `galaxies_in_catalog`.
        path: path of the catalogue, or another name of it for messages.
        image_root: folder that relative paths start from.
        keep: columns of the catalogue to keep for the table of results.

    Returns:
        The table of this module, in the order of the rows.

    Raises:
        ValueError: as for `galaxies_in_catalog`.
    """
    if table.empty:
        raise ValueError(f"{path}: the catalogue has no rows")
    require_columns(path, table.columns, ["id_str", "file_loc"])
    locs = read_text(path, table, "file_loc")
    refuse(path, table, "file_loc", locs == "", "it must be the path of an image")
    root = path_of(image_root).absolute()
    file_locs = _as_text(path, [os.path.join(root, loc) for loc in locs])
    known: dict[str, pd.Series] = {}
    positions = read_image_positions(path, table)
    known |= {"ra": positions["ra"], "dec": positions["dec"]}
    if "pixscale" in table:
        known["pixscale"] = read_pixscale(path, table, "pixscale")
    if taken := [name for name in keep if name in _COLUMNS]:
        raise ValueError(f"keep must not name {taken[0]}, which the table has anyway or uses otherwise")
    require_columns(path, table.columns, keep)
    kept = {name: _to_keep(path, table[name]) for name in keep}
    ids = _as_text(path, table["id_str"].tolist())
    galaxies = pd.DataFrame({"id_str": ids, "file_loc": file_locs, **_UNKNOWN, **known, **kept})
    galaxies.attrs["units"] = {name: unit for name, unit in table.attrs.get("units", {}).items() if name in kept}
    return _checked(path, galaxies)


def galaxies_in_shards(folder: PathLike) -> pd.DataFrame:
    """List the galaxies in shards.

    Args:
        folder: shard folder, or one of the folders of shards in it.

    Returns:
        The table of this module, in the order of `shards.json`. The pixel scale is unknown for shards of format
        version 1. Of a galaxy that received labels later, the shard folder lists the labelled record.

    Raises:
        FileNotFoundError: there is no `shards.json`, or one of its files does not exist.
        ValueError: a file is damaged, `shards.json` lists no galaxies in the folder, or an id is repeated.
    """
    folder = path_of(folder).absolute()
    manifest = read_manifest(folder)
    files = [file for files in manifest.splits.values() for file in files]
    files = [file for file in files if folder in (manifest.folder, (manifest.folder / file.name).parent)]
    files = [file for file in files if file.galaxies]
    if not files:
        raise ValueError(f"{folder}: {manifest.folder / MANIFEST_NAME} lists no galaxies in this folder")
    check_shards([manifest.folder / file.name for file in files])
    galaxies = pd.concat([_galaxies_in_shard(manifest, file) for file in files], ignore_index=True)
    if folder == manifest.folder:  # shards that have grown hold a galaxy twice, see `shards.grow`
        grown = [str(path) for path in manifest.paths("unlabelled")]
        galaxies = galaxies[~(galaxies["id_str"].duplicated() & galaxies["file_loc"].isin(grown))]
    return _checked(folder, galaxies.reset_index(drop=True))


def galaxies_in_list(source: PathLike) -> pd.DataFrame:
    """List the images whose paths are in a text file.

    Args:
        source: text file in UTF-8 with one path per line, or "-" for standard input. Blank lines are ignored. Relative
            paths start from the working folder.

    Returns:
        The table of this module, in the order of the lines. The id of a galaxy is the name of its file without the
        suffix.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8 or lists no images, or two paths give the same id.
    """
    is_stdin = str(source) == "-"
    name = "standard input" if is_stdin else str(source)
    if not is_stdin and not path_of(source).exists():
        raise FileNotFoundError(f"{source}: no such list of images")
    content = sys.stdin.buffer.read() if is_stdin else path_of(source).read_bytes()
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: is not UTF-8 text with one path per line: {error}") from error
    paths = [line for line in lines if line.strip()]
    if not paths:
        raise ValueError(f"{name}: lists no images; it must have one path per line")
    return galaxies_at(paths, name)


def galaxies_at(paths: Sequence[PathLike], name: str) -> pd.DataFrame:
    """List images by their paths.

    Args:
        paths: paths of images, at least one. Relative paths start from the working folder.
        name: name of the list for messages.

    Returns:
        The table of this module, in the order of the paths. The id of a galaxy is the name of its file without the
        suffix.

    Raises:
        ValueError: two paths give the same id, or a path is not UTF-8.
    """
    here = Path.cwd()
    file_locs = [os.path.join(here, path_of(path)) for path in paths]
    ids = _as_text(name, [_SUFFIX.sub("", os.path.basename(loc)) for loc in file_locs])
    return _checked(name, pd.DataFrame({"id_str": ids, "file_loc": _as_text(name, file_locs), **_UNKNOWN}))


def galaxies_in_memory(id_strs: Sequence[str]) -> pd.DataFrame:
    """List galaxies whose images are in memory.

    Args:
        id_strs: ids of the galaxies, at least one.

    Returns:
        The table of this module, in this order. `file_loc` is empty.

    Raises:
        ValueError: an id is repeated or cannot be used.
    """
    ids = _as_text("ids", id_strs)
    for id_str, is_repeated in zip(ids, ids.duplicated(), strict=True):
        if fault := "is repeated; ids must be unique" if is_repeated else id_fault(id_str):
            raise ValueError(f"ids: {id_str!r} {fault}")
    return pd.DataFrame({"id_str": ids, "file_loc": _as_text("ids", [""] * len(ids)), **_UNKNOWN})


def kept_columns(galaxies: pd.DataFrame) -> list[str]:
    """Columns of the catalogue in a table of this module."""
    return [name for name in galaxies.columns if name not in _COLUMNS]


def fingerprint(galaxies: pd.DataFrame) -> str:
    """SHA-256, in hexadecimal, of a table of this module and of the sizes and times of last change of its files."""
    digest = hashlib.sha256()
    for first in range(0, len(galaxies), _ROWS_AT_ONCE):
        rows = galaxies.iloc[first : first + _ROWS_AT_ONCE]
        for name in ("id_str", "file_loc"):
            digest.update("\0".join(rows[name]).encode())
        digest.update(rows["record"].to_numpy().tobytes())
        for name in ("ra", "dec", "pixscale"):
            numbers = rows[name].to_numpy()
            digest.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())  # one NaN of the many that there are
        for name in kept_columns(galaxies):
            digest.update("\0".join([name, *rows[name].astype(str)]).encode())
    for path in galaxies["file_loc"].unique():
        digest.update(_state_of(path).encode())
    return digest.hexdigest()


def _names_below(folder: Path, recursive: bool) -> Iterator[str]:
    """Paths of the files in a folder, relative to it, with '/'. Each folder is listed once, so that links may loop."""
    waiting, listed = [folder], set()
    while waiting:
        for place, subfolders, names in os.walk(waiting.pop(0), onerror=_refuse_to_skip):
            stat = os.stat(place)
            if (stat.st_dev, stat.st_ino) in listed:
                subfolders[:] = []
                continue
            listed.add((stat.st_dev, stat.st_ino))
            subfolders[:] = sorted(name for name in subfolders if recursive and not name.startswith("."))
            # `os.walk` does not follow links. Folders are listed before links to them, so that they keep their names.
            waiting += [link for name in subfolders if (link := Path(place, name)).is_symlink()]
            below = Path(place).relative_to(folder).as_posix()
            prefix = "" if below == "." else f"{below}/"
            yield from (prefix + name for name in names if not name.startswith("."))


def _refuse_to_skip(error: OSError) -> NoReturn:
    raise OSError(f"{error.filename}: the folder cannot be listed: {error.strerror}") from error


def _galaxies_in_shard(manifest: Manifest, file: ShardFile) -> pd.DataFrame:
    from zoobot3d_tf.shards.read import naming_shard, read_records
    from zoobot3d_tf.shards.record import parse

    path = manifest.folder / file.name
    names = ("id_str", "ra", "dec", "pixscale")
    with naming_shard(path):
        batches = [parse(batch, 0, names) for batch in read_records([path]).batch(_RECORDS_AT_ONCE)]
    n_galaxies = sum(len(batch["id_str"]) for batch in batches)
    if n_galaxies != file.galaxies:
        raise ValueError(
            f"{path}: holds {n_galaxies} galaxies, but {MANIFEST_NAME} lists {file.galaxies}; make the shards again"
        )
    stored = {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in names}
    return pd.DataFrame(
        {
            "id_str": _as_text(path, [id_str.decode() for id_str in stored["id_str"]]),
            "file_loc": _as_text(path, [str(path)] * n_galaxies),
            "record": np.arange(n_galaxies),
            "ra": stored["ra"],
            "dec": stored["dec"],
            "pixscale": stored["pixscale"] if manifest.format_version > 1 else np.nan,
        }
    )


def _as_text(source: PathLike, texts: Sequence[str]) -> pd.Series:
    try:
        return pd.Series(texts, dtype=_TEXT)
    except UnicodeEncodeError as error:
        raise ValueError(f"{source}: the name {error.object!r} is not valid UTF-8; rename the file") from None


def _to_keep(path: PathLike, column: pd.Series) -> pd.Series:
    """Convert a column to a type that all formats of tables can hold: text, '' where it is empty, or numbers."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column.astype(np.float64) if column.dtype.kind == "f" else column
    return _as_text(path, column.astype(object).where(column.notna(), "").map(str).tolist())


def _checked(source: PathLike, galaxies: pd.DataFrame) -> pd.DataFrame:
    """Return the table if its ids are unique. A galaxy with an unfit id fails alone, see `named_images`."""
    ids = galaxies["id_str"]
    is_repeated = ids.duplicated()
    if is_repeated.any():
        repeated = ids[is_repeated].iloc[0]
        alike = galaxies[(ids == repeated).to_numpy(bool)]
        first, second = (_place_of(alike.iloc[i]) for i in range(2))
        raise ValueError(f"{source}: {first} and {second} have the same id {repeated!r}; rename one of them")
    return galaxies


def _place_of(galaxy: pd.Series) -> str:
    return galaxy.file_loc if galaxy.record < 0 else f"record {galaxy.record} of {galaxy.file_loc}"


def _state_of(path: str) -> str:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # missing, or no valid path; reading it later says so
        return "\nmissing"
    return f"\n{stat.st_size}\t{stat.st_mtime_ns}"

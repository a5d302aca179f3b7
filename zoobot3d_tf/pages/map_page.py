"""The map: an interactive page on which similar galaxies lie close together.

The page is one file. A browser opens it from the disk, without a server or internet. All values from tables are stored
in it as JSON, and the script writes them to the document as text, never as HTML. A content security policy allows no
other script, and no request. The HTML, CSS and JavaScript are in the folder `map`.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from zoobot3d_tf.extras import is_installed, require
from zoobot3d_tf.files import PathLike, path_of, write_atomically
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.inference.metadata import read_metadata
from zoobot3d_tf.labels import Label
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.pages.html import check_page, encode_numbers, jpeg_uri
from zoobot3d_tf.pages.thumbnails import read_thumbnail
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.representations.vectors import VectorTable, open_vectors, sample_rows
from zoobot3d_tf.tables.columns import refuse, require_columns
from zoobot3d_tf.tables.formats import read_table

METHODS = ("auto", "umap", "pca")
"""Methods to place galaxies in the plane; see `write_map`."""

_ASSETS = resources.files("zoobot3d_tf.pages") / "map"
_THUMBNAIL_SIDE = 96  # pixels
_ATLAS_SIDE = 16  # thumbnails per row and column; a few large pictures open faster than many small ones
_SEED = 0  # random seed of the sample of galaxies, and of UMAP
_LEAST_FOR_UMAP = 50  # UMAP uses fifteen neighbours of each galaxy


def write_map(
    components_loc: PathLike,
    out: PathLike,
    *,
    method: str = "auto",
    max_galaxies: int = 5000,
    catalog: PathLike | None = None,
) -> Path:
    """Write a page with an interactive map of galaxies and their pictures.

    Args:
        components_loc: table of components that `compress` wrote.
        out: page to write, .html. Its folder is made if it is missing.
        method: how to place galaxies: "umap" (McInnes et al. 2018, arXiv 1802.03426; extra `[map]`); "pca", by the
            first two components; or "auto", which takes UMAP if it is installed and there are enough galaxies.
        max_galaxies: largest number of galaxies to show, drawn at random.
        catalog: table with `id_str`, such as predictions or anomalies, whose numbers can colour the galaxies.

    Returns:
        Path of the page.

    Raises:
        ValueError: an argument is out of range, a table is damaged, or the catalogue has none of the galaxies.
        OSError: a file does not exist or cannot be written.
        ImportError: UMAP is requested but not installed.
    """
    out = check_page(out)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; received {method!r}")
    if max_galaxies < 1:
        raise ValueError(f"max_galaxies must be at least 1; received {max_galaxies}")
    table = open_vectors(components_loc, "component")
    rows = sample_rows(table.n_galaxies, max_galaxies, _SEED)
    method = _choose_method(method, len(rows))
    pieces = list(table.pieces(rows))
    shown = pd.concat([others.to_pandas() for others, _ in pieces], ignore_index=True)
    vectors = np.concatenate([vectors for _, vectors in pieces])
    colours = _numbers(shown) | ({} if catalog is None else _numbers_of_catalog(catalog, shown["id_str"]))
    label_columns = () if catalog is None else _label_columns(path_of(catalog))
    atlases, has_picture = _draw_atlases(shown["file_loc"], table.stretch)
    data = {
        "title": path_of(components_loc).name,
        "about": _about(table, method, len(shown)),
        "id_str": shown["id_str"].tolist(),
        "x_y": encode_numbers(place_on_map(vectors, method)),
        "colours": [[name, encode_numbers(numbers)] for name, numbers in colours.items()],
        "menu": _menu(list(colours), label_columns),
        "thumbnail_side": _THUMBNAIL_SIDE,
        "atlas_side": _ATLAS_SIDE,
        "atlases": atlases,
        "has_picture": "".join(str(int(has)) for has in has_picture),
    }
    write_atomically(out, _page(data))
    return out


def place_on_map(vectors: np.ndarray, method: str) -> np.ndarray:
    """Place galaxies in the plane.

    Args:
        vectors: principal components, shape (galaxies, components).
        method: "umap", or "pca" for the first two components. If there is only one, y is 0.

    Returns:
        x (to the right) and y (up), float32 (galaxies, 2).
    """
    if method == "umap":
        import umap

        # With several threads, the same seed would give different maps.
        return umap.UMAP(random_state=_SEED, n_jobs=1).fit_transform(vectors).astype(np.float32)
    both = np.zeros((len(vectors), 2), np.float32)
    both[:, : vectors.shape[1]] = vectors[:, :2]
    return both


def _choose_method(method: str, n_galaxies: int) -> str:
    is_enough = n_galaxies >= _LEAST_FOR_UMAP
    if method == "auto":
        return "umap" if is_installed("umap") and is_enough else "pca"
    if method == "umap":
        require("umap", "method umap")
    if method == "umap" and not is_enough:
        raise ValueError(
            f"method umap needs at least {_LEAST_FOR_UMAP} galaxies; received {n_galaxies}, so choose method pca"
        )
    return method


def _about(table: VectorTable, method: str, n_shown: int) -> str:
    which = f"{n_shown:,} galaxies"
    if n_shown < table.n_galaxies:
        which = f"{n_shown:,} of {table.n_galaxies:,} galaxies, drawn at random"
    pca = table.metadata.get("pca")
    share = pca.get("share") if isinstance(pca, dict) else None
    kept = f", which keep {100 * share:.1f} % of the variance" if isinstance(share, float) else ""
    components = f"{len(table.names)} principal components{kept}"
    return f"{which}. Positions: {'UMAP of' if method == 'umap' else 'the first two of'} {components}."


def _numbers(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Columns of numbers by name, float32."""
    numeric = table.select_dtypes(["number", "bool"])
    return {str(name): numeric[name].to_numpy(np.float32, na_value=np.nan) for name in numeric}


def _numbers_of_catalog(catalog: PathLike, id_strs: pd.Series) -> dict[str, np.ndarray]:
    """Columns of numbers of a catalogue, in the order of these ids; NaN for galaxies that are not in the catalogue."""
    found = read_table(catalog)
    require_columns(catalog, found.columns, ["id_str"])
    refuse(catalog, found, "id_str", found["id_str"].duplicated(), "it must be unique")
    if not id_strs.isin(found["id_str"]).any():
        raise ValueError(
            f"{catalog}: has none of the galaxies on the map, such as {id_strs.iloc[0]!r}; its id_str must be the same "
            "as in the table of components"
        )
    numbers = pd.DataFrame(_numbers(found), index=found["id_str"].to_numpy())
    if numbers.empty:
        raise ValueError(f"{catalog}: has no column of numbers; the map needs one to colour the galaxies")
    return _numbers(numbers.reindex(id_strs))


def _label_columns(catalog: Path) -> tuple[str, ...]:
    """Columns of the label that a table of predictions holds, by its metadata."""
    stored = read_metadata(catalog).get("label")
    return () if stored is None else Label.from_dict(stored).outputs


def _menu(names: Sequence[str], label_columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Columns by heading, with what is chosen most often first. Vote fractions have the order of the questions."""
    groups: dict[str, list[str]] = {"vote fractions": [], "label": [], "masks": [], "other columns": []}
    for name in names:
        if name.endswith("_fraction"):
            groups["vote fractions"].append(name)
        elif name in label_columns:
            groups["label"].append(name)
        else:
            groups["masks" if name in COLUMNS else "other columns"].append(name)
    return [(heading, found) for heading, found in groups.items() if found]


def _draw_atlases(file_locs: Sequence[str], stretch: str) -> tuple[list[str], list[bool]]:
    """Draw thumbnails into large pictures, `_ATLAS_SIDE` squared in each.

    Returns:
        Pictures as data URIs of JPEGs; and for each galaxy, whether it has a thumbnail.
    """
    atlases: list[str] = []
    has_picture: list[bool] = []
    per_atlas, side = _ATLAS_SIDE**2, _ATLAS_SIDE * _THUMBNAIL_SIDE
    with ThreadPoolExecutor(available_cores()) as pool:  # decoding and resizing release the interpreter lock
        thumbnails = pool.map(lambda file_loc: _try_to_read(file_loc, stretch), file_locs)
        for i, thumbnail in enumerate(Progress(thumbnails, len(file_locs), "galaxy", "pictures")):
            if i % per_atlas == 0:
                atlas = Image.new("RGB", (side, side))
            if thumbnail is not None:
                row, column = divmod(i % per_atlas, _ATLAS_SIDE)
                atlas.paste(thumbnail, (column * _THUMBNAIL_SIDE, row * _THUMBNAIL_SIDE))
            has_picture.append(thumbnail is not None)
            if (i + 1) % per_atlas == 0 or i + 1 == len(file_locs):
                atlases.append(jpeg_uri(atlas, quality=80))
    return atlases, has_picture


def _try_to_read(file_loc: str, stretch: str) -> Image.Image | None:
    try:
        return read_thumbnail(file_loc, _THUMBNAIL_SIDE, stretch)
    except ImageError:
        return None


def _page(data: dict[str, Any]) -> str:
    parts = {name: (_ASSETS / f"map.{name}").read_text("utf-8") for name in ("css", "js")}
    hashes = {f"{name}_hash": _hash(text) for name, text in parts.items()}
    # Without "<", the data cannot end the HTML element that holds them.
    stored = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    page = Template((_ASSETS / "map.html").read_text("utf-8"))
    return page.substitute(parts, **hashes, data=stored)


def _hash(text: str) -> str:
    """Hash of a script or style, as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

"""A map of galaxies to wander on: alike ones lie close together. One file, which opens from the disk.

Everything that comes from tables reaches the page as data, in JSON, and enters the document as text; the page may run
no script but its own and ask for nothing else. How it looks and what it does stand in the folder `map`.
"""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from zoobot3d_tf.files import PathLike, write_atomically
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.pages.html import check_page
from zoobot3d_tf.pages.thumbnails import read_thumbnail
from zoobot3d_tf.representations.vectors import VectorTable, open_vectors, sample_rows
from zoobot3d_tf.tables.columns import refuse, require_columns
from zoobot3d_tf.tables.formats import read_table

METHODS = ("auto", "umap", "pca")
_ASSETS = resources.files("zoobot3d_tf.pages") / "map"
_THUMBNAIL_SIDE = 96  # pixels
_ATLAS_SIDE = 16  # thumbnails; few large pictures open faster than many small ones
_SEED = 0  # of the sample, and of UMAP
_LEAST_FOR_UMAP = 50  # it looks at fifteen neighbours of each


def write_map(
    components_loc: PathLike,
    out: PathLike,
    *,
    method: str = "auto",
    max_galaxies: int = 5000,
    catalog: PathLike | None = None,
) -> Path:
    """Writes a page with a map of galaxies, to zoom into, with their pictures.

    Args:
        components_loc: as `compress` leaves it.
        out: the page, .html.
        method: "umap" (McInnes et al. 2018, arXiv 1802.03426; extra `[map]`), "pca", the first two components, or
            "auto": UMAP where it is installed and there are galaxies enough.
        max_galaxies: how many galaxies to show at most, drawn at random.
        catalog: table with `id_str`, such as predictions or anomalies, to colour the galaxies by its numbers.

    Returns:
        Path of the page.

    Raises:
        ValueError: an argument is impossible, a table is damaged, or the catalogue knows none of the galaxies.
        OSError: a file is missing or cannot be written.
        ImportError: UMAP is wanted but not installed.
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
    atlases, has_picture = _draw_atlases(shown["file_loc"], table.stretch)
    data = {
        "title": Path(components_loc).name,
        "about": _about(table, method, len(shown)),
        "id_str": shown["id_str"].tolist(),
        "x_y": _encode(place_on_map(vectors, method)),
        "colours": [[name, _encode(numbers)] for name, numbers in colours.items()],
        "thumbnail_side": _THUMBNAIL_SIDE,
        "atlas_side": _ATLAS_SIDE,
        "atlases": atlases,
        "has_picture": "".join(str(int(has)) for has in has_picture),
    }
    write_atomically(out, _page(data))
    return out


def place_on_map(vectors: np.ndarray, method: str) -> np.ndarray:
    """Places of galaxies in the plane.

    Args:
        vectors: principal components, (galaxies, components).
        method: "umap", or "pca": the first two, or the first alone, where there is no second.

    Returns:
        x and y, to the right and up, float32 (galaxies, 2).
    """
    if method == "umap":
        import umap

        # One thread: a seed gives one map, which several would not keep.
        return umap.UMAP(random_state=_SEED, n_jobs=1).fit_transform(vectors).astype(np.float32)
    both = np.zeros((len(vectors), 2), np.float32)
    both[:, : vectors.shape[1]] = vectors[:, :2]
    return both


def _choose_method(method: str, n_galaxies: int) -> str:
    has_umap, is_enough = find_spec("umap") is not None, n_galaxies >= _LEAST_FOR_UMAP
    if method == "auto":
        return "umap" if has_umap and is_enough else "pca"
    if method == "umap" and not has_umap:
        raise ImportError("UMAP is not installed: pip install 'zoobot3d_tf[map]', or choose the method pca")
    if method == "umap" and not is_enough:
        raise ValueError(
            f"UMAP needs {_LEAST_FOR_UMAP} galaxies at least; received {n_galaxies}: choose the method pca"
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
    return f"{which}. {'UMAP of' if method == 'umap' else 'The first two of'} {components}."


def _numbers(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns of numbers."""
    numeric = table.select_dtypes(["number", "bool"])
    return {str(name): numeric[name].to_numpy(np.float32, na_value=np.nan) for name in numeric}


def _numbers_of_catalog(catalog: PathLike, id_strs: pd.Series) -> dict[str, np.ndarray]:
    """Columns of another table, in the order of these ids; NaN where it does not know them."""
    found = read_table(catalog)
    require_columns(catalog, found.columns, ["id_str"])
    refuse(catalog, found, "id_str", found["id_str"].duplicated(), "it must be unique")
    if not id_strs.isin(found["id_str"]).any():
        raise ValueError(
            f"{catalog}: knows none of the galaxies, such as {id_strs.iloc[0]!r}; it must have their id_str"
        )
    numbers = pd.DataFrame(_numbers(found), index=found["id_str"].to_numpy())
    if numbers.empty:
        raise ValueError(f"{catalog}: has no column of numbers to colour galaxies by")
    return _numbers(numbers.reindex(id_strs))


def _draw_atlases(file_locs: Sequence[str], stretch: str) -> tuple[list[str], list[bool]]:
    """Thumbnails, `_ATLAS_SIDE` squared a picture, as addresses that hold their JPEG, and which galaxies have one."""
    atlases: list[str] = []
    has_picture: list[bool] = []
    per_atlas, side = _ATLAS_SIDE**2, _ATLAS_SIDE * _THUMBNAIL_SIDE
    with ThreadPoolExecutor(available_cores()) as pool:  # decoding and resizing leave the interpreter to others
        thumbnails = pool.map(lambda file_loc: _try_to_read(file_loc, stretch), file_locs)
        for i, thumbnail in enumerate(tqdm(thumbnails, "pictures", len(file_locs), unit="galaxy", disable=None)):
            if i % per_atlas == 0:
                atlas = Image.new("RGB", (side, side))
            if thumbnail is not None:
                row, column = divmod(i % per_atlas, _ATLAS_SIDE)
                atlas.paste(thumbnail, (column * _THUMBNAIL_SIDE, row * _THUMBNAIL_SIDE))
            has_picture.append(thumbnail is not None)
            if (i + 1) % per_atlas == 0 or i + 1 == len(file_locs):
                content = io.BytesIO()
                atlas.save(content, "JPEG", quality=80)
                atlases.append("data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii"))
    return atlases, has_picture


def _try_to_read(file_loc: str, stretch: str) -> Image.Image | None:
    try:
        return read_thumbnail(file_loc, _THUMBNAIL_SIDE, stretch)
    except ImageError:
        return None


def _encode(numbers: np.ndarray) -> str:
    """Numbers in base64: float32, little-endian."""
    return base64.b64encode(np.ascontiguousarray(numbers, "<f4").tobytes()).decode("ascii")


def _page(data: dict) -> str:
    parts = {name: (_ASSETS / f"map.{name}").read_text("utf-8") for name in ("css", "js")}
    hashes = {f"{name}_hash": _hash(text) for name, text in parts.items()}
    # In ASCII and without "<", nothing in it can end the element that holds it.
    stored = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    page = Template((_ASSETS / "map.html").read_text("utf-8"))
    return page.substitute(parts, **hashes, data=stored)


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

"""A page to look at predictions with: `page.html`, and beside it `page_files` with pictures, masks and numbers.

It opens from disk, without a network. Everything that comes from the table reaches it as data, in `data.js`, and never
as HTML; how it looks and what it does stand in the folder `gallery`.
"""

import base64
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from zoobot3d_tf.files import PathLike, write_atomically
from zoobot3d_tf.images.masks import MASK_TITLES
from zoobot3d_tf.images.overlay import BAR_COLOUR, SPIRAL_COLOUR, draw_masks
from zoobot3d_tf.images.read import ImageError, read_picture
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH
from zoobot3d_tf.machine import available_cores, map_in_processes
from zoobot3d_tf.pages.html import check_page
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.prediction_tables import Predictions, load_predictions
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL

_MASK_COLOURS = {"spiral_mask": SPIRAL_COLOUR, "bar_mask": BAR_COLOUR}
_ASSETS = resources.files("zoobot3d_tf.pages") / "gallery"
_MARKER_NAME = "README.txt"
_MARKER = (
    "Pictures and numbers of the page beside this folder. `zoobot3d predictions show` made them, and replaces them.\n"
)

# Numbers that fill pages and that nobody sorts by.
_LEFT_OUT = re.compile(r".*_(concentration_\d+|expected_votes)")

# Opacities of a mask's picture are rounded to this: not seen, and it halves the file.
_OPACITY_STEP = 8

# Fewer are done before another process has started.
_GALAXIES_A_PROCESS = 200


@dataclass(frozen=True)
class _Galaxy:
    """Where the pictures of a galaxy come from; its number on the page is their name."""

    number: int
    file_loc: str
    mask_locs: Mapping[str, str]


@dataclass(frozen=True)
class _Pictures:
    """What became of them: why there is no image, or ''; the masks that show something; what is wrong with others."""

    image_problem: str
    drawn: Sequence[str]
    mask_problems: Sequence[str]


def write_gallery(table: PathLike, out: PathLike, max_galaxies: int = 5000, image_size: int = 224) -> Path:
    """Write a page that shows the galaxies of a table of predictions, to look at, filter and sort.

    An image or a mask that cannot be read is counted on the page; images inside shards are not shown.

    Args:
        table: as `load_predictions` reads it. Relative paths start from its folder.
        out: the page, .html. The folder `<stem>_files` beside it is made, or replaced if an earlier page made it.
        max_galaxies: how many galaxies to show at most, the first of the table.
        image_size: longer side of the pictures at most, in pixels.

    Returns:
        Path of the page.

    Raises:
        ValueError: an argument is out of range, or the table cannot be read.
        OSError: the table is missing, the page cannot be written, or its folder exists and is not an earlier page's.
    """
    for name, number in (("max_galaxies", max_galaxies), ("image_size", image_size)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1; received {number}")
    out = check_page(out)
    predictions = load_predictions(table)
    folder = out.with_name(f"{out.stem}_files")
    _make_folder(folder)
    shown = predictions.table.head(max_galaxies)
    stretch = predictions.metadata.get("stretch", DEFAULT_STRETCH)
    pictures = _write_all_pictures(_galaxies(shown, Path(table).absolute().parent), folder, image_size, stretch)
    data = {"table": Path(table).name, **_data(predictions, shown, pictures)}
    # ASCII, and no NaN: such JSON is JavaScript too.
    write_atomically(folder / "data.js", f"const gallery = {json.dumps(data, allow_nan=False)};\n")
    # Small files in a folder of the page's own are written plainly: a sync per picture would take longer than drawing
    # it. The page is written last.
    for name in ("page.css", "view.js", "page.js", "panel.js"):
        (folder / name).write_bytes((_ASSETS / name).read_bytes())
    page = Template((_ASSETS / "page.html").read_text("utf-8"))
    write_atomically(out, page.substitute(folder=quote(os.fsencode(folder.name))))
    return out


def _make_folder(folder: Path) -> None:
    """An empty folder; only one of our own making is emptied for it."""
    marker = folder / _MARKER_NAME
    if folder.is_symlink() or folder.exists():
        if folder.is_symlink() or not marker.is_file() or marker.read_text("utf-8", "replace") != _MARKER:
            raise FileExistsError(f"{folder}: exists, and no page of predictions made it; rename it or the page")
        shutil.rmtree(folder)
    folder.mkdir()
    marker.write_text(_MARKER, "utf-8")


def _galaxies(shown: pd.DataFrame, root: Path) -> list[_Galaxy]:
    """The galaxies of the page, their paths absolute; masks that were not predicted are left out."""
    file_locs = _texts(shown, "file_loc")
    mask_locs = {name: _texts(shown, f"{name}_loc") for name in MASK_TITLES}
    return [
        _Galaxy(
            number=i,
            file_loc=str(root / file_loc) if file_loc else "",
            mask_locs={name: str(root / locs[i]) for name, locs in mask_locs.items() if locs[i]},
        )
        for i, file_loc in enumerate(file_locs)
    ]


def _write_all_pictures(galaxies: Sequence[_Galaxy], folder: Path, image_size: int, stretch: str) -> list[_Pictures]:
    write = partial(_write_pictures, folder=folder, image_size=image_size, stretch=stretch)
    workers = max(1, min(available_cores(), len(galaxies) // _GALAXIES_A_PROCESS))
    made = map_in_processes(write, galaxies, workers, chunk_size=20)
    return list(tqdm(made, total=len(galaxies), desc="pictures", unit="galaxy"))


def _write_pictures(galaxy: _Galaxy, folder: Path, image_size: int, stretch: str) -> _Pictures:
    """Writes `<number>.jpg` and `<number>_<mask>.png`, the latter transparent where the mask is empty."""
    image, image_problem = _try_to_read_image(galaxy.file_loc, stretch)
    if image is not None:
        # Full resolution in colour: blue knots and the like are small.
        Image.fromarray(_fit(image, image_size)).save(folder / f"{galaxy.number}.jpg", quality=85, subsampling=0)
    drawn, mask_problems = [], []
    for name, mask_loc in galaxy.mask_locs.items():
        try:
            fraction = read_mask_file(mask_loc)
            if image is not None and fraction.shape != image.shape[:2]:
                raise ImageError(f"{mask_loc}: has the shape {fraction.shape}, its image {image.shape[:2]}")
        except (ImageError, OSError) as error:
            mask_problems.append(str(error))
            continue
        opacity = _opacity(name, _fit(fraction, image_size))
        if opacity.any():
            _write_mask(folder / f"{galaxy.number}_{name}.png", opacity, _MASK_COLOURS[name])
            drawn.append(name)
    return _Pictures(image_problem, drawn, mask_problems)


def _try_to_read_image(file_loc: str, stretch: str) -> tuple[np.ndarray | None, str]:
    """The image, or why there is none."""
    if not file_loc:
        return None, "the table does not say where the image is"
    try:
        return read_picture(file_loc, stretch), ""
    except (ImageError, OSError) as error:
        return None, str(error)


def _fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """The image or mask, its longer side shrunk to a size; small ones stay as they are."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    if scale >= 1:
        return pixels
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)


def _opacity(name: str, fraction: np.ndarray) -> np.ndarray:
    """How much of its colour a mask lays over each pixel, uint8 (H, W)."""
    # Over black, what is drawn of a channel that the colour has in full.
    black = np.zeros((*fraction.shape, 3), np.uint8)
    drawn = draw_masks(black, fraction if name == "spiral_mask" else None, fraction if name == "bar_mask" else None)
    channel = int(np.argmax(_MASK_COLOURS[name]))
    return drawn[..., channel]


def _write_mask(path: Path, opacity: np.ndarray, colour: tuple[int, int, int]) -> None:
    """A PNG of one colour: the palette index is the opacity, for a third of the bytes of red, green, blue and alpha."""
    picture = Image.fromarray(opacity // _OPACITY_STEP * _OPACITY_STEP)
    picture.putpalette(colour * 256)
    picture.save(path, transparency=bytes(range(256)))


def _data(predictions: Predictions, shown: pd.DataFrame, pictures: Sequence[_Pictures]) -> dict[str, Any]:
    """All that the page knows about the table, as plain values."""
    # Zoobot's own tables hold concentrations alone.
    has_votes = any(str(name).endswith("_fraction") for name in shown)
    return {
        "n_in_table": len(predictions.table),
        "metadata": _metadata(predictions),
        "notes": _notes(predictions, pictures),
        "interval": INTERVAL_LEVEL,
        "questions": predictions.schema.to_dict()["questions"] if predictions.schema and has_votes else [],
        **{name: _texts(shown, name) for name in ("id_str", "file_loc", "most_likely")},
        "image_problems": {i: made.image_problem for i, made in enumerate(pictures) if made.image_problem},
        "masks": [
            {
                "name": name,
                "title": title,
                "colour": f"rgb{_MASK_COLOURS[name]}",
                "drawn": "".join(str(int(name in made.drawn)) for made in pictures),
            }
            for name, title in MASK_TITLES.items()
            if f"{name}_loc" in shown
        ],
        "columns": _columns(shown),
        "meanings": COLUMNS,
    }


def _metadata(predictions: Predictions) -> list[tuple[str, str]]:
    """What made the table, as names and texts."""
    facts = {**predictions.metadata}
    if predictions.schema:
        facts["schema"] = predictions.schema.name
    known = {name: value for name, value in facts.items() if value is not None}
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in known.items()]


def _notes(predictions: Predictions, pictures: Sequence[_Pictures]) -> list[str]:
    """Sentences about what the page cannot show, and what must be said of the network."""
    images = [made.image_problem for made in pictures if made.image_problem]
    masks = [problem for made in pictures for problem in made.mask_problems]
    of_network = [f"Predicted with {note}."] if (note := predictions.metadata.get("note")) else []
    return of_network + [
        f"{what} that cannot be shown: {len(problems):,}, the first because: {problems[0]}"
        for what, problems in (("Images", images), ("Masks", masks))
        if problems
    ]


def _texts(shown: pd.DataFrame, name: str) -> list[str]:
    """A column of texts; '' throughout if there is no such column."""
    return [""] * len(shown) if name not in shown else [str(text) for text in shown[name]]


def _columns(shown: pd.DataFrame) -> list[tuple[str, str]]:
    """Names of the columns of numbers, and their values: float32, little-endian, in base64."""
    numbers = shown.select_dtypes(["number", "bool"])
    names = [name for name in numbers.columns if not _LEFT_OUT.fullmatch(name)]
    return [
        (name, base64.b64encode(numbers[name].to_numpy("<f4", na_value=np.nan).tobytes()).decode("ascii"))
        for name in names
    ]

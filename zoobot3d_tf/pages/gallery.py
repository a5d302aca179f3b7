"""The gallery of predictions: `page.html`, and beside it the folder `page_files` with pictures, masks and numbers.

A browser opens the page from the disk, without a server or internet. All values from the table are stored as data in
`data.js`, and the script writes them to the document as text, never as HTML. The HTML, CSS and JavaScript are in the
folder `gallery`.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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

from zoobot3d_tf.files import PathLike, path_of, whole_file, workspace, write_atomically
from zoobot3d_tf.images.masks import MASK_TITLES, THRESHOLD_IN_WORDS
from zoobot3d_tf.images.overlay import BAR_COLOUR, SPIRAL_COLOUR, draw_masks
from zoobot3d_tf.images.read import ImageError, read_picture
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH
from zoobot3d_tf.labels import Label, prediction_in_words
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.pages.html import check_page, encode_numbers
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.prediction_tables import Predictions, load_predictions
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL, tree_names
from zoobot3d_tf.progress import Progress

_MASK_COLOURS = {"spiral_mask": SPIRAL_COLOUR, "bar_mask": BAR_COLOUR}
_ASSETS = resources.files("zoobot3d_tf.pages") / "gallery"
_MARKER_NAME = "README.txt"
_MARKER = (
    "Pictures and numbers for the page beside this folder. `zoobot3d predictions show` wrote them, and replaces them.\n"
)

# Columns that would make the page large and are not useful for sorting.
_LEFT_OUT = re.compile(r".*_(concentration_\d+|expected_votes)")

# Opacities of masks are rounded to multiples of this, which is not visible and halves the size of the file.
_OPACITY_STEP = 8


@dataclass(frozen=True)
class _Galaxy:
    """Files of a galaxy.

    Attributes:
        number: index of the galaxy on the page, which names its pictures.
        file_loc: absolute path of the image; '' if the table has none.
        mask_locs: absolute paths of the predicted masks by name.
    """

    number: int
    file_loc: str
    mask_locs: Mapping[str, str]


@dataclass(frozen=True)
class _Pictures:
    """Result of writing the pictures of a galaxy.

    Attributes:
        image_problem: why there is no picture of the image; '' if there is one.
        drawn: names of the masks that have a picture, which are the masks that are not blank.
        mask_problems: errors for the masks that cannot be read.
    """

    image_problem: str
    drawn: Sequence[str]
    mask_problems: Sequence[str]


def write_gallery(
    table: PathLike, out: PathLike, max_galaxies: int = 5000, image_size: int = 224, workers: int | None = None
) -> Path:
    """Write a page of the galaxies of a table of predictions, to view, filter and sort.

    The page says how many images and masks cannot be read. Images inside shards are not shown. An earlier page is
    replaced when the new one is complete.

    Args:
        table: table of predictions, as `load_predictions` reads it. Relative paths start from its folder.
        out: page to write, .html. Its folder is made if it is missing. The folder `<stem>_files` beside it is made, or
            replaced if it belongs to an earlier page.
        max_galaxies: largest number of galaxies to show; the first of the table are shown.
        image_size: largest width and height of the pictures, in pixels.
        workers: number of threads that draw pictures; by default the number of cores.

    Returns:
        Path of the page.

    Raises:
        ValueError: an argument is out of range, or the table cannot be read.
        OSError: the table does not exist, the page cannot be written, another process is writing it, or the folder
            `<stem>_files` exists and does not belong to an earlier page.
    """
    workers = available_cores() if workers is None else workers
    for name, number in (("max_galaxies", max_galaxies), ("image_size", image_size), ("workers", workers)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1; received {number}")
    out = check_page(out)
    predictions = load_predictions(table)
    folder = out.with_name(f"{out.stem}_files")
    _check_folder(folder)
    shown = tree_names(predictions.table.head(max_galaxies), predictions.schema, predictions.label)
    galaxies = _galaxies(shown, path_of(table).absolute().parent)
    stretch = predictions.metadata.get("stretch", DEFAULT_STRETCH)
    page = Template((_ASSETS / "page.html").read_text("utf-8"))
    with workspace(folder.absolute()) as place:
        made = place / "new"
        made.mkdir()
        (made / _MARKER_NAME).write_text(_MARKER, "utf-8")
        pictures = _write_all_pictures(galaxies, made, image_size, stretch, workers)
        data = {"table": path_of(table).name, **_data(predictions, shown, pictures)}
        # JSON in ASCII without NaN is also valid JavaScript.
        write_atomically(made / "data.js", f"const gallery = {json.dumps(data, allow_nan=False)};\n")
        for name in ("page.css", "view.js", "page.js", "panel.js"):
            (made / name).write_bytes((_ASSETS / name).read_bytes())
        if folder.exists():
            folder.rename(place / "old")
        made.rename(folder)
        write_atomically(out, page.substitute(folder=quote(os.fsencode(folder.name)), threshold=THRESHOLD_IN_WORDS))
    return out


def _check_folder(folder: Path) -> None:
    """Check that there is no such folder, or that an earlier page made it."""
    marker = folder / _MARKER_NAME
    if folder.is_symlink() or folder.exists():
        if folder.is_symlink() or not marker.is_file() or marker.read_text("utf-8", "replace") != _MARKER:
            raise FileExistsError(
                f"{folder}: already exists and was not made by `zoobot3d predictions show`; rename it or the page"
            )


def _galaxies(shown: pd.DataFrame, root: Path) -> list[_Galaxy]:
    """Files of the galaxies on the page. Masks that were not predicted are absent."""
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


def _write_all_pictures(
    galaxies: Sequence[_Galaxy], folder: Path, image_size: int, stretch: str, workers: int
) -> list[_Pictures]:
    write = partial(_write_pictures, folder=folder, image_size=image_size, stretch=stretch)
    with ThreadPoolExecutor(workers) as pool:  # decoding, resizing and encoding release the interpreter lock
        return list(Progress(pool.map(write, galaxies), total=len(galaxies), desc="pictures", unit="galaxy"))


def _write_pictures(galaxy: _Galaxy, folder: Path, image_size: int, stretch: str) -> _Pictures:
    """Write `<number>.jpg`, and `<number>_<mask>.png` for each mask that is not blank."""
    image, image_problem = _try_to_read_image(galaxy.file_loc, stretch)
    if image is not None:
        # Without subsampling of colours, which would blur small blue knots. Pictures are not synced one by one, which
        # would take longer than drawing them.
        with whole_file(folder / f"{galaxy.number}.jpg", sync=False) as path:
            Image.fromarray(_fit(image, image_size)).save(path, quality=85, subsampling=0)
    drawn, mask_problems = [], []
    for name, mask_loc in galaxy.mask_locs.items():
        try:
            fraction = read_mask_file(mask_loc)
            if image is not None and fraction.shape != image.shape[:2]:
                raise ImageError(f"{mask_loc}: has the shape {fraction.shape}, but its image {image.shape[:2]}")
        except ImageError as error:
            mask_problems.append(str(error))
            continue
        opacity = _opacity(name, _fit(fraction, image_size))
        if opacity.any():
            _write_mask(folder / f"{galaxy.number}_{name}.png", opacity, _MASK_COLOURS[name])
            drawn.append(name)
    return _Pictures(image_problem, drawn, mask_problems)


def _try_to_read_image(file_loc: str, stretch: str) -> tuple[np.ndarray | None, str]:
    """Read an image; if this is not possible, return None and the reason."""
    if not file_loc:
        return None, "the table has no file_loc for this galaxy"
    try:
        return read_picture(file_loc, stretch), ""
    except ImageError as error:
        return None, str(error)


def _fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """Shrink an image or mask so that its longer side has this size. Smaller images are not changed."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    if scale >= 1:
        return pixels
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)


def _opacity(name: str, fraction: np.ndarray) -> np.ndarray:
    """Opacity of the colour of a mask in each pixel, uint8 (H, W)."""
    # Drawn over black, the brightest channel of the colour, which is 255, shows the opacity.
    black = np.zeros((*fraction.shape, 3), np.uint8)
    drawn = draw_masks(black, fraction if name == "spiral_mask" else None, fraction if name == "bar_mask" else None)
    channel = int(np.argmax(_MASK_COLOURS[name]))
    return drawn[..., channel]


def _write_mask(path: Path, opacity: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Write a PNG of one colour whose palette index is the opacity: a third of the size of an RGBA image."""
    picture = Image.fromarray(opacity // _OPACITY_STEP * _OPACITY_STEP)
    picture.putpalette(colour * 256)
    with whole_file(path, sync=False) as unfinished:
        picture.save(unfinished, transparency=bytes(range(256)))


def _data(predictions: Predictions, shown: pd.DataFrame, pictures: Sequence[_Pictures]) -> dict[str, Any]:
    """Content of `data.js`, as plain values."""
    # Tables of the original Zoobot hold concentrations only.
    has_votes = any(str(name).endswith("_fraction") for name in shown)
    return {
        "n_in_table": len(predictions.table),
        "metadata": _metadata(predictions),
        "notes": _notes(predictions, pictures),
        "interval": INTERVAL_LEVEL,
        "questions": predictions.schema.to_dict()["questions"] if predictions.schema and has_votes else [],
        **{name: _texts(shown, name) for name in ("id_str", "file_loc", "most_likely")},
        "label": _label_texts(predictions, shown),
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


def _label_texts(predictions: Predictions, shown: pd.DataFrame) -> list[str]:
    """Predicted label of each galaxy in words; '' for all galaxies if none was predicted."""
    stored = predictions.metadata.get("label")
    label = None if stored is None else Label.from_dict(stored)
    if label is None or not set(label.outputs) <= set(shown):
        return [""] * len(shown)
    return [prediction_in_words(label, outputs) for outputs in shown[list(label.outputs)].to_numpy(np.float64).tolist()]


def _metadata(predictions: Predictions) -> list[tuple[str, str]]:
    """Names and values of the metadata, as text."""
    facts = {**predictions.metadata}
    if predictions.schema:
        facts["schema"] = predictions.schema.name
    known = {name: value for name, value in facts.items() if value is not None}
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in known.items()]


def _notes(predictions: Predictions, pictures: Sequence[_Pictures]) -> list[str]:
    """Sentences about the network, and about images and masks that cannot be shown."""
    images = [made.image_problem for made in pictures if made.image_problem]
    masks = [problem for made in pictures for problem in made.mask_problems]
    about_network = [f"Predicted with {note}."] if (note := predictions.metadata.get("note")) else []
    return about_network + [
        f"{what} that cannot be shown: {len(problems):,}. First error: {problems[0]}"
        for what, problems in (("Images", images), ("Masks", masks))
        if problems
    ]


def _texts(shown: pd.DataFrame, name: str) -> list[str]:
    """A column as text; '' for all galaxies if the table lacks the column."""
    return [""] * len(shown) if name not in shown else [str(text) for text in shown[name]]


def _columns(shown: pd.DataFrame) -> list[tuple[str, str]]:
    """Names of the columns of numbers, and their values as `encode_numbers` encodes them."""
    numbers = shown.select_dtypes(["number", "bool"])
    names = [name for name in numbers.columns if not _LEFT_OUT.fullmatch(name)]
    return [(name, encode_numbers(numbers[name].to_numpy(np.float32, na_value=np.nan))) for name in names]

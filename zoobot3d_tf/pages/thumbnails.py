"""Small pictures of galaxies, and sheets of them: neighbours, anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from zoobot3d_tf.files import PathLike, check_output, whole_file
from zoobot3d_tf.images.read import ImageError, read_picture
from zoobot3d_tf.representations.vectors import open_vectors, rows_of

MAX_PICTURES = 1000
"""A sheet of more could not be looked at."""

_SIDE, _GAP, _LINE = 150, 10, 15  # pixels
_PICTURES_A_ROW = 20
_ODDEST_A_ROW, _ODDEST_ROWS = 8, 5
_PAPER, _INK, _QUIET, _EMPTY = "#ffffff", "#1c2230", "#69728a", "#e9ecf2"


@dataclass(frozen=True)
class Picture:
    """A galaxy on a sheet: where its image is, and two lines beneath it."""

    file_loc: str
    title: str
    note: str


def read_thumbnail(file_loc: str, side: int, stretch: str) -> Image.Image:
    """The central square of an image, side by side pixels.

    Args:
        file_loc: PNG, JPEG or FITS.
        side: pixels.
        stretch: of FITS cutouts; see `to_rgb`.

    Raises:
        ImageError: it cannot be read, or is inside a shard.
    """
    image = Image.fromarray(read_picture(file_loc, stretch))
    shorter = min(image.size)
    left, top = (image.width - shorter) / 2, (image.height - shorter) / 2
    box = (left, top, left + shorter, top + shorter)
    return image.resize((side, side), Image.Resampling.LANCZOS, box=box)


def check_sheet(path: PathLike, n_pictures: int) -> Path:
    """Refuses a sheet that could not be written, before the work rather than after it.

    Raises:
        ValueError: it is no PNG, or would have more than `MAX_PICTURES`.
        OSError: as `check_output`.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: a sheet of pictures is a PNG; give a name that ends in .png")
    if n_pictures > MAX_PICTURES:
        raise ValueError(
            f"{path}: would show {n_pictures} galaxies; a sheet shows {MAX_PICTURES} at most, ask for fewer"
        )
    check_output(path, "sheet", ())
    return path


def write_sheet(path: PathLike, rows: Sequence[Sequence[Picture]], stretch: str) -> Path:
    """Draws rows of pictures; an image that cannot be read leaves an empty place that says so.

    Args:
        path: PNG to write.
        rows: from top to bottom, each from left to right; a long one goes on below.
        stretch: of FITS cutouts.

    Returns:
        Path of the PNG.
    """
    rows = [row[start : start + _PICTURES_A_ROW] for row in rows for start in range(0, len(row), _PICTURES_A_ROW)]
    step = _SIDE + _GAP
    height = _SIDE + 2 * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (_GAP + step * max(map(len, rows)), _GAP + height * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            left, top = _GAP + j * step, _GAP + i * height
            try:
                sheet.paste(read_thumbnail(picture.file_loc, _SIDE, stretch), (left, top))
            except ImageError:
                draw.rectangle((left, top, left + _SIDE - 1, top + _SIDE - 1), _EMPTY)
                draw.text((left + _SIDE // 2, top + _SIDE // 2), "no picture", _QUIET, font, anchor="mm")
            for line, (text, colour) in enumerate(((picture.title, _INK), (picture.note, _QUIET))):
                draw.text((left, top + _SIDE + 3 + line * _LINE), _shorten(text, font), colour, font)
    path = Path(path)
    with whole_file(path) as partial:
        sheet.save(partial)
    return path


def draw_neighbours(path: PathLike, components_loc: PathLike, found: pd.DataFrame) -> Path:
    """Draw a row per galaxy: the galaxy itself, then its neighbours with their distances.

    Args:
        path: PNG to write.
        components_loc: the table that the neighbours were sought in.
        found: as `find_neighbours` returns it.

    Raises:
        ValueError: the PNG would show too many galaxies, or has another suffix.
        OSError: it cannot be written.
    """
    id_strs = list(dict.fromkeys(found["id_str"]))
    check_sheet(path, len(found) + len(id_strs))
    table = open_vectors(components_loc, "component")
    galaxies, _ = rows_of(table, id_strs)
    rows = []
    for id_str, file_loc in zip(id_strs, galaxies["file_loc"].to_pylist(), strict=True):
        neighbours = found[found["id_str"] == id_str]
        places = zip(neighbours["file_loc"], neighbours["neighbour"], neighbours["distance"], strict=True)
        near = [Picture(near_loc, name, f"{distance:#.3g}") for near_loc, name, distance in places]
        rows.append([Picture(file_loc, id_str, ""), *near])
    return write_sheet(path, rows, table.stretch)


def draw_anomalies(path: PathLike, components_loc: PathLike, ranked: pd.DataFrame) -> Path:
    """Draw the forty oddest galaxies with their ranks and distances.

    Args:
        path: PNG to write.
        components_loc: the table that was ranked.
        ranked: as `rank_anomalies` returns it.

    Raises:
        ValueError: the PNG has another suffix.
        OSError: it cannot be written.
    """
    first = ranked.head(_ODDEST_A_ROW * _ODDEST_ROWS)
    check_sheet(path, len(first))
    places = zip(first["file_loc"], first["id_str"], first["rank"], first["distance"], strict=True)
    oddest = [Picture(file_loc, name, f"{rank}: {distance:#.3g}") for file_loc, name, rank, distance in places]
    rows = [oddest[i : i + _ODDEST_A_ROW] for i in range(0, len(oddest), _ODDEST_A_ROW)]
    return write_sheet(path, rows, open_vectors(components_loc, "component").stretch)


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Text that fits beneath a picture: ids differ at their end, so the beginning goes."""
    text = " ".join(text.split())
    if font.getlength(text) <= _SIDE:
        return text
    text = text[-_SIDE:]  # no letter is narrower than a pixel
    while text and font.getlength(f"…{text}") > _SIDE:
        text = text[1:]
    return f"…{text}"

"""Small pictures of galaxies, and sheets of them: neighbours and anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from zoobot3d_tf.files import PathLike, check_output, path_of, whole_file
from zoobot3d_tf.images.read import ImageError, read_picture
from zoobot3d_tf.representations.vectors import open_vectors, rows_of

MAX_PICTURES = 1000
"""Largest number of pictures on a sheet."""

_SIDE, _GAP, _LINE = 150, 10, 15  # pixels
_PICTURES_PER_ROW = 20
_ANOMALIES_PER_ROW, _ROWS_OF_ANOMALIES = 8, 5
_PAPER, _INK, _QUIET, _EMPTY = "#ffffff", "#1c2230", "#69728a", "#e9ecf2"


@dataclass(frozen=True)
class Picture:
    """Picture of a galaxy on a sheet.

    Attributes:
        file_loc: image of the galaxy.
        title: first line below the picture.
        note: second line below the picture.
    """

    file_loc: str
    title: str
    note: str


def read_thumbnail(file_loc: str, side: int, stretch: str) -> Image.Image:
    """Read the central square of an image.

    Args:
        file_loc: image file: PNG, JPEG or FITS.
        side: height and width of the thumbnail, in pixels.
        stretch: stretch of FITS cutouts; see `images.rgb.to_rgb`.

    Raises:
        ImageError: the image cannot be read, or is inside a shard.
    """
    image = Image.fromarray(read_picture(file_loc, stretch))
    shorter = min(image.size)
    left, top = (image.width - shorter) / 2, (image.height - shorter) / 2
    box = (left, top, left + shorter, top + shorter)
    return image.resize((side, side), Image.Resampling.LANCZOS, box=box)


def check_sheet(path: PathLike, n_pictures: int) -> Path:
    """Check the path and the size of a sheet before the work.

    Args:
        path: PNG to write.
        n_pictures: number of pictures on the sheet.

    Returns:
        The path.

    Raises:
        ValueError: the path does not end in .png, or there are more than `MAX_PICTURES` pictures.
        OSError: the path is a folder, or its folder does not exist or cannot be written.
    """
    path = path_of(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: the name of a sheet of pictures must end in .png")
    if n_pictures > MAX_PICTURES:
        raise ValueError(
            f"{path}: a sheet shows at most {MAX_PICTURES} galaxies; received {n_pictures}, so request fewer"
        )
    check_output(path, "sheet", ())
    return path


def write_sheet(path: PathLike, rows: Sequence[Sequence[Picture]], stretch: str) -> Path:
    """Draw a sheet of pictures in rows.

    An image that cannot be read is replaced by an empty square with the words "no picture".

    Args:
        path: PNG to write.
        rows: rows from top to bottom, each with its pictures from left to right. A row of more than 20 pictures is
            continued in the next line.
        stretch: stretch of FITS cutouts; see `images.rgb.to_rgb`.

    Returns:
        Path of the PNG.

    Raises:
        OSError: the PNG cannot be written.
    """
    rows = [row[start : start + _PICTURES_PER_ROW] for row in rows for start in range(0, len(row), _PICTURES_PER_ROW)]
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
    path = path_of(path)
    with whole_file(path) as partial:
        sheet.save(partial)
    return path


def draw_neighbours(path: PathLike, components_loc: PathLike, found: pd.DataFrame) -> Path:
    """Draw one row per galaxy: the galaxy itself, then its neighbours with their distances.

    Args:
        path: PNG to write.
        components_loc: table of components in which the neighbours were searched.
        found: neighbours, as `find_neighbours` returns them.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: the path does not end in .png, or there are more than `MAX_PICTURES` galaxies.
        OSError: the PNG cannot be written.
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
    """Draw the first forty galaxies of a ranking, with their ranks and distances.

    Args:
        path: PNG to write.
        components_loc: table of components that was ranked.
        ranked: ranking, as `rank_anomalies` returns it.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: the path does not end in .png.
        OSError: the PNG cannot be written.
    """
    first = ranked.head(_ANOMALIES_PER_ROW * _ROWS_OF_ANOMALIES)
    check_sheet(path, len(first))
    places = zip(first["file_loc"], first["id_str"], first["rank"], first["distance"], strict=True)
    pictures = [Picture(file_loc, name, f"{rank}: {distance:#.3g}") for file_loc, name, rank, distance in places]
    rows = [pictures[i : i + _ANOMALIES_PER_ROW] for i in range(0, len(pictures), _ANOMALIES_PER_ROW)]
    return write_sheet(path, rows, open_vectors(components_loc, "component").stretch)


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shorten a text to the width of a picture. The beginning is cut off, since ids differ at their end."""
    text = " ".join(text.split())
    if font.getlength(text) <= _SIDE:
        return text
    text = text[-_SIDE:]  # no letter is narrower than a pixel
    while text and font.getlength(f"…{text}") > _SIDE:
        text = text[1:]
    return f"…{text}"

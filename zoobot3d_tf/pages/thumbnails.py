"""Small pictures of galaxies, and sheets of them with words beneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from zoobot3d_tf.files import PathLike, check_output, partial_path
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.pages.gallery import read_picture

MAX_PICTURES = 1000
"""A sheet of more could not be looked at."""

_SIDE, _GAP, _LINE = 150, 10, 15  # pixels
_PICTURES_A_ROW = 20
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


def write_sheet(path: PathLike, rows: Sequence[Sequence[Picture]], stretch: str) -> None:
    """Draws rows of pictures; an image that cannot be read leaves an empty place that says so.

    Args:
        path: PNG to write.
        rows: from top to bottom, each from left to right; a long one goes on below.
        stretch: of FITS cutouts.
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
    partial = partial_path(Path(path))
    sheet.save(partial)
    partial.replace(path)


def _shorten(text: str, font) -> str:
    """Text that fits beneath a picture: ids differ at their end, so the beginning goes."""
    text = " ".join(text.split())
    if font.getlength(text) <= _SIDE:
        return text
    text = text[-_SIDE:]  # no letter is narrower than a pixel
    while text and font.getlength(f"…{text}") > _SIDE:
        text = text[1:]
    return f"…{text}"

"""Files of predicted masks on the pixel grid of each image: PNG, or FITS with the WCS of the image.

FITS masks are compressed by the tiled image convention of the FITS standard (4.0, section 10), with one tile per mask,
in extensions SPIRAL and BAR. They are written here, since astropy takes ten times as long.
"""

import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from itertools import chain
from math import prod
from pathlib import Path
from textwrap import wrap
from typing import BinaryIO

import cv2
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from isal import igzip
from PIL import Image

from zoobot3d_tf.data.framing import Framing, warp_to_image
from zoobot3d_tf.files import whole_file
from zoobot3d_tf.images.image_file import MAX_BYTES, ImageError, check_sides, open_image_file, read_content
from zoobot3d_tf.images.overlay import draw_masks
from zoobot3d_tf.images.read import turn_upright

FITS_NAMES = {"spiral_mask": "SPIRAL", "bar_mask": "BAR"}
"""Names of the FITS extensions of the masks."""

_EVERY_VOLUNTEER = 255
_FITS_BLOCK, _FITS_CARD = 2880, 80
_COMMENT_WIDTH = 72
_GZIP_LEVEL = 1  # higher levels take twice as long and save 2 %
_FITS_LOC = re.compile(r"(?P<path>.+)\[(?P<name>\w+)(,(?P<version>\d+))?\]", re.DOTALL)
_SIZE_CARD = re.compile(r"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT|EXTNAME|EXTVER) *= *'?([^ '/]+)")
_LONGEST_NAME = 255
"""Largest number of bytes in a file name."""
# Errors that depend on the name of one galaxy. Others, such as a full disk, concern all galaxies and stop the run.
_FAULTS_OF_A_NAME = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}


def check_masks_dir(masks_dir: Path) -> None:
    """Check that a folder for masks can be made and written to.

    Args:
        masks_dir: the folder. It need not exist.

    Raises:
        OSError: it is a file, or it or the nearest existing folder above it cannot be written.
    """
    if masks_dir.exists() and not masks_dir.is_dir():
        raise NotADirectoryError(f"{masks_dir}: is a file; masks_dir must be a folder")
    nearest = next(folder for folder in (masks_dir, *masks_dir.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        raise PermissionError(f"{nearest}: cannot be written; choose another masks_dir")


def to_image(fraction: np.ndarray, framing: Framing, shape: tuple[int, int]) -> np.ndarray:
    """Convert a mask from the network to the pixel grid of its image.

    Args:
        fraction: fractions of volunteers, float32 (final_size, final_size), 0 to 1.
        framing: how the image was cropped and resized for the network.
        shape: height and width of the image.

    Returns:
        round(255 * fraction), uint8, of the shape of the image: 255 means all volunteers. 0 outside the crop.
    """
    return np.rint(_EVERY_VOLUNTEER * warp_to_image(fraction, framing, shape)).astype(np.uint8)


def mean_to_image(fractions: Sequence[np.ndarray], framings: Sequence[Framing], shape: tuple[int, int]) -> np.ndarray:
    """Average the masks of several networks on the pixel grid of their image.

    Args:
        fractions: one mask per network, each as in `to_image`.
        framings: how the image was cropped and resized for each network.
        shape: height and width of the image.

    Returns:
        As `to_image`, which it equals for one network. A pixel is the mean over the networks that see it.
    """
    if len(fractions) == 1:
        return to_image(fractions[0], framings[0], shape)
    pairs = list(zip(fractions, framings, strict=True))
    total = sum(warp_to_image(fraction, framing, shape) for fraction, framing in pairs)
    n_seeing = sum(warp_to_image(np.ones_like(fraction), framing, shape) for fraction, framing in pairs)
    return np.rint(_EVERY_VOLUNTEER * total / np.maximum(n_seeing, 1)).astype(np.uint8)


def to_fraction(mask: np.ndarray) -> np.ndarray:
    """Convert a mask from `to_image` back to fractions of volunteers, float32, 0 to 1."""
    return mask / np.float32(_EVERY_VOLUNTEER)


def write_masks(folder: Path, id_str: str, masks: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Write each mask to `<id_str>_<mask>.png`, 8-bit greyscale.

    Args:
        folder: folder to write to. An id with '/' goes to a sub-folder.
        id_str: id of the galaxy.
        masks: masks by name, uint8 (H, W), as `to_image` returns them.

    Returns:
        Paths of the files by the names of the masks.

    Raises:
        ImageError: the id cannot be used as a file name.
        OSError: the folder cannot be written.
    """
    paths = {name: _path_below(folder, id_str, f"_{name}.png") for name in masks}
    for name, path in paths.items():
        _write(path, _to_png(masks[name]))
    return {name: str(path) for name, path in paths.items()}


def write_overlay(folder: Path, id_str: str, image: np.ndarray, masks: Mapping[str, np.ndarray]) -> None:
    """Write an image with its masks drawn over it to `<id_str>_overlay.png`.

    Args:
        folder: folder to write to, as for `write_masks`.
        id_str: id of the galaxy.
        image: image, uint8 (H, W, 3).
        masks: masks by name, uint8 (H, W), as `to_image` returns them.

    Raises:
        ImageError: the id cannot be used as a file name.
        OSError: the folder cannot be written.
    """
    path = _path_below(folder, id_str, "_overlay.png")
    fractions = {name: to_fraction(mask) for name, mask in masks.items()}
    drawn = draw_masks(image, fractions.get("spiral_mask"), fractions.get("bar_mask"))
    _write(path, _to_png(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)))


@dataclass(frozen=True)
class MaskOrigin:
    """What predicted masks, for the header of their file.

    Attributes:
        version: version of this package.
        weights: SHA-256 of the weights of each run.
        notes: warnings that accompany the weights.
    """

    version: str
    weights: tuple[str, ...]
    notes: tuple[str, ...]


def write_fits_masks(
    folder: Path, id_str: str, masks: Mapping[str, np.ndarray], wcs: WCS | None, origin: MaskOrigin
) -> dict[str, str]:
    """Write all masks of a galaxy to `<id_str>_masks.fits`; see `fits_primary` and `fits_extensions`.

    Args:
        folder: folder to write to, as for `write_masks`.
        id_str: id of the galaxy.
        masks: masks by name, uint8 (H, W), as `to_image` returns them.
        wcs: WCS of the image, see `images.wcs`; None if unknown.
        origin: what predicted the masks.

    Returns:
        Locations of the masks by name; see `fits_loc`.

    Raises:
        ImageError: the id cannot be used as a file name.
        OSError: the folder cannot be written.
    """
    path = _path_below(folder, id_str, "_masks.fits")
    _write(path, fits_primary(origin) + fits_extensions(id_str, masks, wcs))
    return {name: fits_loc(path, name) for name in masks}


def fits_primary(origin: MaskOrigin) -> bytes:
    """Bytes of the primary HDU of a file of masks. It has no data; the `fits_extensions` of the galaxies follow it.

    Args:
        origin: what predicted the masks. Its version is in CREATOR, its hashes are in SHA_1, SHA_2 and so on, and its
            notes in COMMENT. DATE is today in UTC.
    """
    return _primary(origin, datetime.now(UTC).date().isoformat())


@lru_cache(maxsize=2)
def _primary(origin: MaskOrigin, date: str) -> bytes:
    header = _empty_primary()
    header["CREATOR"] = f"zoobot3d_tf {origin.version}"
    header["DATE"] = date
    for number, sha256 in enumerate(origin.weights, start=1):
        header[f"SHA_{number}"] = sha256
    texts = [
        "Masks predicted by zoobot3d_tf: share of volunteers who would enclose a pixel, 0 to 1, of the spiral arms "
        "(SPIRAL) and the bar (BAR) of the galaxy in OBJECT.",
        "SHA_1 and so on are the SHA-256 of the weights of the model.",
        *(f"Predicted with {note}." for note in origin.notes),
    ]
    for line in chain.from_iterable(wrap(text, _COMMENT_WIDTH) for text in texts):  # astropy would cut words
        header["COMMENT"] = line
    return header.tostring().encode("ascii")


def _empty_primary() -> fits.Header:
    header = fits.PrimaryHDU().header
    header["EXTEND"] = True
    return header


def fits_extensions(id_str: str, masks: Mapping[str, np.ndarray], wcs: WCS | None, version: int = 1) -> bytes:
    """Convert the masks of a galaxy to FITS extensions, each a losslessly compressed image.

    Readers see fractions of volunteers, 0 to 1, since BSCALE = 1/255 scales the levels. Rows count from the bottom, as
    in all FITS files, and the WCS is the WCS of the image.

    Args:
        id_str: id of the galaxy, written to OBJECT. Characters other than ASCII are escaped as in Python, e.g. `\\xe9`.
        masks: masks by name, uint8 (H, W), as `to_image` returns them.
        wcs: WCS of the image, see `images.wcs`; None if unknown.
        version: EXTVER of the extensions, from 1, which differs between galaxies in one file.

    Returns:
        Bytes of the HDUs.
    """
    shared = fits.Header([("EXTVER", version), ("OBJECT", id_str.encode("unicode_escape").decode("ascii"))])
    if wcs is not None:
        shared.extend(wcs.to_header(relax=True).cards)
    return b"".join(_to_extension(FITS_NAMES[name], mask, shared) for name, mask in masks.items())


def fits_loc(path: Path, mask: str, version: int | None = None) -> str:
    """Location of a mask in a FITS file, in the extended file name syntax of CFITSIO.

    Args:
        path: FITS file.
        mask: name of the mask, `spiral_mask` or `bar_mask`.
        version: EXTVER of the mask in a file of many galaxies.

    Returns:
        `<path>[SPIRAL]`, or `<path>[SPIRAL,<version>]`.
    """
    return f"{path}[{FITS_NAMES[mask]}{'' if version is None else f',{version}'}]"


def read_mask_file(loc: str) -> np.ndarray:
    """Read a mask that this module has written.

    Args:
        loc: PNG file, or extension of a FITS file as `fits_loc` names it; version 1 if there is none in it.

    Returns:
        Fractions of volunteers, float32 (H, W), 0 to 1, row 0 at the top.

    Raises:
        ImageError: the mask does not exist, is damaged or is not a mask.
        OSError, MemoryError: the machine cannot read the file.
    """
    place = _FITS_LOC.fullmatch(loc)
    with open_image_file(place["path"] if place else loc, name=loc) as file:
        return _read_extension(loc, file, place["name"], int(place["version"] or 1)) if place else _read_png(loc, file)


def _to_extension(name: str, mask: np.ndarray, shared: fits.Header) -> bytes:
    tile = igzip.compress(mask[::-1].tobytes(), _GZIP_LEVEL, mtime=0)
    height, width = mask.shape
    header = fits.Header(
        [
            ("XTENSION", "BINTABLE", "a compressed image"),
            ("BITPIX", 8),
            ("NAXIS", 2),
            ("NAXIS1", 8),
            ("NAXIS2", 1),
            ("PCOUNT", len(tile)),
            ("GCOUNT", 1),
            ("TFIELDS", 1),
            ("TTYPE1", "COMPRESSED_DATA"),
            ("TFORM1", f"1PB({len(tile)})"),
            ("ZIMAGE", True),
            ("ZCMPTYPE", "GZIP_1"),
            ("ZBITPIX", 8),
            ("ZNAXIS", 2),
            ("ZNAXIS1", width),
            ("ZNAXIS2", height),
            ("ZTILE1", width),
            ("ZTILE2", height),
            ("BSCALE", 1 / _EVERY_VOLUNTEER),
            ("BZERO", 0.0),
            ("BUNIT", "", "share of volunteers who enclose the pixel, 0..1"),
            ("EXTNAME", name),
        ]
    )
    header.extend(shared.cards)
    place = np.array([len(tile), 0], ">i4").tobytes()  # size and offset of the tile after the table
    content = place + tile
    return header.tostring().encode("ascii") + content + bytes(-len(content) % _FITS_BLOCK)


def _to_png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _path_below(folder: Path, id_str: str, ending: str) -> Path:
    """Path of a file of a galaxy. Different ids and endings give different paths.

    Raises:
        ImageError: the path would not be a file in the folder.
    """
    *folders, last = id_str.split("/")
    if "\0" in id_str or not {"", ".", ".."}.isdisjoint([*folders, last]):
        raise ImageError(
            f"id_str {id_str!r} cannot be a file name: no part of it may be empty, '.' or '..', or contain NUL"
        )
    parts = [*folders, last + ending]
    if longest := [part for part in parts if len(os.fsencode(part)) > _LONGEST_NAME]:
        raise ImageError(f"id_str {id_str!r} cannot be a file name: {longest[0]!r} has more than {_LONGEST_NAME} bytes")
    path = folder.joinpath(*parts)
    # An existing symbolic link, at the place of a sub-folder or of the file, must not lead elsewhere.
    if not os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), "")):
        raise ImageError(f"{path}: a symbolic link leads out of {folder}; remove the link")
    return path


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not synced: an interrupted run that has not written the row of the galaxy writes its masks again.
        with whole_file(path, sync=False) as partial:
            partial.write_bytes(content)
    except OSError as error:
        if error.errno not in _FAULTS_OF_A_NAME:
            raise
        raise ImageError(f"{path}: cannot be written: {error.strerror} ({error.filename})") from error


def _read_png(loc: str, file: BinaryIO) -> np.ndarray:
    with Image.open(BytesIO(read_content(loc, file)), formats=("PNG",)) as image:
        if image.mode != "L":
            raise ImageError(f"{loc}: a predicted mask must be an 8-bit greyscale PNG; its mode is {image.mode}")
        check_sides(loc, image.height, image.width)
        turn_upright(image)
        return to_fraction(np.array(image))


def _read_extension(loc: str, file: BinaryIO, name: str, version: int) -> np.ndarray:
    stat = os.fstat(file.fileno())
    extensions = _find_extensions(file.name, stat.st_size, stat.st_mtime_ns)
    if (name, version) not in extensions:
        raise ImageError(f"{loc}: the file has no extension {name} with EXTVER {version}")
    start, end = extensions[name, version]
    if end - start > MAX_BYTES:
        raise ImageError(f"{loc}: a mask must have at most {MAX_BYTES} bytes; it has {end - start}")
    file.seek(start)
    content = _empty_primary().tostring().encode("ascii") + file.read(end - start)
    with fits.open(BytesIO(content)) as hdus:
        if len(hdus[1].shape) != 2:
            raise ImageError(f"{loc}: is not a mask, which has two axes and values from 0 to 1")
        check_sides(loc, *hdus[1].shape)
        fraction = hdus[1].data
    if not (fraction.min() >= 0 and fraction.max() <= 1):
        raise ImageError(f"{loc}: is not a mask, which has two axes and values from 0 to 1")
    return np.ascontiguousarray(fraction[::-1], np.float32)


@lru_cache(maxsize=8)
def _find_extensions(path: str, size: int, mtime_ns: int) -> dict[tuple[str, int], tuple[int, int]]:
    """Find the first byte of each extension, and the byte after its last, by its name and version.

    The size and time of change are arguments so that the cache does not return the extensions of an older file of the
    same name. Astropy would read half of a file of many galaxies for each galaxy.
    """
    extensions = {}
    start = 0
    with open(path, "rb") as file:
        while start < size:
            file.seek(start)
            cards, length = _read_cards(file)
            axes = [int(cards[f"NAXIS{axis}"]) for axis in range(1, int(cards["NAXIS"]) + 1)]
            n_values = int(cards.get("PCOUNT", 0)) + (prod(axes) if axes else 0)
            n_bytes = n_values * int(cards.get("GCOUNT", 1)) * abs(int(cards["BITPIX"])) // 8
            if n_bytes < 0:
                raise ValueError("a header gives a negative size of its data")
            end = start + length + n_bytes + -n_bytes % _FITS_BLOCK
            extensions[cards.get("EXTNAME", ""), int(cards.get("EXTVER", 1))] = (start, end)
            start = end
    return extensions


def _read_cards(file: BinaryIO) -> tuple[dict[str, str], int]:
    """Read the cards that give the name and size of an HDU from a header, and the length of the header in bytes."""
    cards: dict[str, str] = {}
    start = file.tell()
    while len(block := file.read(_FITS_BLOCK)) == _FITS_BLOCK:
        for i in range(0, _FITS_BLOCK, _FITS_CARD):
            card = block[i : i + _FITS_CARD].decode("ascii")
            if card.rstrip() == "END":
                return cards, file.tell() - start
            if match := _SIZE_CARD.match(card):
                cards[match[1]] = match[2]
    raise ValueError("the file ends within a header")

"""Opening of files of images, masks and marks, and the errors of a file and of the machine.

If a file is missing or damaged, this is an error of one galaxy (`ImageError`), which is skipped and listed. If the
disk, the network or the memory fails, other galaxies fail too: `OSError` and `MemoryError` pass, and stop a run.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from zoobot3d_tf.files import PathLike

MIN_SIDE = 16
"""Smallest height and width of an image, in pixels."""
MAX_SIDE = 8192
"""Largest height and width of an image, in pixels."""
MAX_BYTES = 2**28
"""Largest size of a file, after decompression. Files are held in memory."""
_BYTES_AT_ONCE = 2**23

_FAULTS_OF_THE_PATH = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


class ImageError(ValueError):
    """A file cannot be used as an image or a mask. The message names the file and the reason."""


@contextmanager
def open_image_file(path: PathLike, name: str = "") -> Iterator[BinaryIO]:
    """Open a file of a galaxy for reading. Errors in the block become errors of the file or of the machine.

    Args:
        path: path of the file.
        name: name for messages, such as the path with the name of an extension; by default the path.

    Yields:
        The open file.

    Raises:
        ImageError: the file is missing, is not a file, may not be read, or its content is damaged.
        OSError: the machine cannot read the file, such as after an error of the disk. The error names the file.
        MemoryError: there is not enough memory. The message names the file.
    """
    name = name or str(path)
    try:
        # Opening a pipe would wait until another process writes to it.
        if os.path.exists(path) and not os.path.isfile(path):
            raise ImageError(f"{name}: must be a file; it is a folder, a pipe or a device")
        with open(path, "rb") as file:
            yield file
    except ImageError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{name}: there is not enough memory to read the file") from error
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a PNG, JPEG, TIFF or FITS file") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: the image has more pixels than {MAX_SIDE} x {MAX_SIDE}, the largest size") from None
    except OSError as error:
        raise _of_file_or_machine(path, name, error) from error
    except Exception as error:  # damaged files make decoders raise errors of nearly every kind
        raise _damaged(name, error) from error


def read_content(path: PathLike, stream: BinaryIO) -> bytes:
    """Read a file, or a stream that decompresses it, to its end.

    Decoders get the bytes, not the file: some of them take an error of the disk for damaged content.

    Raises:
        ImageError: there are more than `MAX_BYTES`.
    """
    pieces: list[bytes] = []
    size = 0
    # Reading all at once would reserve memory for the largest size.
    while piece := stream.read(_BYTES_AT_ONCE):
        size += len(piece)
        if size > MAX_BYTES:
            raise ImageError(f"{path}: a file of an image must have at most {MAX_BYTES} bytes, after decompression")
        pieces.append(piece)
    return b"".join(pieces)


def check_sides(path: PathLike, height: int, width: int) -> None:
    """Check the size of an image, before its pixels are read.

    Raises:
        ImageError: a side is shorter than `MIN_SIDE` or longer than `MAX_SIDE`.
    """
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(
            f"{path}: height and width must be from {MIN_SIDE} to {MAX_SIDE} pixels; the image has {height} x {width}"
        )


def _of_file_or_machine(path: PathLike, name: str, error: OSError) -> OSError | ImageError:
    if error.errno is None:  # decoders raise OSError without a number for damaged content
        return _damaged(name, error)
    if error.errno in _FAULTS_OF_THE_PATH:
        return ImageError(f"{name}: {'no such file' if error.errno == errno.ENOENT else error.strerror}")
    # If its folder may be searched, only the file is closed. If not, as after a login has expired, all files are.
    if isinstance(error, PermissionError) and os.path.lexists(path):
        return ImageError(f"{name}: no permission to read it")
    return OSError(error.errno, error.strerror or os.strerror(error.errno), name)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: cannot be read: {' '.join(str(error).split())}")

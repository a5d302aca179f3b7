"""The images of a folder: which they are, and what they are called."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

FILE_SUFFIXES = {"png": (".png",), "jpg": (".jpg", ".jpeg"), "fits": (".fits",)}


def find_images(folder: Path, file_format: str, recursive: bool = False) -> list[str]:
    """The images in a folder.

    Args:
        folder: where to look.
        file_format: one of `FILE_SUFFIXES`; upper-case suffixes count too.
        recursive: look into sub-folders too.

    Returns:
        Their paths below the folder, sorted, with '/'. Hidden files and folders are passed over.

    Raises:
        ValueError: the format is unknown, there is no such image, a name is not UTF-8, or two are the same but for the
            suffix.
        OSError: the folder is missing.
    """
    if file_format not in FILE_SUFFIXES:
        raise ValueError(f"file_format must be one of {', '.join(FILE_SUFFIXES)}; received {file_format!r}")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder")
    suffixes = FILE_SUFFIXES[file_format]
    files = (path for path in (folder.rglob("*") if recursive else folder.iterdir()) if path.suffix.lower() in suffixes)
    below = (path.relative_to(folder).as_posix() for path in files if path.is_file())
    names = sorted(name for name in below if not any(part.startswith(".") for part in name.split("/")))
    if not names:
        hint = "" if recursive else "; those in sub-folders count with `recursive`"
        raise ValueError(f"{folder}: holds no {' or '.join(suffixes)} images{hint}")
    _check_ids(folder, names)
    return names


def id_str_of(name: str) -> str:
    """The id of a galaxy: its image's path below the folder, without the suffix."""
    return name.rpartition(".")[0]


def fingerprint(folder: Path, names: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, over the names of images, their sizes and when they were last changed."""
    digest = hashlib.sha256(str(folder).encode())
    for name in names:
        stat = (folder / name).stat()
        digest.update(f"\n{name}\t{stat.st_size}\t{stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _check_ids(folder: Path, names: Iterable[str]) -> None:
    first_with: dict[str, str] = {}
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{folder}: the name {name!r} is not UTF-8, which a table needs; rename it") from None
        first = first_with.setdefault(id_str_of(name), name)
        if first != name:
            raise ValueError(f"{folder}: {first} and {name} would both have the id '{id_str_of(name)}'; rename one")

"""The manifest of a shard folder, `shards.json`: all that is needed to use the shards, and to check them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

from zoobot3d_tf.files import path_of, sha256_of
from zoobot3d_tf.images.read import MAX_SIDE, MIN_SIDE
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH, check_stretch
from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema

FORMAT_VERSION = 3
# In version 1, the pixel scale was that of the original image, whose size is not stored. Version 3 added labels.
READABLE_VERSIONS = (1, 2, FORMAT_VERSION)
"""Format versions that can be read."""
MANIFEST_NAME = "shards.json"
PROGRESS_NAME = ".progress"
SPLITS = ("train", "eval", "unlabelled")
COUNTS = ("galaxies", "with_votes", "with_spiral_mask", "with_bar_mask", "with_label")
"""Numbers of galaxies that the manifest gives for each file and split."""


@dataclass(frozen=True)
class ShardFile:
    """One TFRecord file.

    Attributes:
        name: path relative to the shard folder, such as `train_shards/train-00000-of-00004.tfrecord`.
        galaxies: number of galaxies.
        with_votes: number of galaxies with votes.
        with_spiral_mask: number of galaxies whose spiral arms volunteers were asked to draw.
        with_bar_mask: number of galaxies whose bar volunteers were asked to draw.
        bytes: size of the file.
        sha256: SHA-256 of the file, hexadecimal.
        with_label: number of galaxies with a label.
    """

    name: str
    galaxies: int
    with_votes: int
    with_spiral_mask: int
    with_bar_mask: int
    bytes: int
    sha256: str
    with_label: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) is not item.type or (item.type is int and not 0 <= value < 2**63):
                raise ValueError(f"{item.name} of a file is {value!r}")
        if PurePosixPath(self.name).is_absolute() or ".." in PurePosixPath(self.name).parts:
            raise ValueError(f"the file {self.name!r} would be outside the folder")


@dataclass(frozen=True)
class Manifest:
    """A folder of shards.

    Attributes:
        folder: folder of `shards.json`.
        schema: decision tree of the votes; None if there are no votes.
        image_size: height and width of images and masks, in pixels.
        splits: files of `train`, `eval` and `unlabelled`.
        made_by: catalogues and options that the shards depend on.
        format_version: one of `READABLE_VERSIONS`.
        label: description of the label, with its statistics for the galaxies in `train`; None if there is no label.
    """

    folder: Path
    schema: Schema | None
    image_size: int
    splits: dict[str, tuple[ShardFile, ...]]
    made_by: dict
    format_version: int = FORMAT_VERSION
    label: Label | None = None

    def __post_init__(self) -> None:
        if type(self.image_size) is not int or not MIN_SIDE <= self.image_size <= MAX_SIDE:
            raise ValueError(f"image_size is {self.image_size!r}")
        if not isinstance(self.made_by, dict) or set(self.splits) != set(SPLITS):
            raise ValueError("made_by or splits has another form")
        names = [file.name for files in self.splits.values() for file in files]
        if len(set(names)) < len(names):
            raise ValueError("a file is listed twice")
        check_stretch(self.stretch)

    @property
    def n_answers(self) -> int:
        """Number of answers of the decision tree; 0 if there are no votes."""
        return 0 if self.schema is None else len(self.schema.label_cols)

    @property
    def stretch(self) -> str:
        """Colour stretch of FITS cutouts, see `to_rgb`. Older shards do not name it, and have the default stretch."""
        return self.made_by.get("stretch", DEFAULT_STRETCH)

    def paths(self, split: str) -> list[Path]:
        """Paths of the files of a split, in order."""
        return [self.folder / file.name for file in self.splits[split]]

    def count(self, split: str, what: str = "galaxies") -> int:
        """Count the galaxies of a split.

        Args:
            split: one of `SPLITS`.
            what: one of `COUNTS`, such as "with_votes" for the galaxies with votes.
        """
        return sum(getattr(file, what) for file in self.splits[split])

    def listed(self) -> dict[Path, ShardFile]:
        """Files of all splits by path."""
        return {self.folder / file.name: file for files in self.splits.values() for file in files}

    def files_at(self, paths: Sequence[str | Path]) -> list[ShardFile]:
        """Files at paths, which the manifest lists."""
        listed = self.listed()
        return [listed[path_of(path).absolute()] for path in paths]

    def count_in(self, paths: Sequence[str | Path], what: str = "galaxies") -> int:
        """Count the galaxies in files, or those of them with data.

        Args:
            paths: paths of TFRecord files that the manifest lists.
            what: one of `COUNTS`.
        """
        return sum(getattr(file, what) for file in self.files_at(paths))

    def content_hash(self, paths: Sequence[str | Path]) -> str:
        """Short hexadecimal hash of the contents of files, from their SHA-256.

        Args:
            paths: paths of TFRecord files that the manifest lists.
        """
        return hashlib.sha256("".join(file.sha256 for file in self.files_at(paths)).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Content of `shards.json`. It has no time and no folder, so that equal shards have equal manifests."""
        splits = {
            split: {what: self.count(split, what) for what in COUNTS} | {"files": [asdict(file) for file in files]}
            for split, files in self.splits.items()
        }
        content = {
            "format_version": self.format_version,
            "schema": self.schema and self.schema.to_dict(),
            "label": self.label and self.label.to_dict(),
            "image_size": self.image_size,
            "splits": splits,
            "made_by": self.made_by,
        }
        return json.dumps(content, indent=1) + "\n"


def read_manifest(folder: str | Path) -> Manifest:
    """Read `shards.json`.

    Args:
        folder: shard folder, or one of the folders of shards in it.

    Raises:
        FileNotFoundError: there is no `shards.json`, or the shards are not finished.
        ValueError: `shards.json` is damaged, or its format version cannot be read.
    """
    folder = path_of(folder)
    candidates = (folder, folder.parent)
    home = next((candidate for candidate in candidates if (candidate / MANIFEST_NAME).is_file()), None)
    if home is None:
        if any((candidate / PROGRESS_NAME).is_dir() for candidate in candidates):
            raise FileNotFoundError(f"{folder}: the shards are unfinished; repeat `zoobot3d shards` with --resume")
        raise FileNotFoundError(
            f"{folder}: no {MANIFEST_NAME} in this folder or its parent; make shards with `zoobot3d shards`"
        )
    path = home / MANIFEST_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # JSON can hold characters that text cannot
        if type(version := content["format_version"]) is int and version in READABLE_VERSIONS:
            return Manifest(
                folder=home,
                schema=None if content["schema"] is None else Schema.from_dict(content["schema"]),
                image_size=content["image_size"],
                splits={
                    split: tuple(ShardFile(**file) for file in entry["files"])
                    for split, entry in content["splits"].items()
                },
                made_by=content["made_by"],
                format_version=version,
                label=None if content.get("label") is None else Label.from_dict(content["label"]),
            )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: the file is damaged ({error!r}); copy it again, or make the shards again") from error
    raise ValueError(
        f"{path}: the format version must be from {READABLE_VERSIONS[0]} to {FORMAT_VERSION}; the file has version "
        f"{version}; make the shards again"
    )


def check_shards(
    paths: Sequence[str | Path],
    schema: Schema | None = None,
    image_size: int | None = None,
    verify_hash: bool = False,
    label: Label | None = None,
) -> Manifest:
    """Check shards against their manifest, and against what the caller expects.

    Args:
        paths: paths of TFRecord files of one shard folder.
        schema: expected decision tree; not compared if None.
        image_size: expected height and width of the images, in pixels; not compared if None.
        verify_hash: whether to compare the SHA-256 of the files, which reads all of them. Otherwise only their sizes
            are compared.
        label: expected label; not compared if None.

    Returns:
        Manifest of the shard folder.

    Raises:
        FileNotFoundError: a file or the manifest does not exist.
        ValueError: there are no paths, the paths belong to several shard folders, or the shards differ from the
            manifest or from what is expected.
    """
    files = [path_of(path).absolute() for path in paths]
    if not files:
        raise ValueError("received no shards; give the .tfrecord files of train_shards/ or eval_shards/")
    homes = sorted({path.parent.parent for path in files})
    if len(homes) > 1:
        raise ValueError(f"shards must be in one shard folder; received shards in {homes[0]} and in {homes[1]}")
    manifest = read_manifest(files[0].parent)
    if schema is not None and schema != manifest.schema:
        raise ValueError(
            f"{homes[0]}: these shards hold {_votes_summary(manifest.schema)}; received the schema "
            f"{_schema_summary(schema)}, whose questions, answers or their order differ"
        )
    if label is not None and not label.same_as(manifest.label):
        raise ValueError(
            f"{homes[0]}: these shards hold {_label_summary(manifest.label)}; received {_label_summary(label)}"
        )
    if image_size is not None and image_size != manifest.image_size:
        raise ValueError(
            f"{homes[0]}: these shards hold images of {manifest.image_size} x {manifest.image_size} pixels; "
            f"received the size {image_size}"
        )
    listed = manifest.listed()
    for path in files:
        if path not in listed:
            raise ValueError(f"{path}: not listed in {manifest.folder / MANIFEST_NAME}")
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file, but {MANIFEST_NAME} lists it; copy it, or make the shards again"
            )
        remedy = "copy the file again, or make the shards again"
        if (size := path.stat().st_size) != (expected := listed[path].bytes):
            raise ValueError(f"{path}: has {size} bytes, but {expected} in {MANIFEST_NAME}; {remedy}")
        if verify_hash and sha256_of(path) != listed[path].sha256:
            raise ValueError(f"{path}: its SHA-256 differs from that in {MANIFEST_NAME}; {remedy}")
    return manifest


def by_folder(paths: Sequence[str | Path]) -> dict[Path, tuple[str, ...]]:
    """Sort TFRecord files by shard folder.

    Args:
        paths: paths of TFRecord files of one or more shard folders.

    Returns:
        Paths of each shard folder, in the order of the first file of each.
    """
    folders: dict[Path, tuple[str, ...]] = {}
    for path in paths:
        home = path_of(path).absolute().parent.parent
        folders[home] = (*folders.get(home, ()), str(path))
    return folders


def galaxies_in(paths: Sequence[str | Path]) -> int:
    """Count the galaxies in files, from the manifests of their shard folders.

    Args:
        paths: paths of TFRecord files that the manifests list.
    """
    return sum(read_manifest(folder).count_in(files) for folder, files in by_folder(paths).items())


def shards_in(folder: str | Path) -> list[Path]:
    """List the TFRecord files of a folder of shards: those that exist, and those that the manifest lists.

    Args:
        folder: folder of a split, such as `train_shards`.

    Raises:
        FileNotFoundError: there are no shards or no `shards.json`.
        ValueError: `shards.json` is damaged.
    """
    folder = path_of(folder).absolute()
    listed = [path for path in read_manifest(folder).listed() if path.parent == folder]
    if paths := sorted({*listed, *folder.glob("*.tfrecord")}):
        return paths
    raise FileNotFoundError(f"{folder}: contains no .tfrecord files; `zoobot3d shards` makes them")


def _votes_summary(schema: Schema | None) -> str:
    return "no votes" if schema is None else f"votes of the schema {_schema_summary(schema)}"


def _schema_summary(schema: Schema) -> str:
    return f"{schema.name or 'without a name'} ({len(schema.label_cols)} answers)"


def _label_summary(label: Label | None) -> str:
    if label is None:
        return "no label"
    classes = f" with the classes {', '.join(label.classes)}" if label.classes else ""
    return f"the {label.kind} label {label.column}{classes}"

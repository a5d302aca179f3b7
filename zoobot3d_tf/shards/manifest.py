"""What stands beside the shards in `shards.json`: enough to use them without a word from whoever made them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH
from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema

FORMAT_VERSION = 3
# In version 1 the pixel scale was that of the original image, whose size the shards do not tell; labels came with 3.
READABLE_VERSIONS = (1, 2, FORMAT_VERSION)
MANIFEST_NAME = "shards.json"
PROGRESS_NAME = ".progress"
SPLITS = ("train", "eval", "unlabelled")
COUNTS = ("galaxies", "with_votes", "with_spiral_mask", "with_bar_mask", "with_label")


@dataclass(frozen=True)
class ShardFile:
    """One TFRecord file, named from the shard folder, as in `train_shards/train-00000-of-00004.tfrecord`."""

    name: str
    galaxies: int
    with_votes: int
    with_spiral_mask: int
    with_bar_mask: int
    bytes: int
    sha256: str
    with_label: int = 0


@dataclass(frozen=True)
class Manifest:
    """A folder of shards.

    Attributes:
        folder: where `shards.json` stands.
        schema: the decision tree whose answers the votes are of; None where there are no votes.
        image_size: height and width of images and masks, in pixels.
        splits: the files of `train`, `eval` and `unlabelled`.
        made_by: catalogues and options that the shards depend on.
        format_version: one of `READABLE_VERSIONS`.
        label: what the labels say, with the statistics of the galaxies in `train`; None where there are none.
    """

    folder: Path
    schema: Schema | None
    image_size: int
    splits: dict[str, tuple[ShardFile, ...]]
    made_by: dict
    format_version: int = FORMAT_VERSION
    label: Label | None = None

    @property
    def n_answers(self) -> int:
        """How many votes a galaxy has."""
        return 0 if self.schema is None else len(self.schema.label_cols)

    @property
    def stretch(self) -> str:
        """Of the fluxes of FITS cutouts, see `to_rgb`; shards that do not name it are older than the choice."""
        return self.made_by.get("stretch", DEFAULT_STRETCH)

    def paths(self, split: str) -> list[Path]:
        """Files of a split, in order."""
        return [self.folder / file.name for file in self.splits[split]]

    def count(self, split: str, what: str = "galaxies") -> int:
        """How many galaxies a split has: all, or those with one of the labels in `COUNTS`."""
        return sum(getattr(file, what) for file in self.splits[split])

    def to_json(self) -> str:
        """The text of `shards.json`: it holds neither time nor place, so that equal shards have equal manifests."""
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
        folder: the shard folder, or one of the folders of shards in it.

    Raises:
        FileNotFoundError: there is no `shards.json`, or no finished one.
        ValueError: it is damaged, or of another format version.
    """
    folder = Path(folder)
    home = next((place for place in (folder, folder.parent) if (place / MANIFEST_NAME).is_file()), None)
    if home is None:
        if any((place / PROGRESS_NAME).is_dir() for place in (folder, folder.parent)):
            raise FileNotFoundError(f"{folder}: these shards are unfinished; continue `zoobot3d shards` with --resume")
        raise FileNotFoundError(f"{folder}: no {MANIFEST_NAME} here or one folder up; `zoobot3d shards` makes shards")
    path = home / MANIFEST_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (version := content["format_version"]) in READABLE_VERSIONS:
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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); make the shards again") from error
    readable = f"{READABLE_VERSIONS[0]} to {FORMAT_VERSION}"
    raise ValueError(f"{path}: format version {version}; this version reads {readable}: make the shards again")


def check_shards(
    paths: Sequence[str | Path],
    schema: Schema | None = None,
    image_size: int | None = None,
    verify_hash: bool = False,
    label: Label | None = None,
) -> Manifest:
    """Check shards against the `shards.json` one folder up, and against what the caller takes them for.

    Args:
        paths: TFRecord files of one shard folder.
        schema: the decision tree they should be of; not compared if None.
        image_size: height and width they should have, in pixels; not compared if None.
        verify_hash: read the files through and compare their SHA-256; otherwise only sizes are compared.
        label: what their labels should say; not compared if None.

    Returns:
        The manifest of the shard folder.

    Raises:
        FileNotFoundError: a file is missing, or the manifest.
        ValueError: no paths are given, they belong to several shard folders, or something disagrees.
    """
    files = [Path(path).absolute() for path in paths]
    if not files:
        raise ValueError("no shards given; name the .tfrecord files in train_shards/ or eval_shards/")
    homes = sorted({path.parent.parent for path in files})
    if len(homes) > 1:
        raise ValueError(f"shards must come from one shard folder; received some from {homes[0]} and from {homes[1]}")
    manifest = read_manifest(files[0].parent)
    if schema is not None and schema != manifest.schema:
        raise ValueError(
            f"{homes[0]}: these shards hold votes of the schema {_summary(manifest.schema)}; received the schema "
            f"{_summary(schema)}, whose questions, answers or order differ"
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
    listed = _listed(manifest)
    for path in files:
        if path not in listed:
            raise ValueError(f"{path}: not listed in {manifest.folder / MANIFEST_NAME}")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file, though {MANIFEST_NAME} lists it")
        if (size := path.stat().st_size) != (wanted := listed[path].bytes):
            raise ValueError(f"{path}: has {size} bytes, {wanted} in {MANIFEST_NAME}; copy or make it again")
        if verify_hash and sha256_of(path) != listed[path].sha256:
            raise ValueError(f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; copy or make it again")
    return manifest


def galaxies_in(paths: Sequence[str | Path]) -> int:
    """How many galaxies these files of one shard folder hold, as its manifest says."""
    listed = _listed(read_manifest(Path(paths[0]).absolute().parent))
    return sum(listed[Path(path).absolute()].galaxies for path in paths)


def _listed(manifest: Manifest) -> dict[Path, ShardFile]:
    return {manifest.folder / file.name: file for files in manifest.splits.values() for file in files}


def _summary(schema: Schema | None) -> str:
    if schema is None:
        return "none"
    return f"{schema.name or 'without a name'} ({len(schema.label_cols)} answers)"


def _label_summary(label: Label | None) -> str:
    if label is None:
        return "no label"
    classes = f" with the classes {', '.join(label.classes)}" if label.classes else ""
    return f"the {label.kind} label {label.column}{classes}"

"""Labels that are neither votes nor masks: one value a galaxy, that says yes or no, a class, or a number."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zoobot3d_tf.files import PathLike

if TYPE_CHECKING:
    import pandas as pd

LABEL_KINDS = ("binary", "multiclass", "regression")
_BINARY = {"0": 0.0, "false": 0.0, "no": 0.0, "1": 1.0, "true": 1.0, "yes": 1.0}
# More distinct whole numbers than this are a quantity; and more classes than that are names or free text.
_MAX_GUESSED_CLASSES = 20
_MAX_CLASSES = 100
# Columns that a table of predictions has for other things, or holds as text.
_TAKEN = re.compile(r"id_str|file_loc|most_likely|.+_loc|.+_concentration_\d+")


@dataclass(frozen=True)
class Label:
    """What a column of labels says, and what training needs to know of it.

    Attributes:
        column: of the catalogue.
        kind: one of `LABEL_KINDS`.
        classes: of a multiclass label, in order; a galaxy's value is the index of its own. Other kinds have none.
        mean: of the training galaxies' values, in the label's own units, for regression.
        scale: their standard deviation, likewise.
        counts: how many training galaxies there are of each class; for binary of "0" and of "1". Empty if not known.

    Raises:
        ValueError: values are outside what is said above, or a table of predictions could not have these columns.
    """

    column: str
    kind: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in LABEL_KINDS:
            raise ValueError(f"the kind of a label must be one of {', '.join(LABEL_KINDS)}; received {self.kind!r}")
        if self.kind == "multiclass" and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"a multiclass label needs at least two classes, each once; received {self.classes}")
        if self.kind != "multiclass" and self.classes:
            raise ValueError(f"a {self.kind} label has no classes; received {self.classes}")
        if not np.isfinite(self.mean) or not 0 < self.scale < np.inf:
            raise ValueError(f"a label's mean must be finite, its scale above 0; received {self.mean} and {self.scale}")
        if self.counts and (len(self.counts) != len(self.class_names) or min(self.counts) < 1):
            raise ValueError(f"a label's counts must be one a class, above 0; received {self.counts}")
        if taken := [name for name in self.outputs if not self.column or _TAKEN.fullmatch(name)]:
            raise ValueError(
                f"a table of predictions cannot hold a label in the column {taken[0]!r}; rename {self.column!r}"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of their indices: "0" and "1" of binary; none for regression."""
        return ("0", "1") if self.kind == "binary" else self.classes

    @property
    def outputs(self) -> tuple[str, ...]:
        """Columns of predictions: the probability of "1", that of each class, or the number itself."""
        return tuple(f"{self.column}_{name}" for name in self.classes) or (self.column,)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """What makes rare classes count as much as common ones: n / (classes * n of the class); empty for regression.

        Their mean over the training galaxies is 1.
        """
        return tuple(sum(self.counts) / (len(self.counts) * count) for count in self.counts)

    def same_as(self, other: "Label | None") -> bool:
        """Whether a value means the same in both, whatever the galaxies they were trained on."""
        return other is not None and (self.column, self.kind, self.classes) == (other.column, other.kind, other.classes)

    def of_training(self, values: np.ndarray) -> "Label":
        """The same label, with the mean and scale or the counts of its training galaxies.

        Args:
            values: as `read_labels` returns them, (galaxies,); NaN where missing.

        Raises:
            ValueError: there is nothing to learn from these galaxies: a class has none, or all values are equal.
        """
        known = values[~np.isnan(values)]
        if self.kind == "regression":
            if len(known) == 0 or np.ptp(known) == 0:
                raise ValueError(f"{self.column} does not differ among the {len(known)} training galaxies that have it")
            return replace(self, mean=float(known.mean()), scale=float(known.std()))
        counts = np.bincount(known.astype(np.int64), minlength=len(self.class_names))
        if not counts.all():
            absent = self.class_names[int(np.argmin(counts))]
            raise ValueError(
                f"no training galaxy has {self.column} {absent!r}: leave that class out, or have more galaxies of it"
            )
        return replace(self, counts=tuple(counts.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"classes": list(self.classes), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Label":
        """What `to_dict` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            lists = {name: tuple(stored.get(name, ())) for name in ("classes", "counts")}
            return cls(**{**stored, **lists})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"a stored label must have a column, a kind and so on; received {stored!r:.80}") from error


def read_labels(
    path: PathLike, table: "pd.DataFrame", column: str, kind: str | None = None
) -> tuple[Label, np.ndarray]:
    """A column of labels as numbers.

    Args:
        path: where the table is from, for the error.
        table: as `read_table` returns it.
        column: one of its columns. An empty cell is a missing label.
        kind: one of `LABEL_KINDS`. By default 0 and 1, false and true, or no and yes are binary; text and up to 20
            distinct whole numbers are classes; other numbers regression.

    Returns:
        The label, its classes in the order of `sorted`, without statistics (see `Label.of_training`); and float64
        (rows,): 0 or 1, the index of the class, or the number; NaN where missing.

    Raises:
        ValueError: the column is missing or empty, all galaxies are of one class, or a value is not of the kind.
    """
    # Slow to import, and a trained run needs `Label` alone.
    from zoobot3d_tf.tables.columns import name_rows, read_numbers, refuse, require_columns

    require_columns(path, table.columns, [column])
    texts = table[column].map(_as_text)
    is_known = texts != ""
    if not is_known.any():
        raise ValueError(f"{path}: {column} is empty in every row; the label needs values")
    distinct = sorted(set(texts[is_known]))
    if kind is None:
        kind = _guess_kind(texts[is_known], distinct)
    if kind == "regression":
        label = Label(column, kind)
        numbers = read_numbers(path, table, column)
        refuse(path, table, column, np.isinf(numbers), "it must be finite")
        return label, numbers.to_numpy()
    if kind == "binary":
        label = Label(column, kind)
        is_wrong = is_known & ~texts.str.casefold().isin(_BINARY)
        refuse(path, table, column, is_wrong, "a binary label is 0 or 1, false or true, no or yes")
        values = texts.str.casefold().map(_BINARY).to_numpy(np.float64)
        if len(np.unique(values[~np.isnan(values)])) == 1:
            raise ValueError(f"{path}: {column} is {distinct[0]!r} wherever it is known; a label needs both classes")
        return label, values
    if len(distinct) == 1:
        raise ValueError(f"{path}: {column} is {distinct[0]!r} wherever it is known; a label needs two classes")
    if kind == "multiclass" and len(distinct) > _MAX_CLASSES:
        raise ValueError(
            f"{path}: {column} has {len(distinct)} distinct values, from {distinct[0]!r} in "
            f"{name_rows(table, texts == distinct[0])} on; a label has at most {_MAX_CLASSES} classes"
        )
    index = {name: float(i) for i, name in enumerate(distinct)}
    return Label(column, kind, tuple(distinct)), texts.map(index).to_numpy(np.float64)


def _guess_kind(texts: "pd.Series", distinct: Sequence[str]) -> str:
    import pandas as pd

    if {text.casefold() for text in distinct} <= set(_BINARY):
        return "binary"
    numbers = pd.to_numeric(texts, errors="coerce")
    # Where most are numbers, a text among them is a mistake, to be named as one.
    if numbers.notna().mean() <= 0.5:
        return "multiclass"
    is_whole = (numbers.dropna() % 1 == 0).all()
    return "multiclass" if is_whole and len(distinct) <= _MAX_GUESSED_CLASSES else "regression"


def _as_text(value: Any) -> str:
    """'' where missing; whole numbers without a point, which tables add beside empty cells."""
    import pandas as pd

    if pd.isna(value):
        return ""
    is_whole = isinstance(value, float | np.floating) and np.isfinite(value) and value % 1 == 0
    return str(int(value)) if is_whole else str(value).strip()

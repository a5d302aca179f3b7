"""Labels that are neither votes nor masks: one value per galaxy, which is yes or no, a class, or a number."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zoobot3d_tf.files import PathLike

if TYPE_CHECKING:
    import pandas as pd

LABEL_KINDS = ("binary", "multiclass", "regression")
_BINARY = {"0": 0.0, "false": 0.0, "no": 0.0, "1": 1.0, "true": 1.0, "yes": 1.0}
# More distinct whole numbers than this are taken for a quantity, not for classes.
_MAX_GUESSED_CLASSES = 20
# More classes than this are a mistake: the column holds names or free text.
_MAX_CLASSES = 100
PLACEHOLDERS = (
    *(sign * number for number in (99, 999, 9999, 99999, 99.9, 99.99, 999.9, 1e20, 1e30) for sign in (1, -1)),
    *(-1, -9, -32768, -2147483648),
)
"""Numbers that often stand for a missing value in tables."""
PLACEHOLDER_TEXTS = ("nan", "null", "n/a", "na", "-", "--", "?", "unknown", "missing", "undefined")
"""Texts that often stand for a missing value in tables, in lower case."""
# A label is learned in float32. The largest step between its numbers, in standard deviations of the training galaxies:
# the rounding then adds less than 0.1 % to the variance.
_MAX_STEP = 0.1
# Names of columns that a table of predictions uses otherwise, or reads as text.
_TAKEN = re.compile(r"id_str|ra|dec|file_loc|most_likely|.+_loc|.+_concentration_\d+")


@dataclass(frozen=True)
class Label:
    """Meaning of a column of labels, and its statistics over the training galaxies.

    Attributes:
        column: name of the column in the catalogue.
        kind: one of `LABEL_KINDS`.
        classes: names of the classes of a multiclass label. The value of a galaxy is the index of its class. Empty for
            other kinds.
        mean: mean of the values of the training galaxies, in the unit of the label, for regression.
        scale: standard deviation of the values of the training galaxies, in the unit of the label, for regression.
        counts: number of training galaxies of each class; for a binary label, of "0" and "1". Empty if unknown.

    Raises:
        ValueError: an attribute has an impossible value, or a table of predictions cannot have these columns.
    """

    column: str
    kind: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in LABEL_KINDS:
            raise ValueError(f"kind must be one of {', '.join(LABEL_KINDS)}; received {self.kind!r}")
        if not isinstance(self.column, str) or not self.column:
            raise ValueError(f"column must be the name of a column; received {self.column!r}")
        if not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"classes must be names; received {self.classes}")
        if self.kind == "multiclass" and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(
                f"a multiclass label must have at least two classes, all different; received {self.classes}"
            )
        if self.kind != "multiclass" and self.classes:
            raise ValueError(f"classes of a {self.kind} label must be empty; received {self.classes}")
        if not _is_finite(self.mean) or not _is_finite(self.scale) or not self.scale > 0:
            raise ValueError(
                f"mean must be finite and scale must be > 0; received mean {self.mean}, scale {self.scale}"
            )
        are_counts = all(type(count) is int and 0 < count < 2**63 for count in self.counts)
        if self.counts and (len(self.counts) != len(self.class_names) or not are_counts):
            raise ValueError(
                f"counts must be {len(self.class_names)} numbers >= 1, one per class; received {self.counts}"
            )
        if taken := [name for name in self.outputs if _TAKEN.fullmatch(name)]:
            raise ValueError(
                f"a table of predictions uses the column {taken[0]!r} for something else; rename {self.column!r}"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their indices: "0" and "1" if binary, none for regression."""
        return ("0", "1") if self.kind == "binary" else self.classes

    @property
    def outputs(self) -> tuple[str, ...]:
        """Columns in tables of predictions: the probability of "1", the probability of each class, or the number."""
        return tuple(f"{self.column}_{name}" for name in self.classes) or (self.column,)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """Weights in the loss, with which all classes count equally; empty for regression.

        The weight of a class is the number of training galaxies divided by (the number of classes times the number of
        training galaxies of the class). The mean over the training galaxies is 1.
        """
        return tuple(sum(self.counts) / (len(self.counts) * count) for count in self.counts)

    def same_as(self, other: "Label | None") -> bool:
        """Whether two labels have the same column, kind and classes. Statistics of training galaxies may differ."""
        return other is not None and (self.column, self.kind, self.classes) == (other.column, other.kind, other.classes)

    def is_value(self, value: float) -> bool:
        """Whether a label can have this value: the index of a class, or any finite number for regression."""
        return bool(np.isfinite(value)) if self.kind == "regression" else value in range(len(self.class_names))

    def of_training(self, values: np.ndarray) -> "Label":
        """Add the statistics of the training galaxies: mean and scale, or counts.

        Args:
            values: values of the training galaxies as `read_labels` returns them, shape (galaxies,); NaN if missing.

        Returns:
            A copy of the label with the statistics.

        Raises:
            ValueError: a class has no training galaxy; or the values of a regression label are missing or all equal, or
                so similar that float32 cannot tell them apart.
        """
        known = values[~np.isnan(values)]
        if self.kind == "regression":
            if len(known) == 0 or np.ptp(known) == 0:
                raise ValueError(
                    f"{self.column} must have at least two different values in the training galaxies; "
                    f"received {len(np.unique(known))} in the {len(known)} galaxies that have it"
                )
            scale, largest = float(known.std()), float(np.abs(known).max())
            with np.errstate(over="ignore"):
                step = float(np.spacing(np.float32(largest)))
            if not step <= _MAX_STEP * scale:
                raise ValueError(
                    f"{self.column} has a standard deviation of {scale:.3g} in the training galaxies, and values up to "
                    f"{largest:.10g}, where the numbers of a network have steps of {step:.3g}; subtract a "
                    f"constant from the column, such as {np.median(known):.10g}, or change its unit"
                )
            return replace(self, mean=float(known.mean()), scale=scale)
        counts = np.bincount(known.astype(np.int64), minlength=len(self.class_names))
        if not counts.all():
            absent = self.class_names[int(np.argmin(counts))]
            raise ValueError(
                f"no training galaxy has {self.column} {absent!r}; remove this class, or add galaxies of this class"
            )
        return replace(self, counts=tuple(counts.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """Convert the label to a dictionary for JSON."""
        return asdict(self) | {"classes": list(self.classes), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Label":
        """Build a label from the dictionary that `to_dict` returned.

        Raises:
            ValueError: the dictionary has another form.
        """
        try:
            lists = {name: tuple(_as_list(stored.get(name, []))) for name in ("classes", "counts")}
            return cls(**{**stored, **lists})
        except (AttributeError, TypeError) as error:
            raise ValueError(
                f"a stored label must have the form of Label.to_dict(); received {stored!r:.80}"
            ) from error


def _as_list(value: Any) -> list:
    if not isinstance(value, list):
        raise TypeError(f"expected a list; received {value!r}")
    return value


def _is_finite(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def prediction_in_words(label: Label, outputs: Sequence[float]) -> str:
    """Write the prediction of one galaxy, such as "ring 93%", "type spiral 61%" or "mass 10.4".

    Args:
        label: the label.
        outputs: values of the columns `Label.outputs`.
    """
    if not np.isfinite(outputs).all():
        return f"{label.column} unknown"
    if label.kind == "regression":
        return f"{label.column} {outputs[0]:.4g}"
    best = int(np.argmax(outputs))
    return f"{' '.join([label.column, *label.classes[best : best + 1]])} {outputs[best]:.0%}"


def summarise(label: Label, values: np.ndarray) -> str:
    """Describe the labels of some galaxies in one line: kind, and number of each class or distribution.

    Args:
        label: label.
        values: values as `read_labels` returns them, shape (galaxies,); NaN if missing.
    """
    known = values[~np.isnan(values)]
    if label.kind == "regression":
        parts = [f"{len(known)} numbers"]
        if len(known):
            parts += [f"from {known.min():.6g} to {known.max():.6g}", f"mean {known.mean():.6g}"]
    else:
        counts = np.bincount(known.astype(np.int64), minlength=len(label.class_names))
        parts = [f"{count} of {name!r}" for name, count in zip(label.class_names, counts, strict=True)]
    return f"{label.column} ({label.kind}): {', '.join(parts)}; {len(values) - len(known)} without a label"


def read_labels(
    path: PathLike, table: "pd.DataFrame", column: str, kind: str | None = None, label_values: Sequence[str] = ()
) -> tuple[Label, np.ndarray]:
    """Read a column of labels as numbers.

    Args:
        path: path of the table, for errors.
        table: table as `read_table` returns it.
        column: name of the column. An empty cell is a missing label.
        kind: one of `LABEL_KINDS`. By default, 0 and 1, false and true, or no and yes are binary; text and up to 20
            distinct whole numbers are classes; and other numbers are a regression.
        label_values: values that are meant, although they look like a placeholder for a missing value (see
            `PLACEHOLDERS`) or like another spelling of a class. If given for classes, there must be no others.

    Returns:
        The label, with sorted classes and without statistics (see `Label.of_training`); and the values, float64
        (rows,): 0 or 1, the index of the class, or the number. Missing labels are NaN.

    Raises:
        ValueError: the column is missing or empty, all galaxies have the same class, there are more than 100 classes,
            two classes differ in case only, or a value does not match the kind or looks like a placeholder.
    """
    # Imported here, because pandas is slow to import and a trained run only needs `Label`.
    from zoobot3d_tf.tables.columns import name_rows, read_numbers, refuse, require_columns

    require_columns(path, table.columns, [column])
    texts = table[column].map(_as_text)
    is_known = texts != ""
    if not is_known.any():
        raise ValueError(f"{path}: {column} is empty in all rows; a label needs values")
    distinct = sorted(set(texts[is_known]))
    if kind is None:
        kind = _guess_kind(texts[is_known], distinct)
    label_values = [value.strip() for value in label_values]
    placeholder = "it looks like a placeholder for a missing value; empty such cells or, if it is meant, {remedy}"
    if kind == "regression":
        label = Label(column, kind)
        numbers = read_numbers(path, table, column)
        refuse(path, table, column, np.isinf(numbers), "it must be finite")
        is_wrong = _is_placeholder(texts, label_values) & is_known
        refuse(path, table, column, is_wrong, placeholder.format(remedy="name it in label_values"))
        return label, numbers.to_numpy()
    if label_values:
        is_wrong = is_known & ~texts.isin(label_values)
        refuse(path, table, column, is_wrong, f"label_values names the classes {', '.join(label_values)}")
    else:
        is_wrong = (_is_placeholder(texts) | texts.str.casefold().isin(PLACEHOLDER_TEXTS)) & is_known
        refuse(path, table, column, is_wrong, placeholder.format(remedy="name all classes in label_values"))
    if kind == "binary":
        label = Label(column, kind)
        is_wrong = is_known & ~texts.str.casefold().isin(_BINARY)
        refuse(path, table, column, is_wrong, "a binary label is 0 or 1, false or true, no or yes")
        values = texts.str.casefold().map(_BINARY).to_numpy(np.float64)
        if len(np.unique(values[~np.isnan(values)])) == 1:
            raise ValueError(
                f"{path}: {column} is {distinct[0]!r} in all rows that have it; a label needs both classes"
            )
        return label, values
    if len(distinct) == 1:
        raise ValueError(f"{path}: {column} is {distinct[0]!r} in all rows that have it; a label needs two classes")
    if kind == "multiclass" and len(distinct) > _MAX_CLASSES:
        raise ValueError(
            f"{path}: {column} has {len(distinct)} distinct values, such as {distinct[0]!r} in "
            f"{name_rows(table, texts == distinct[0])}; a label must have at most {_MAX_CLASSES} classes"
        )
    if not label_values:
        _refuse_other_spellings(path, table, column, texts)
    index = {name: float(i) for i, name in enumerate(distinct)}
    return Label(column, kind, tuple(distinct)), texts.map(index).to_numpy(np.float64)


def read_known_labels(path: PathLike, table: "pd.DataFrame", label: Label) -> np.ndarray:
    """Read the values of a label that is known already, of which not all classes need to be present.

    Args:
        path: path of the table, for errors.
        table: table as `read_table` returns it.
        label: label, such as that of a trained run.

    Returns:
        Values as `read_labels` returns them, float64 (rows,); NaN if missing.

    Raises:
        ValueError: the column is missing, or a value is not one of the label.
    """
    from zoobot3d_tf.tables.columns import read_numbers, refuse, require_columns

    require_columns(path, table.columns, [label.column])
    if label.kind == "regression":
        numbers = read_numbers(path, table, label.column)
        refuse(path, table, label.column, np.isinf(numbers), "it must be finite")
        return numbers.to_numpy()
    texts = table[label.column].map(_as_text)
    index = _BINARY if label.kind == "binary" else {name: float(i) for i, name in enumerate(label.classes)}
    texts = texts.str.casefold() if label.kind == "binary" else texts
    refuse(
        path,
        table,
        label.column,
        ~texts.isin(["", *index]),
        f"the label has the classes {', '.join(label.class_names)}",
    )
    return texts.map(index).to_numpy(np.float64)


def _guess_kind(texts: "pd.Series", distinct: Sequence[str]) -> str:
    import pandas as pd

    if {text.casefold() for text in distinct} <= set(_BINARY):
        return "binary"
    numbers = pd.to_numeric(texts, errors="coerce")
    # If most values are numbers, text is a mistake. The regression label then gives an error that names its row.
    if numbers.notna().mean() <= 0.5:
        return "multiclass"
    is_whole = (numbers.dropna() % 1 == 0).all()
    return "multiclass" if is_whole and len(distinct) <= _MAX_GUESSED_CLASSES else "regression"


def _is_placeholder(texts: "pd.Series", meant: Sequence[str] = ()) -> "pd.Series":
    """Whether each number is one of `PLACEHOLDERS`, and unlike the other numbers of the column.

    It is unlike them if it is the only kind of negative number; or if it lies outside their range, and not next to one
    of them, as 99 lies next to 98.
    """
    import pandas as pd

    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    # FITS tables may hold them in float32.
    is_listed = np.isclose(numbers[:, None], PLACEHOLDERS, rtol=1e-6, atol=0).any(axis=1)
    is_listed &= ~np.isin(numbers, pd.to_numeric(pd.Series(meant, dtype=object), errors="coerce"))
    others = numbers[~is_listed & ~np.isnan(numbers)]
    low, high = (others.min(), others.max()) if len(others) else (np.inf, -np.inf)
    is_outside = (numbers < low) | (numbers > high)
    has_neighbour = np.isin(numbers - 1, others) | np.isin(numbers + 1, others)
    is_only_negative = (numbers < 0) & (low >= 0)
    return pd.Series(is_listed & is_outside & (is_only_negative | ~has_neighbour), index=texts.index)


def _refuse_other_spellings(path: PathLike, table: "pd.DataFrame", column: str, texts: "pd.Series") -> None:
    """Raise an error if two classes differ only in case or in spaces."""
    from zoobot3d_tf.tables.columns import name_rows

    first: dict[str, str] = {}
    for name in dict.fromkeys(texts):
        earlier = first.setdefault(" ".join(name.casefold().split()), name)
        if name != earlier:
            raise ValueError(
                f"{path}: {column} is {earlier!r} in {name_rows(table, texts == earlier)} and {name!r} in "
                f"{name_rows(table, texts == name)}, which differ in case or spaces only; write one of them or, if "
                "they are different classes, name all classes in label_values"
            )


def _as_text(value: Any) -> str:
    """Convert a cell to text, '' if missing. Whole numbers, which are floats beside empty cells, get no point."""
    import pandas as pd

    if pd.isna(value):
        return ""
    is_whole = isinstance(value, float | np.floating) and np.isfinite(value) and value % 1 == 0
    return str(int(value)) if is_whole else str(value).strip()

"""Values of columns, and sizes of tables, that all formats have in common."""

from typing import Any, cast

import numpy as np
import pandas as pd

MAX_COLUMNS = 10_000
"""Largest number of columns of a table. Published catalogues have up to a thousand."""
MAX_VALUES = 2**25
"""Largest number of values of a table, unless the file itself is large; see `check_shape`."""

# Catalogues compress to more than one bit per value.
_MAX_VALUES_PER_BYTE = 8

_TEXT_TYPE = pd.Series([""]).dtype  # `str`, or `object` before pandas 3
_LARGEST_EXACT_FLOAT = 2**53


def check_shape(n_rows: int, n_columns: int, file_bytes: int) -> None:
    """Check the size of a table before it is read, so that a small file cannot fill the memory.

    Args:
        n_rows: number of rows.
        n_columns: number of columns.
        file_bytes: size of the file on disk.

    Raises:
        ValueError: there are more than `MAX_COLUMNS` columns; or there are more values than `MAX_VALUES` and than a
            file of this size can reasonably hold.
    """
    if n_columns > MAX_COLUMNS:
        raise ValueError(f"has {n_columns} columns; the limit is {MAX_COLUMNS}")
    limit = max(MAX_VALUES, _MAX_VALUES_PER_BYTE * file_bytes)
    if n_rows * n_columns > limit:
        raise ValueError(
            f"has {n_rows} rows of {n_columns} columns in a file of {file_bytes} bytes; the limit for this size is "
            f"{limit} values"
        )


def plain_type(column: pd.Series) -> Any:
    """Return the type that pandas gives a nullable column by default, but nullable for long integers with gaps."""
    if pd.api.types.is_string_dtype(column):
        return _TEXT_TYPE
    if not column.hasnans:
        return cast(Any, column.dtype).numpy_dtype
    if pd.api.types.is_bool_dtype(column):
        return object
    is_long = pd.api.types.is_integer_dtype(column) and (column.abs() > _LARGEST_EXACT_FLOAT).any()
    return column.dtype if is_long else np.float64


def to_series(values: np.ndarray, is_missing: np.ndarray | None = None) -> pd.Series:
    """Convert the values of a column, and a mask of the missing ones, to a column of pandas.

    Integers never become floats on the way, so that long ids keep their digits.

    Args:
        values: (n,) numbers, truth values, texts, or bytes, which become text.
        is_missing: (n,) whether a value is missing.

    Returns:
        The values in the byte order of this machine, missing where they are masked. Integers and truth values with
        missing values have a nullable type; see `plain_type`.
    """
    if is_missing is not None and not is_missing.any():
        is_missing = None
    if values.dtype.kind in "SUO":
        texts = pd.Series([decode(value) for value in values.tolist()], dtype=_TEXT_TYPE)
        return texts if is_missing is None else texts.mask(is_missing)
    values = np.array(values, values.dtype.newbyteorder("="))
    if is_missing is None:
        return pd.Series(values)
    if values.dtype.kind not in "iub":
        return pd.Series(values).mask(is_missing)
    whole = pd.arrays.BooleanArray if values.dtype.kind == "b" else pd.arrays.IntegerArray
    return pd.Series(whole(values, np.array(is_missing, bool)))


def decode(value: Any) -> Any:
    """Decode bytes as UTF-8, with `\\ufffd` for those that are not, and without the padding at their end."""
    return value.decode("utf-8", "replace").rstrip(" \0") if isinstance(value, bytes) else value

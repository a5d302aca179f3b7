"""Tables of text read: the separator is found, lines of comments are left out, and ids and paths stay text."""

import codecs
import csv
import io
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import pandas as pd

from zoobot3d_tf.tables.values import check_shape

_SEPARATORS = (",", ";", "\t", "|")
_SPACES = r"\s+"
_HEAD_BYTES = 2**21
_SAMPLE_LINES = 50
_BLOCK_BYTES = 2**24
_END_OF_LINE = rb"(?:\r\n|\n|\r)"
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_DECIMAL_POINT = re.compile(r"[-+]?\d+\.\d+")


def read_csv(
    file: BinaryIO, file_bytes: int, separator: str, is_text: Callable[[str, pd.Series], bool]
) -> pd.DataFrame:
    """Read a table of text.

    Columns are separated by the separator of the format or, if the header does not hold it, by the only one of comma,
    semicolon, tab, vertical bar and spaces that gives the first lines equally many fields. A line `sep=;`, as Excel
    writes it, decides. Lines that begin with `#` are comments before the header, and after it if they hold no
    separator. If there is no header after the comments but numbers, the last comment is the header.

    Args:
        file: content of the file.
        file_bytes: size of the file on disk.
        separator: usual separator of the format.
        is_text: function of the name and the values of a column that tells whether it holds ids or paths, which are
            read as they are written: `0123` keeps its zero, and `NA` is not a missing value.

    Returns:
        The table. Bytes that are not UTF-8 are `\\ufffd`.

    Raises:
        ValueError: the separator cannot be told; rows have more fields than the header; or the table is too large.
    """
    file = _as_utf8(file)
    head = file.read(_HEAD_BYTES)
    lines = [line.decode("utf-8", "replace") for line in head.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)]
    if len(head) == _HEAD_BYTES and len(lines) < 2:
        raise ValueError(f"has no end of a line within {_HEAD_BYTES} bytes")
    n_skipped, comment = 0, ""
    for line in lines:
        if stated := re.fullmatch(r"sep=(.)\s*", line, re.IGNORECASE):
            separator = stated[1]
        elif line.startswith("#"):
            comment = line.removeprefix("#")
        elif line.strip():
            break
        n_skipped += 1
    if len(head) == _HEAD_BYTES:
        lines = lines[:-1]  # cut
    sample = [line for line in lines[n_skipped:] if line.strip() and not _is_comment(line)][:_SAMPLE_LINES]
    separator = _find_separator(sample, separator)
    rows = [_split(line, separator) for line in sample]
    if not rows:
        raise ValueError("holds no header with the names of the columns")
    if len(rows) > 1 and len(rows[1]) > len(rows[0]):
        raise ValueError(f"rows have more fields than the header has names: {len(rows[1])} and {len(rows[0])}")
    names = _split(comment, separator)
    is_commented = len(names) == len(rows[0]) > 1 and any(map(_NUMBER.fullmatch, rows[0]))
    _check_size(file, len(rows[0]), file_bytes)
    file = _without_comments(file, n_skipped, separator if len(rows[0]) > 1 else "")
    options: dict[str, Any] = {
        "sep": separator,
        "encoding": "utf-8-sig",
        "encoding_errors": "replace",
        "skipinitialspace": True,
        "decimal": "," if separator == ";" and _has_decimal_commas(rows) else ".",
        **({"header": None, "names": [name.strip() for name in names]} if is_commented else {}),
    }
    table = pd.read_csv(file, low_memory=False, dtype_backend="numpy_nullable", **options)
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("rows have more fields than the header has names")
    texts = [place for place, (name, column) in enumerate(table.items()) if is_text(str(name).strip(), column)]
    file.seek(0)
    written = pd.read_csv(file, dtype=str, na_filter=False, usecols=texts, **options)
    table[written.columns] = written
    return table.set_axis([str(name).strip() for name in table.columns], axis="columns")


def _as_utf8(file: BinaryIO) -> BinaryIO:
    """Convert UTF-16, which Excel writes as "Unicode text", to UTF-8."""
    is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    file.seek(0)
    return io.BytesIO(file.read().decode("utf-16").encode()) if is_utf16 else file


def _is_comment(line: str) -> bool:
    return line.startswith("#") and not any(separator in line for separator in _SEPARATORS)


def _split(line: str, separator: str) -> list[str]:
    if separator == _SPACES:
        return line.split()
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _find_separator(lines: list[str], usual: str) -> str:
    try:
        n_fields = {separator: [len(_split(line, separator)) for line in lines] for separator in {usual, *_SEPARATORS}}
    except csv.Error:  # NUL, or a text of more than 131,072 letters
        return usual
    present = {separator: n for separator, n in n_fields.items() if n and n[0] > 1}
    fitting = [separator for separator, n in present.items() if len(set(n)) == 1]
    if usual in fitting or (usual in present and not fitting):
        return usual
    if len(fitting) == 1:
        return fitting[0]
    if len(present) == 1:
        return next(iter(present))
    if present:
        seen = ", ".join(sorted(map(repr, present)))
        raise ValueError(f"it cannot be told which of {seen} separates the columns of {lines[0]!r}; use {usual!r}")
    n_words = {len(line.split()) for line in lines}
    return _SPACES if len(n_words) == 1 and n_words.pop() > 1 else usual


def _has_decimal_commas(rows: list[list[str]]) -> bool:
    """Whether numbers have decimal commas, as spreadsheets write them in many countries, together with semicolons."""
    fields = [field.strip() for row in rows[1:] for field in row]
    return any(map(_DECIMAL_COMMA.fullmatch, fields)) and not any(map(_DECIMAL_POINT.fullmatch, fields))


def _check_size(file: BinaryIO, n_columns: int, file_bytes: int) -> None:
    file.seek(0)
    n_lines = 0
    while block := file.read(_BLOCK_BYTES):
        n_lines += block.count(b"\n") or block.count(b"\r")
    check_shape(n_lines, n_columns, file_bytes)


def _without_comments(file: BinaryIO, n_skipped: int, separator: str) -> BinaryIO:
    """Leave out lines: the first ones, and those that begin with `#` and hold no separator."""
    file.seek(0)
    has_comments, end = n_skipped > 0, b""
    while separator and (block := file.read(_BLOCK_BYTES)):
        has_comments |= b"\n#" in end + block
        end = block[-1:]
    file.seek(0)
    if not has_comments:
        return file
    content = re.sub(rb"\A(?:[^\r\n]*%b){%d}" % (_END_OF_LINE, n_skipped), b"", file.read())
    if separator:
        separators = rb" \t" if separator == _SPACES else re.escape(separator.encode())
        comment = rb"^#[^\r\n%b]*(?:%b|\Z)" % (separators, _END_OF_LINE)
        quoted = rb'"[^"]*"'  # may hold such lines
        content = re.sub(rb"(?m)(%b)|%b" % (quoted, comment), lambda match: match[1] or b"", content)
    return io.BytesIO(content)

"""Tables that Astropy reads: FITS, ECSV and VOTable files, with positions and pixel scales in our units.

Astropy's own conversion to pandas is not used: before version 8.0.2 it turns masked integers into floats.
"""

import re
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.parsers import expat

import numpy as np
import pandas as pd

from zoobot3d_tf.tables.columns import convert_unit, is_standard, shorten, standard_unit
from zoobot3d_tf.tables.values import check_shape, to_series

if TYPE_CHECKING:
    from astropy.table import Table

_MAX_HDUS = 1000
_MAX_ECSV_HEADER_BYTES = 2**19


def read_fits(file: BinaryIO, file_bytes: int, part: str = "") -> pd.DataFrame:
    """Read a table of a FITS file.

    Args:
        file: content of the file.
        file_bytes: size of the file on disk.
        part: number or name of the extension; not needed if the file holds one table.

    Returns:
        The columns with one value per row. `attrs["units"]` holds the units of columns, as text, except of those that
        were converted to the units of this package.

    Raises:
        ValueError: there is no such table, it is not clear which, it is too large, or a column has a unit that cannot
            be converted or several values per row, but is needed.
    """
    from astropy.io import fits

    n_bytes = file.seek(0, 2)
    file.seek(0)
    with fits.open(file, memmap=False, character_as_bytes=True) as hdus:
        names = {}
        for number, hdu in enumerate(hdus):  # opens one after the other
            if number >= _MAX_HDUS:
                raise ValueError(f"has more than {_MAX_HDUS} extensions")
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                names[number] = hdu.name
        hdu = hdus[_choose(names, part)]
        header = hdu.header
        if header.get("ZTABLE"):
            raise ValueError("holds a table that fpack has compressed; decompress it with funpack")
        check_shape(header["NAXIS2"], header["TFIELDS"], file_bytes)
        size = header["NAXIS1"] * header["NAXIS2"] + header.get("PCOUNT", 0)
        if size > n_bytes:
            raise ValueError(f"is cut: its table has {size} bytes, but the file holds {n_bytes}")
        columns, units = {}, {}
        for column in hdu.columns:
            # Arrays of variable length, P and Q, may all refer to the same bytes, and are not expanded.
            values = None if re.match(r"\d*[PQ]", column.format) else np.asarray(hdu.data[column.name])
            if values is None or values.ndim != 1:
                _refuse_vector(column.name, f"several values per row (format {column.format})")
                continue
            columns[column.name], units[column.name] = to_series(values, _find_nulls(column, values)), column.unit
    return _in_our_units(columns, units)


def read_ecsv(file: BinaryIO, file_bytes: int) -> pd.DataFrame:
    """Read an ECSV file; see `read_fits`."""
    from astropy.table import Table

    header, n_lines, n_columns = b"", 0, 0
    for line in file:
        n_lines += 1
        if n_columns == 0 and line.startswith(b"#"):
            header += line
            if len(header) > _MAX_ECSV_HEADER_BYTES:
                raise ValueError(f"has a header of more than {_MAX_ECSV_HEADER_BYTES} bytes")
        elif n_columns == 0:
            n_columns = len(line.split())
    if re.search(rb"<<\s*:", header):
        raise ValueError("has merge keys (<<) in its header")  # nested ones fill the memory; no writer uses them
    check_shape(n_lines, n_columns, file_bytes)
    file.seek(0)
    return from_astropy(Table.read(file, format="ascii.ecsv"))


def read_votable(file: BinaryIO, file_bytes: int, part: str = "") -> pd.DataFrame:
    """Read a table of a VOTable file; see `read_fits`. `part` is the number of the table, from 0, its ID or name."""
    from astropy.table import Table

    number = _choose(_check_votable(file, file_bytes), part)
    file.seek(0)
    return from_astropy(Table.read(file, format="votable", table_id=number))


def _find_nulls(column: Any, values: np.ndarray) -> np.ndarray | None:
    """Find the missing values of a FITS column of integers. TNULL is the value before scaling."""
    if not isinstance(column.null, int):
        return None
    nulls = [column.null * (column.bscale or 1) + (column.bzero or 0)]
    if values.dtype.kind == "u":
        nulls.append(column.null)  # Astropy writes that of unsigned integers after scaling
    return np.logical_or.reduce([values == null for null in nulls])


def _choose(names: dict[int, str], part: str) -> int:
    """Choose a table by its number or its name; if neither is given, it must be the only one."""
    chosen = [number for number, name in names.items() if part.lower() in ("", str(number), name.lower())]
    if len(chosen) == 1:
        return chosen[0]
    if not names:
        raise ValueError("holds no table")
    listed = shorten([f"{number} ({name})" if name else str(number) for number, name in names.items()])
    found = f"has {len(chosen)} tables {part!r}" if part else f"has {len(names)} tables"
    raise ValueError(
        f"{found}; give the number of one of {listed} after the name of the file, as in "
        f"'galaxies.fits[{next(iter(names))}]'"
    )


def _check_votable(file: BinaryIO, file_bytes: int) -> dict[int, str]:
    """Check the elements of a VOTable file that can fill the memory or lead elsewhere, and list its tables."""
    names: dict[int, str] = {}
    n_values = 0

    def start(element: str, attributes: dict[str, str]) -> None:
        nonlocal n_values
        element = element.rpartition(":")[2]
        if element == "TABLE":
            names[len(names)] = attributes.get("ID") or attributes.get("name") or ""
            n_values, n_rows = 0, int(attributes.get("nrows") or 0)
            rows.append(n_rows)
        elif element == "FIELD":
            sizes = re.findall(r"\d+", attributes.get("arraysize", "1"))
            n_values += int(np.prod([float(size) for size in sizes])) if sizes else 1
            check_shape(1, n_values, file_bytes)
            check_shape(rows[-1], n_values, file_bytes)
        elif element == "STREAM" and attributes.get("href"):
            raise ValueError(f"has its data elsewhere: {attributes['href']}")

    def refuse_entity(name: str, *_: object) -> None:
        raise ValueError(f"declares the XML entity {name}, which no VOTable needs")

    rows: list[int] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EntityDeclHandler = start, refuse_entity
    parser.ParseFile(file)
    return names


def from_astropy(table: "Table") -> pd.DataFrame:
    """Convert a table of Astropy; see `read_fits`."""
    from astropy.table import Column
    from astropy.units import Quantity

    columns, units = {}, {}
    for name in table.colnames:
        column = table[name]
        values = np.asarray(getattr(column, "unmasked", column))
        is_plain = isinstance(column, Column | Quantity) and values.ndim == 1
        if not is_plain or (values.dtype.kind == "O" and any(isinstance(value, np.ndarray | list) for value in values)):
            _refuse_vector(name, "more than one value per row")
            continue
        columns[name], units[name] = to_series(values, getattr(column, "mask", None)), column.unit
    return _in_our_units(columns, units)


def _refuse_vector(name: str, what: str) -> None:
    if is_standard(name):
        raise ValueError(f"{name} has {what}; it must have one")


def _in_our_units(columns: dict[str, pd.Series], units: dict[str, Any]) -> pd.DataFrame:
    stated = {name: str(unit) for name, unit in units.items() if unit is not None and str(unit).strip()}
    for name in [name for name in stated if standard_unit(name)]:
        columns[name] = convert_unit(name, columns[name], stated.pop(name), standard_unit(name))
    table = pd.DataFrame(columns)
    table.attrs["units"] = stated
    return table

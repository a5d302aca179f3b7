"""Progress of long work: a bar in a terminal; elsewhere, and in a log file, a line from time to time."""

import io
import logging
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SECONDS_PER_LINE = 30
"""Time between two lines."""

logger = logging.getLogger(__name__)


class Progress(tqdm):
    """Progress bar of tqdm, with plain lines where a bar would fill a file with carriage returns.

    In a terminal, the lines have the level DEBUG, so that only a log file shows them (see `messages`); elsewhere INFO.

    Args:
        iterable: what is iterated over; None if `update` is called instead.
        total: number of items; by default the length of `iterable`, unknown if it has none.
        unit: name of an item in the singular, such as "galaxy".
        desc: what is being done, if the unit does not say it.
        initial: number of items that were finished before.
        leave: whether the bar remains, and a last line is written, when the work ends.
        unit_scale: whether the bar abbreviates large numbers, such as 1.2M.
    """

    def __init__(
        self,
        iterable: Iterable | None = None,
        total: int | None = None,
        unit: str = "item",
        desc: str | None = None,
        initial: int = 0,
        leave: bool = True,
        unit_scale: bool = False,
    ) -> None:
        self.is_bar = sys.stderr.isatty()
        self.next_line = time.monotonic() + SECONDS_PER_LINE
        super().__init__(
            iterable,
            total=total,
            unit=unit,
            desc=desc,
            initial=initial,
            leave=leave,
            unit_scale=unit_scale,
            file=sys.stderr if self.is_bar else io.StringIO(),
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, and write a line if the last one is old enough. Called by tqdm."""
        if self.is_bar:
            super().display(msg, pos)
        if time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + SECONDS_PER_LINE
            self._write_line()

    def close(self) -> None:
        """End the bar, and write the last line. Called by tqdm, also if the work was interrupted."""
        if not self.disable and self.leave and self.n > self.initial:
            self._write_line()
        super().close()

    def _write_line(self) -> None:
        facts: dict[str, Any] = self.format_dict
        line = progress_line(self.unit, self.n, self.total, self.n - self.initial, facts["elapsed"])
        what = f"{self.desc.removesuffix(': ')}: " if self.desc else ""
        logger.log(logging.DEBUG if self.is_bar else logging.INFO, "%s%s", what, line)


def write_line(line: str) -> None:
    """Log a line, or print it if messages of the level INFO are not logged, as in a notebook."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s", line)
    else:
        Progress.write(line)


def progress_line(unit: str, n: int, total: int | None, n_timed: int, seconds: float) -> str:
    """Say in one line how far work is, how fast, and how long it will take.

    Args:
        unit: name of an item in the singular.
        n: number of finished items.
        total: number of all items; None if unknown.
        n_timed: number of the items that were finished in `seconds`.
        seconds: time since the start.
    """
    words = [f"{unit} {n:,}" + (f" of {total:,} ({100 * n / total:.0f} %)" if total else "")]
    if n_timed and seconds:
        rate = n_timed / seconds
        words.append(f"{rate:.3g} per second" if rate >= 1 else f"{duration(1 / rate)} each")
        if total and n < total:
            words.append(f"{duration((total - n) / rate)} remaining")
    if total is None or n >= total:
        words.append(f"took {duration(seconds)}")
    return " | ".join(words)


def duration(seconds: float) -> str:
    """Write a time span in words, such as "45 s", "12 min" or "3 h 05 min"."""
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

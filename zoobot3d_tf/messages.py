"""Messages of a command: on the terminal, and in a log file with their times."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoobot3d_tf import progress
from zoobot3d_tf.files import check_output

# For what the terminal shows in another way: the command itself, and errors.
_file_only = logging.getLogger("zoobot3d_tf.log_file")
_file_only.propagate = False
_file_only.addHandler(logging.NullHandler())


class _BesideBars(logging.StreamHandler):
    """Handler that writes to a terminal without damage to the progress bars there."""

    def emit(self, record: logging.LogRecord) -> None:
        with progress.Progress.external_write_mode(file=self.stream):
            super().emit(record)


def show_messages() -> None:
    """Show messages on the standard error."""
    handler = _BesideBars(sys.stderr)
    handler.setLevel(logging.INFO)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])


@contextmanager
def written_to(path: Path | None, command: str) -> Iterator[None]:
    """Append all messages of a block to a log file, if one is given: plain lines, each with its time.

    The lines of progress bars are written too, and an error that ends the block.

    Args:
        path: path of the log file; None for no file.
        command: command that is run, for the first line.

    Raises:
        OSError: the file cannot be written.
    """
    if path is None:
        yield
        return
    check_output(path, "log file", ())
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    root, level = logging.getLogger(), progress.logger.level
    root.addHandler(handler)
    _file_only.addHandler(handler)
    progress.logger.setLevel(logging.DEBUG)
    try:
        _file_only.warning(command)
        yield
    except Exception:
        _file_only.exception("error:")
        raise
    finally:
        progress.logger.setLevel(level)
        _file_only.removeHandler(handler)
        root.removeHandler(handler)
        handler.close()


def show_error(message: str) -> None:
    """Print an error on the standard error, and append it to the log file."""
    print(message, file=sys.stderr)
    _file_only.error(message)

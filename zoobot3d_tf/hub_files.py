"""Files of the Hugging Face hub: names of repositories, downloads, and errors."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoobot3d_tf.extras import require
from zoobot3d_tf.files import PathLike

# `Path` turns the two slashes of hf:// into one. Letters and digits are those that the hub allows.
_NAME = re.compile(r"(?:hf://?)?([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)", re.ASCII)


def download(repository: str, filename: str, revision: str | None = None) -> Path:
    """Download one file of a repository, unless the cache of huggingface_hub has it.

    Args:
        repository: name of the repository, `owner/name`.
        filename: path of the file in the repository.
        revision: commit or branch; the newest commit by default.

    Returns:
        Path of the file in the cache. The name of the folder that holds the repository's files is the commit.

    Raises:
        OSError: the repository or the file does not exist, or the hub cannot be reached.
        ImportError: huggingface_hub is not installed.
    """
    require_hub()
    from huggingface_hub import HfApi

    with hub_errors(repository, filename):
        return Path(HfApi().hf_hub_download(repository, filename, revision=revision))


def is_on_hub(name: PathLike) -> bool:
    """Whether a name is `hf://owner/name`, or the path that `Path` makes of it, and not the path of a file."""
    return os.fspath(name).startswith("hf:")


def repository_name(name: PathLike) -> str:
    """Name of a repository, `owner/name`.

    Args:
        name: `hf://owner/name`, the path that `Path` makes of it, or `owner/name`.

    Raises:
        ValueError: `name` is not the name of a repository.
    """
    match = _NAME.fullmatch(os.fspath(name))
    if match is None:
        raise ValueError(f"{os.fspath(name)!r} is not the name of a repository of the hub; write hf://owner/name")
    return match[1]


def require_hub() -> None:
    """Check that huggingface_hub is installed, and silence its HTTP client.

    Raises:
        ImportError: huggingface_hub is not installed.
    """
    require("huggingface_hub", "hf://")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs a line per request


@contextmanager
def hub_errors(repository: str, wanted: str) -> Iterator[None]:
    """Turn every error of the block, which talks to the hub, into an OSError with one sentence.

    Args:
        repository: name of the repository, `owner/name`.
        wanted: file or branch of the repository that the block needs, for the error.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise OSError(
            f"hf://{repository}: the owner must grant you access; request it on the page of the repository, "
            "then run `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise OSError(f"hf://{repository}: no such repository; if it is private, run `hf auth login` first") from error
    except errors.LocalEntryNotFoundError as error:
        raise OSError(f"hf://{repository}: the hub cannot be reached, and {wanted} is not in the cache") from error
    except errors.EntryNotFoundError as error:
        raise OSError(f"hf://{repository}: the repository has no {wanted}") from error
    except Exception as error:  # the errors of its HTTP clients, of which it has had three, have no common class
        status = getattr(getattr(error, "response", None), "status_code", None)
        hint = "; run `hf auth login` with a token that may write to it" if status in (401, 403) else ""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(f"hf://{repository}: {reason}{hint}") from error

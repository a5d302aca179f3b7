"""Files of the Hugging Face hub: names of repositories, fetching, and what goes wrong on the way, in sentences."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from zoobot3d_tf.files import PathLike

# Without the slash that `Path` takes away, so that a name may come as a path. A repository is named by the hub's rules.
_NAME = re.compile(r"(?:hf://?)?([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)", re.ASCII)


def download(repository: str, filename: str, revision: str | None = None) -> Path:
    """Fetches one file of a repository of the hub, unless the cache has it.

    Args:
        repository: `owner/name`.
        filename: the file's path there.
        revision: a commit or a branch; by default the newest commit.

    Returns:
        Where it is; the last folder but those in `filename` is named by the commit.

    Raises:
        OSError: there is no such repository or file, or it cannot be reached.
        ImportError: huggingface_hub is not installed.
    """
    require_hub()
    from huggingface_hub import HfApi

    with hub_errors(repository, filename):
        return Path(HfApi().hf_hub_download(repository, filename, revision=revision))


def is_on_hub(name: PathLike) -> bool:
    """Whether it is `hf://owner/name`, also as `Path` shortens it, and not a path."""
    return os.fspath(name).startswith("hf:")


def repository_name(name: PathLike) -> str:
    """`owner/name`, of `hf://owner/name`, of what `Path` makes of that, or of itself.

    Raises:
        ValueError: this is no name of a repository.
    """
    match = _NAME.fullmatch(os.fspath(name))
    if match is None:
        raise ValueError(f"{os.fspath(name)!r} names no repository of the hub; write hf://owner/name")
    return match[1]


def require_hub() -> None:
    """Raises ImportError, with the way to install it, where huggingface_hub is missing; and keeps its client quiet."""
    if not find_spec("huggingface_hub"):
        raise ImportError("huggingface_hub is not installed: pip install 'zoobot3d_tf[hub]'")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its line for each request would bury our own words


@contextmanager
def hub_errors(repository: str, wanted: str) -> Iterator[None]:
    """Makes one sentence of whatever goes wrong between here and the hub, where something is `wanted`."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise OSError(f"hf://{repository}: its owner must let you in; ask on its page, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise OSError(f"hf://{repository}: no such repository, or a private one: try `hf auth login`") from error
    except errors.LocalEntryNotFoundError as error:
        raise OSError(f"hf://{repository}: the hub cannot be reached, and {wanted} was not fetched before") from error
    except errors.EntryNotFoundError as error:
        raise OSError(f"hf://{repository}: there is no {wanted}") from error
    except Exception as error:  # those of its HTTP client, of which it has had three, are of no common kind
        status = getattr(getattr(error, "response", None), "status_code", None)
        hint = "; `hf auth login` with a token that may write there" if status in (401, 403) else ""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(f"hf://{repository}: {reason}{hint}") from error

"""Files of the Hugging Face hub: names of repositories, downloads, and errors."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from tqdm.utils import CallbackIOWrapper

from zoobot3d_tf.extras import require
from zoobot3d_tf.failures import is_of_machine
from zoobot3d_tf.files import PathLike, sha256_of, whole_file, write_atomically
from zoobot3d_tf.progress import Progress

# `Path` turns the two slashes of hf:// into one. Letters and digits are those that the hub allows.
_NAME = re.compile(
    r"(?:hf://?)?(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>\w[\w.-]*(?:/\w[\w.-]*)*))?",
    re.ASCII,
)

_COMMIT = re.compile("[0-9a-f]{40}")


def download(repository: str, filename: str, revision: str | None = None) -> Path:
    """Download one file of a repository, unless the cache of huggingface_hub has it.

    The file is stored where huggingface_hub would store it, but its own function is not called: it takes the name of a
    file of the cache from the server. Here, the server names the commit only, which must be a hash. Length and hash of
    the file are compared with those that the server states.

    Args:
        repository: name of the repository, `owner/name`.
        filename: path of the file in the repository.
        revision: commit, 40 hexadecimal digits, which does not change; or a branch or a tag, of which the newest commit
            is taken; by default the branch `main`.

    Returns:
        Path of the file in the cache. The name of the folder that holds the repository's files is the commit.

    Raises:
        FileNotFoundError: the repository has no such file.
        OSError: the repository or the revision does not exist, the hub cannot be reached, or the file is not the one
            that it states.
        ImportError: huggingface_hub is not installed.
    """
    require_hub()
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    is_commit = revision is not None and _COMMIT.fullmatch(revision) is not None
    with hub_errors(repository, filename):
        cached = try_to_load_from_cache(repository, filename, revision=revision)
        if isinstance(cached, str) and is_commit:
            return Path(cached)
        try:
            stated = get_hf_file_metadata(hf_hub_url(repository, filename, revision=revision))
        except Exception as error:  # the errors of its HTTP clients, of which it has had three, have no common class
            if (
                isinstance(error, errors.HfHubHTTPError)
                and error.response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
            ):
                raise
            if isinstance(cached, str):
                return Path(cached)
            raise OSError(f"the hub cannot be reached, and {filename} is not in the cache: {_reason(error)}") from error
        commit = stated.commit_hash or ""
        if not _COMMIT.fullmatch(commit) or (is_commit and commit != revision):
            raise OSError(f"{filename}: the hub must state the commit, 40 hexadecimal digits; received {commit!r}")
        folder = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}")
        path = folder / "snapshots" / commit / filename
        if not path.is_file():
            _fetch(hf_hub_url(repository, filename, revision=commit), path, stated.size, stated.etag or "")
        if not is_commit:
            reference = folder / "refs" / (revision or "main")
            reference.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(reference, commit, shared=True)
        return path


def is_on_hub(name: PathLike) -> bool:
    """Whether a name is `hf://owner/name` or `hf://owner/name@revision`, or the path that `Path` makes of it."""
    return os.fspath(name).startswith("hf:")


def repository_of(name: PathLike) -> tuple[str, str | None]:
    """Name of a repository, `owner/name`, and its revision; None if the name has none.

    Args:
        name: `hf://owner/name`, the path that `Path` makes of it, or `owner/name`; with or without `@` and a revision,
            which is a commit, a branch or a tag.

    Raises:
        ValueError: `name` is not the name of a repository.
    """
    match = _NAME.fullmatch(os.fspath(name))
    if match is None:
        raise ValueError(
            f"{os.fspath(name)!r} is not the name of a repository of the hub; write hf://owner/name, or "
            "hf://owner/name@revision"
        )
    return match["repository"], match["revision"]


def require_hub() -> None:
    """Check that huggingface_hub is installed, and silence its HTTP client and its bars of downloads.

    Raises:
        ImportError: huggingface_hub is not installed.
    """
    require("huggingface_hub", "hf://")
    from huggingface_hub.utils import disable_progress_bars

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs a line per request
    disable_progress_bars("huggingface_hub.http_get")


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
    except errors.RevisionNotFoundError as error:
        raise OSError(
            f"hf://{repository}: the repository has no such revision; give a commit, a branch or a tag"
        ) from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(f"hf://{repository}: the repository has no {wanted}") from error
    except Exception as error:  # as in `download`
        status = getattr(getattr(error, "response", None), "status_code", None)
        hint = "; run `hf auth login` with a token that may write to it" if status in (401, 403) else ""
        raise OSError(f"hf://{repository}: {_reason(error)}{hint}") from error


def _fetch(url: str, path: Path, size: int | None, etag: str) -> None:
    """Download a file, and compare it with what the hub states.

    Args:
        url: address of the file.
        path: path of the file to write.
        size: length in bytes; None if it is not stated.
        etag: SHA-256 of a large file, or hash that git gives a small one. Another text is ignored.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    path.parent.mkdir(parents=True, exist_ok=True)
    # Without it, the server may compress the content; length and hash are those of the stored file.
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    with whole_file(path, shared=True) as partial:
        try:
            with partial.open("wb") as file, Progress(total=size, unit="byte", desc=path.name, leave=False) as bar:
                counted = CallbackIOWrapper(bar.update, file, "write")
                http_get(url, counted, headers=headers, expected_size=size, displayed_filename=path.name)
        except Exception as error:  # as in `download`
            if is_of_machine(error):
                raise
            raise OSError(f"{path.name} cannot be downloaded: {_reason(error)}") from error
        if (found := _hash_like(partial, etag)) != etag:
            raise OSError(
                f"{path.name} is not the file that the hub states: its hash is {found}; it must be {etag}. Try again"
            )


def _hash_like(path: Path, etag: str) -> str:
    """Hash of a file of the kind that an ETag is; the ETag itself if it is no hash."""
    if re.fullmatch("[0-9a-f]{64}", etag):
        return sha256_of(path)
    if re.fullmatch("[0-9a-f]{40}", etag):  # git hashes the length too
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
    return etag


def _reason(error: Exception) -> str:
    """First line of an error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

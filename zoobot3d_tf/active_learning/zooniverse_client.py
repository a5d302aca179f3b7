"""The official client of Zooniverse, with credentials from outside of all files, and patience with the network.

Importing this module imports `panoptes_client` (extra `[active]`); call `extras.require` first.

The client itself gives up or loses work where a service is busy: it does not wait as `Retry-After` asks, waits without
end for a silent server, and does not say that an image was not uploaded. All requests therefore pass `_Patience`,
which lies below the client and tries again. The client above sees only answers.

Credentials are held in memory only. The address of an upload or of an export has a signature that allows it: such an
address is a credential too, and neither logged nor written.
"""

import logging
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import import_module
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import keyring
import requests
from keyring.errors import KeyringError
from requests.adapters import HTTPAdapter

from zoobot3d_tf.surveys.download import FIRST_WAIT, MAX_WAIT, TIMEOUTS, TRIES, seconds_to_wait

ENDPOINT = "https://www.zooniverse.org"
"""Default of the environment variable `PANOPTES_ENDPOINT`."""
KEYRING_SERVICE = "zooniverse"
"""Name of the service under which the keyring holds passwords and secrets."""

_NAMES = {"PANOPTES_CLIENT_ID": "PANOPTES_CLIENT_SECRET", "PANOPTES_USERNAME": "PANOPTES_PASSWORD"}
_LOCAL_HOSTS = ("localhost", "127.0.0.1")
_LINKS = re.compile(r"/links/\w+$")


def _imported_quietly(name: str) -> Any:
    """Import a module that configures the root logger of the process, and undo that."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return import_module(name)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


panoptes_client: Any = _imported_quietly("panoptes_client")
PanoptesAPIException: Any = import_module("panoptes_client.panoptes").PanoptesAPIException

# Its messages of each request hold the signatures of addresses.
logging.getLogger("urllib3").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Credentials:
    """Name and secret of a volunteer's account, or of an application that is registered with Zooniverse."""

    name: str = field(repr=False)
    secret: str = field(repr=False)
    is_application: bool


def find_credentials() -> Credentials:
    """Find credentials in the environment or the keyring.

    The name is `PANOPTES_CLIENT_ID` or `PANOPTES_USERNAME`. Its secret is `PANOPTES_CLIENT_SECRET` or
    `PANOPTES_PASSWORD`, or the entry of this name in the keyring: `keyring set zooniverse NAME`.

    Raises:
        PermissionError: there are none.
    """
    for name_variable, secret_variable in _NAMES.items():
        name = os.environ.get(name_variable)
        if name and (secret := os.environ.get(secret_variable) or _secret_in_keyring(name)):
            return Credentials(name, secret, is_application=name_variable == "PANOPTES_CLIENT_ID")
    raise PermissionError(
        "Zooniverse needs credentials: set PANOPTES_USERNAME and PANOPTES_PASSWORD, or PANOPTES_CLIENT_ID and "
        f"PANOPTES_CLIENT_SECRET; the keyring may hold the secret instead (`keyring set {KEYRING_SERVICE} NAME`)"
    )


def connect() -> Any:
    """Log in, and return the client.

    Returns:
        Client of the class `panoptes_client.Panoptes`. Use its other classes in a `with` block of the client.

    Raises:
        PermissionError: there are no credentials, or the service refuses them.
        OSError: the service does not answer.
        ValueError: the address of the service is not https.
    """
    client = _Client(find_credentials(), endpoint())
    with service_errors(client.endpoint):
        client.get_bearer_token()
    return client


def endpoint() -> str:
    """Address of the service: `PANOPTES_ENDPOINT` of the environment, by default Zooniverse.

    It is never read from a file: a file from a stranger could otherwise send the credentials elsewhere.

    Raises:
        ValueError: the address is not https.
    """
    return _endpoint("PANOPTES_ENDPOINT", ENDPOINT)


def caesar_endpoint() -> str | None:
    """Address of Caesar if the environment variable `CAESAR_ENDPOINT` gives another than that of the client.

    Raises:
        ValueError: the address is not https.
    """
    return _endpoint("CAESAR_ENDPOINT", "") or None


def upload(url: str, content: bytes, media_type: str) -> None:
    """Upload an image to the address that the service gave for it.

    Args:
        url: address with its signature.
        content: content of the file.
        media_type: MIME type of the content, as it was announced.

    Raises:
        UploadRefusedError: the server refuses the image, or the address is too old.
        OSError: the server does not answer.
    """
    with requests.Session() as session, service_errors(urlsplit(url).netloc):
        _mount(session, _Patience())
        headers = {"Content-Type": media_type, "x-ms-blob-type": "BlockBlob"}  # the type is one of Azure's storage
        response = session.put(url, data=content, headers=headers)
    if not response.ok:
        raise UploadRefusedError(f"the image was refused with HTTP status {response.status_code} {response.reason}")


class UploadRefusedError(Exception):
    """A server does not accept an image."""


@contextmanager
def service_errors(name: str) -> Iterator[None]:
    """Turn the errors of the client in the block into an OSError of one sentence, without secrets.

    Args:
        name: name of the service, for the error.
    """
    try:
        yield
    except PanoptesAPIException as error:
        raise OSError(f"{name}: {_without_signatures(str(error))}") from None
    except requests.RequestException as error:
        raise OSError(f"{name}: the answer cannot be used: {_without_signatures(str(error))}") from None


class _Client(panoptes_client.Panoptes):
    """The client, logged in by `credentials`. It renews a token that the service no longer accepts."""

    def __init__(self, credentials: Credentials, endpoint: str) -> None:
        name, secret = credentials.name, credentials.secret
        account = {"client_id": name, "client_secret": secret} if credentials.is_application else {}
        # With 'keyring' the client looks for no account, and does not log in before it is patient.
        super().__init__(endpoint=endpoint, login="keyring", **account)
        if not credentials.is_application:
            self.client_secret = None  # of an application, from the environment
            self.username, self.password = name, secret
        _mount(self.session, _Patience(self.renewed_token))

    def get_bearer_token(self) -> str:
        try:
            return super().get_bearer_token()
        except KeyError:  # what the client makes of a refusal: the token that renews tokens has expired too
            return self.renewed_token()

    def renewed_token(self) -> str:
        """Log in again, and return a new token."""
        self.bearer_token, self.logged_in = None, False
        self.session.cookies.clear()
        try:
            self.login()
            return super().get_bearer_token()
        except (KeyError, PanoptesAPIException):
            raise PermissionError(
                f"{self.endpoint}: refused the credentials; check {' and '.join(_NAMES)}, and their secrets"
            ) from None

    def login(self, username: str | None = None, password: str | None = None) -> Any:
        try:
            return super().login(username, password)
        except (KeyError, PanoptesAPIException):
            raise PermissionError(
                f"{self.endpoint}: refused the name or the password; check PANOPTES_USERNAME and PANOPTES_PASSWORD"
            ) from None


class _Patience(HTTPAdapter):
    """Tries a request again if the connection fails, or the server is busy, fails, or no longer accepts the token.

    A request may then arrive twice. That is harmless for all requests of this package but one: to put subjects into a
    set is to ask volunteers about them. Where it is unknown whether such a request has arrived, the caller must find
    out.
    """

    def __init__(self, renewed_token: Callable[[], str] | None = None) -> None:
        super().__init__()
        self._renewed_token = renewed_token

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; raise an OSError after `TRIES` tries."""
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUTS
        may_renew = self._renewed_token is not None and "Authorization" in request.headers
        for n_tries in range(1, TRIES + 1):
            wait = 0.0
            arrived = True
            try:
                response = super().send(request, *args, **kwargs)
                response.content  # noqa: B018  # reads the body, so that a connection lost midway is one of these errors
            except requests.RequestException as error:
                problem = f"the connection failed: {_without_signatures(_cause(error))}"
            else:
                problem = f"HTTP status {response.status_code} {response.reason}"
                if response.status_code == HTTPStatus.UNAUTHORIZED and may_renew and self._renewed_token:
                    may_renew = False
                    request.headers["Authorization"] = f"Bearer {self._renewed_token()}"
                    continue
                if not _is_busy(response.status_code):
                    return response
                wait = seconds_to_wait(response)
                arrived = response.status_code != HTTPStatus.TOO_MANY_REQUESTS
            if n_tries == TRIES or (arrived and _asks_volunteers(request)):
                break
            # Random, so that clients that were refused at the same time do not return at the same time.
            sleep(min(MAX_WAIT, max(wait, FIRST_WAIT * 2 ** (n_tries - 1) * random.uniform(0.5, 1.5))))
        where = urlsplit(request.url or "")
        raise OSError(f"{where.netloc}: {request.method} {where.path} failed {n_tries} times; the last time: {problem}")


def _mount(session: requests.Session, adapter: HTTPAdapter) -> None:
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)


def _asks_volunteers(request: requests.PreparedRequest) -> bool:
    return request.method == "POST" and _LINKS.search(urlsplit(request.url or "").path) is not None


def _is_busy(status: int) -> bool:
    return status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def _endpoint(variable: str, default: str) -> str:
    address = os.environ.get(variable, default).rstrip("/")
    where = urlsplit(address)
    if address and where.scheme != "https" and where.hostname not in _LOCAL_HOSTS:
        raise ValueError(f"{variable} must be an address that begins with https://; received {address!r}")
    return address


def _secret_in_keyring(name: str) -> str | None:
    try:
        return keyring.get_password(KEYRING_SERVICE, name)
    except KeyringError:  # machines without a desktop have none
        return None


def _cause(error: BaseException) -> str:
    while error.__context__ is not None:  # the libraries wrap the message several times
        error = error.__context__
    return str(error) or type(error).__name__


def _without_signatures(text: str) -> str:
    """Remove the queries of addresses, which hold signatures."""
    return re.sub(r"\?[^\s'\")]+", "?...", text)

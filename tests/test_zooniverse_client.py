"""The official client against the stand-in server: credentials, and patience with the network."""

import itertools
import logging
import sys
from contextlib import ExitStack

import pytest
from panoptes_server import CLIENT_ID, PASSWORD, SUBJECT_SET, USER, panoptes_server

pytest.importorskip("panoptes_client", reason="the extra [active] is not installed")
pytest.importorskip("keyring", reason="the extra [active] is not installed")

import keyring
from keyring.backend import KeyringBackend

from zoobot3d_tf.active_learning import zooniverse_client
from zoobot3d_tf.active_learning.zooniverse_client import connect, find_credentials, service_errors, upload
from zoobot3d_tf.surveys.download import TRIES

FAULTS = ["500", "429 retry-after 1", "lost", "done but lost", "done but 500", "answer lost midway"]


@pytest.fixture
def pauses(monkeypatch):
    """Pauses in seconds, which are not made."""
    pauses = []
    monkeypatch.setattr(zooniverse_client, "sleep", pauses.append)
    return pauses


@pytest.fixture
def logged_in(monkeypatch, pauses):
    """Function that runs a server with faults until the test ends, and gives the client its address."""
    with ExitStack() as stack:

        def logged_in(name="PANOPTES_USERNAME", **faults):
            named = {route.replace("_", " "): each for route, each in faults.items()}
            server = stack.enter_context(panoptes_server(named))
            server.log_in(monkeypatch, name)
            return server

        yield logged_in


class Keyring(KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self):
        self.entries = {}

    def get_password(self, service, username):
        return self.entries.get((service, username))

    def set_password(self, service, username, password):
        self.entries[service, username] = password


@pytest.fixture
def own_keyring():
    """An empty keyring in the place of that of the user."""
    earlier = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    yield keyring.get_keyring()
    keyring.set_keyring(earlier)


def read_set(client):
    with client, service_errors(client.endpoint):
        return zooniverse_client.panoptes_client.SubjectSet.find(SUBJECT_SET).display_name


@pytest.mark.parametrize("name", ["PANOPTES_USERNAME", "PANOPTES_CLIENT_ID"])
def test_accounts_and_applications_log_in(logged_in, name):
    server = logged_in(name)
    assert read_set(connect()) == "to ask"
    assert ("sign in" in server.requests) == (name == "PANOPTES_USERNAME")


def test_a_keyring_holds_the_password(logged_in, monkeypatch, own_keyring):
    logged_in()
    monkeypatch.delenv("PANOPTES_PASSWORD")
    keyring.set_password("zooniverse", USER, PASSWORD)
    assert read_set(connect()) == "to ask"
    assert PASSWORD not in repr(find_credentials())


def test_wrong_credentials_are_named(logged_in, monkeypatch):
    logged_in()
    monkeypatch.setenv("PANOPTES_PASSWORD", "wrong")
    with pytest.raises(PermissionError, match="refused the name or the password") as raised:
        connect()
    assert "wrong" not in str(raised.value)
    monkeypatch.setenv("PANOPTES_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("PANOPTES_CLIENT_SECRET", "wrong")
    with pytest.raises(PermissionError, match="refused the credentials"):
        connect()


def test_missing_credentials_are_named(logged_in, monkeypatch, own_keyring):
    logged_in()
    monkeypatch.delenv("PANOPTES_PASSWORD")
    with pytest.raises(PermissionError, match="PANOPTES_USERNAME and PANOPTES_PASSWORD"):
        connect()


def test_credentials_are_sent_by_https_only(logged_in, monkeypatch):
    logged_in()
    monkeypatch.setenv("PANOPTES_ENDPOINT", "http://www.zooniverse.org")
    with pytest.raises(ValueError, match=r"PANOPTES_ENDPOINT .*https"):
        connect()
    monkeypatch.setenv("CAESAR_ENDPOINT", "http://caesar.zooniverse.org")
    with pytest.raises(ValueError, match=r"CAESAR_ENDPOINT .*https"):
        zooniverse_client.caesar_endpoint()


@pytest.mark.parametrize(
    ("route", "fault"),
    [*itertools.product(["sign-in page", "sign in", "token", "subject set"], FAULTS), ("subject set", "expired")],
)
def test_a_failed_request_is_made_again(logged_in, route, fault):
    server = logged_in(**{route.replace(" ", "_"): [fault]})
    assert read_set(connect()) == "to ask"
    assert server.requests.count(route) == 2


def test_the_server_says_how_long_to_wait(logged_in, pauses):
    logged_in(subject_set=["429 retry-after 7", "503 retry-after 100000"])
    read_set(connect())
    assert pauses[0] == 7
    assert pauses[1] == zooniverse_client.MAX_WAIT


def test_a_server_that_does_not_recover_is_named(logged_in, pauses):
    server = logged_in(subject_set=["500"] * TRIES)
    client = connect()
    with pytest.raises(OSError, match=r"127.0.0.1.*/api/subject_sets/22 failed 5 times.*HTTP status 500"):
        read_set(client)
    assert server.requests.count("subject set") == TRIES
    assert len(pauses) == TRIES - 1


def test_an_expired_token_is_renewed_even_if_it_cannot_be_refreshed(logged_in):
    server = logged_in()
    server.token_seconds = 60  # the client renews a token two minutes before its end
    client = connect()
    read_set(client)
    server.forget_tokens()
    assert read_set(client) == "to ask"
    assert server.requests.count("sign in") == 2


def test_the_message_of_the_service_is_passed_on(logged_in):
    logged_in()
    client = connect()
    with pytest.raises(OSError, match="Could not find subject_set with id='99'"):
        with client, service_errors(client.endpoint):
            zooniverse_client.panoptes_client.SubjectSet.find("99")


def test_an_upload_does_not_name_its_signature(pauses):
    with pytest.raises(OSError, match="failed 5 times") as raised:
        upload("http://127.0.0.1:9/store/1?signature=private", b"image", "image/png")
    assert "private" not in str(raised.value)


def test_the_root_logger_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "talkative.py").write_text("import logging\nlogging.basicConfig(level=logging.DEBUG, force=True)\n")
    monkeypatch.syspath_prepend(tmp_path)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    assert zooniverse_client._imported_quietly("talkative") is sys.modules["talkative"]
    assert (root.handlers, root.level) == before

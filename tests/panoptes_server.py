"""Local HTTP server in place of Zooniverse: Panoptes, its store of images, its exports, and Caesar, with faults.

It answers the requests of the official client as the services do, and is as strict: tokens, cookies, the type that the
client accepts, signed addresses. `classify` plays volunteers, who need a subject in a set with its image.
"""

import csv
import io
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

USER, PASSWORD = "astronomer", "pa55-of-the-astronomer"
CLIENT_ID, CLIENT_SECRET = "application-id", "s3cret-of-the-application"
CREDENTIALS = {
    "PANOPTES_USERNAME": USER,
    "PANOPTES_PASSWORD": PASSWORD,
    "PANOPTES_CLIENT_ID": CLIENT_ID,
    "PANOPTES_CLIENT_SECRET": CLIENT_SECRET,
}
PROJECT, SUBJECT_SET, WORKFLOW = "11", "22", "33"
TASKS = {"T0": ["smooth", "featured"], "T1": ["yes", "no"]}
JSON_API = "application/vnd.api+json; version=1"

ROUTES = {
    "sign-in page": ("GET", r"/users/sign_in"),
    "sign in": ("POST", r"/users/sign_in"),
    "token": ("POST", r"/oauth/token"),
    "subject set": ("GET", r"/api/subject_sets/(\d+)"),
    "workflow": ("GET", r"/api/workflows/(\d+)"),
    "list subjects": ("GET", r"/api/subjects"),
    "create subject": ("POST", r"/api/subjects"),
    "upload": ("PUT", r"/store/(\d+)"),
    "link": ("POST", r"/api/subject_sets/(\d+)/links/subjects"),
    "members": ("GET", r"/api/set_member_subjects"),
    "make export": ("POST", r"/api/workflows/(\d+)/classifications_export"),
    "describe export": ("GET", r"/api/workflows/(\d+)/classifications_export"),
    "export": ("GET", r"/store/export\.csv"),
    "reductions": ("GET", r"/caesar/workflows/(\d+)/subjects/(\d+)/reductions"),
}
"""Method and path of each request, by the name under which faults and counts are kept."""


@dataclass
class Subject:
    """A subject. The image is None until it is uploaded."""

    id: str
    metadata: dict[str, Any]
    media_type: str
    image: bytes | None = None


@dataclass
class PanoptesServer:
    """The running server.

    Attributes:
        url: address of Panoptes, without a slash at the end.
        faults: faults by route, see `panoptes_server`.
        subjects: all subjects by id.
        members: ids of the subjects in the set, in the order in which they were put there.
        classifications: (number, volunteer, subject, answers by task).
        requests: routes of the requests until now.
        secrets: passwords, tokens, cookies and signatures that a client knows.
        export: text of the export; None if there is none.
        export_state: state of the export that is told.
        export_made: time at which the export was made; None if there is none.
        token_seconds: validity of new tokens, as it is told to the client.
        when_done: called with the route after each request is done, before it is answered.
    """

    url: str
    faults: dict[str, Iterator[str]]
    subjects: dict[str, Subject] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    classifications: list[tuple[int, str, str, dict[str, str]]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=lambda: {PASSWORD, CLIENT_SECRET})
    export: str | None = None
    export_state: str = "ready"
    export_made: datetime | None = None
    token_seconds: int = 7200
    when_done: Callable[[str], None] = lambda route: None
    tokens: set[str] = field(default_factory=set)
    cookies: set[str] = field(default_factory=set)
    refresh_tokens: set[str] = field(default_factory=set)
    signatures: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))
    lock: Any = field(default_factory=threading.RLock)

    @property
    def caesar_url(self) -> str:
        return f"{self.url}/caesar"

    def log_in(self, monkeypatch: Any, name: str = "PANOPTES_USERNAME") -> None:
        """Give the client the address of the server, and an account or an application."""
        monkeypatch.setenv("PANOPTES_ENDPOINT", self.url)
        monkeypatch.setenv("CAESAR_ENDPOINT", self.caesar_url)
        for variable, value in CREDENTIALS.items():
            monkeypatch.delenv(variable, raising=False)
            if (variable in ("PANOPTES_USERNAME", "PANOPTES_PASSWORD")) == (name == "PANOPTES_USERNAME"):
                monkeypatch.setenv(variable, value)

    def secret(self, kind: str, known: set[str]) -> str:
        """Make a secret that the server accepts from now on."""
        made = f"{kind}-{next(self.numbers)}-not-to-be-seen"
        known.add(made)
        self.secrets.add(made)
        return made

    def signed(self, path: str) -> str:
        return f"{self.url}{path}?" + urlencode({"signature": self.secret("signature", self.signatures)})

    def forget_tokens(self) -> None:
        """End the validity of all tokens and sessions."""
        for known in (self.tokens, self.cookies, self.refresh_tokens):
            known.clear()

    def asked(self) -> list[str]:
        """Ids of the galaxies that volunteers see, in the order in which they were asked."""
        return [self.subjects[subject].metadata["id_str"] for subject in self.members]

    def subject_of(self, id_str: str) -> Subject:
        (subject,) = [s for s in self.subjects.values() if s.metadata["id_str"] == id_str and s.id in self.members]
        return subject

    def classify(self, id_str: str, volunteer: str, answers: Mapping[str, str]) -> None:
        """Let a volunteer answer tasks, as {"T0": "smooth"}."""
        subject = self.subject_of(id_str)
        assert subject.image is not None, "volunteers see a subject without image"
        self.classifications.append((next(self.numbers), volunteer, subject.id, dict(answers)))

    def make_export(self) -> None:
        """Write the export of classifications in the form of the project builder."""
        text = io.StringIO()
        columns = ["classification_id", "user_name", "user_ip", "workflow_id", "annotations", "subject_data"]
        rows = csv.DictWriter(text, [*columns, "subject_ids"])
        rows.writeheader()
        for number, volunteer, subject, answers in self.classifications:
            rows.writerow(
                {
                    "classification_id": number,
                    "user_name": volunteer,
                    "user_ip": "d4f8",
                    "workflow_id": WORKFLOW,
                    "annotations": json.dumps([{"task": t, "value": value} for t, value in answers.items()]),
                    "subject_data": json.dumps({subject: {"retired": None, **self.subjects[subject].metadata}}),
                    "subject_ids": subject,
                }
            )
        self.export, self.export_state, self.export_made = text.getvalue(), "ready", datetime.now(UTC)

    def reductions(self, subject: str) -> list[dict[str, Any]]:
        """Reductions of a subject, one per task, as Caesar lists them."""
        counts: dict[str, dict[str, int]] = {}
        for _, _, classified, answers in self.classifications:
            if classified == subject:
                for task, answer in answers.items():
                    place = str(TASKS[task].index(answer))
                    counts.setdefault(task, {}).setdefault(place, 0)
                    counts[task][place] += 1
        return [
            {
                "id": number,
                "reducer_key": task,
                "reducible_id": int(WORKFLOW),
                "reducible_type": "Workflow",
                "subject_id": int(subject),
                "subgroup": "_default",
                "data": data,
                "store": {},
                "updated_at": "2026-08-20T10:00:00.000Z",
            }
            for number, (task, data) in enumerate(counts.items())
        ]


@contextmanager
def panoptes_server(faults: Mapping[str, Iterable[str]] | None = None) -> Iterator[PanoptesServer]:
    """Run the server until the block ends.

    Args:
        faults: faults by route, one per request; requests after the last fault are answered correctly. Faults are
            "" (none), a status such as "500" or "429 retry-after 7" (nothing is done), "done but 500", "done but lost"
            (the connection ends without an answer), "lost" (before anything is done), "lost midway" (while the body
            is received), "answer lost midway", and "expired" (all tokens and sessions, just before the request).

    Yields:
        The running server.
    """
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http_server.daemon_threads = True
    server = PanoptesServer(
        f"http://127.0.0.1:{http_server.server_port}", {name: iter(each) for name, each in (faults or {}).items()}
    )
    http_server.panoptes = server
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http_server.shutdown()
        thread.join()
        http_server.server_close()


class _RefusedError(Exception):
    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def _refused(status: int, message: str) -> _RefusedError:
    return _RefusedError(status, {"errors": [{"message": message}]})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    @property
    def panoptes(self) -> PanoptesServer:
        return self.server.panoptes

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def answer(self) -> None:
        where = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(where.query).items()}
        for route, (method, pattern) in ROUTES.items():
            match = re.fullmatch(pattern, where.path)
            if match and method == self.command:
                return self.answer_route(route, match.groups())
        self.body()
        return self.send(404, {"errors": [{"message": f"no route {self.command} {where.path}"}]})

    do_GET = do_POST = do_PUT = answer

    def answer_route(self, route: str, ids: tuple[str, ...]) -> None:
        with self.panoptes.lock:
            self.panoptes.requests.append(route)
            fault = next(self.panoptes.faults.get(route, iter(())), "")
        if fault == "lost midway":
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            return self.lose()
        content = self.body()
        if fault == "lost":
            return self.lose()
        if status := re.fullmatch(r"(\d{3})(?: retry-after (\d+))?", fault):
            headers = {"Retry-After": status[2]} if status[2] else {}
            return self.send(int(status[1]), b"<html>busy</html>", headers)
        with self.panoptes.lock:
            if fault == "expired":
                self.panoptes.forget_tokens()
            try:
                done: tuple[int, Any, dict[str, str]] = getattr(self, route.replace(" ", "_").replace("-", "_"))(
                    *ids, content
                )
            except _RefusedError as error:
                done = error.status, error.body, {}
            self.panoptes.when_done(route)
        if fault == "done but lost":
            return self.lose()
        if fault == "done but 500":
            return self.send(500, b"<html>failed</html>")
        return self.send(*done, lose_midway=fault == "answer lost midway")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def lose(self) -> None:
        self.close_connection = True

    def send(
        self, status: int, content: Any, headers: Mapping[str, str] | None = None, lose_midway: bool = False
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if lose_midway else body)
        self.wfile.flush()
        self.close_connection = self.close_connection or lose_midway

    # Accounts

    def sign_in_page(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        csrf = self.panoptes.secret("csrf", self.panoptes.cookies)
        return 200, {}, {"X-CSRF-Token": csrf}

    def sign_in(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        asked = json.loads(content)
        if asked["authenticity_token"] not in self.panoptes.cookies:
            raise _RefusedError(422, {"error": "Invalid authenticity token"})
        if (asked["user"]["login"], asked["user"]["password"]) != (USER, PASSWORD):
            raise _RefusedError(401, {"error": "Invalid email or password."})
        session = self.panoptes.secret("session", self.panoptes.cookies)
        return 200, {"users": [{"id": "7", "login": USER}]}, {"Set-Cookie": f"_Panoptes_session={session}; path=/"}

    def token(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        asked = {name: values[0] for name, values in parse_qs(content.decode()).items()}
        cookies = SimpleCookie(self.headers.get("Cookie", ""))
        session = cookies["_Panoptes_session"].value if "_Panoptes_session" in cookies else None
        may_have = {
            "password": session in self.panoptes.cookies,
            "refresh_token": asked.get("refresh_token") in self.panoptes.refresh_tokens,
            "client_credentials": (asked.get("client_id"), asked.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET),
        }
        if not may_have[asked["grant_type"]]:
            raise _RefusedError(401, {"error": "invalid_grant", "error_description": "The grant is invalid."})
        made = {
            "access_token": self.panoptes.secret("bearer", self.panoptes.tokens),
            "token_type": "Bearer",
            "expires_in": self.panoptes.token_seconds,
        }
        if asked["grant_type"] != "client_credentials":
            made["refresh_token"] = self.panoptes.secret("refresh", self.panoptes.refresh_tokens)
        return 200, made, {}

    def check_token(self, accept: str = JSON_API) -> None:
        if self.headers.get("Accept") != accept:
            raise _refused(406, "not acceptable")
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.panoptes.tokens:
            raise _refused(401, "You must be logged in to access this resource.")

    # Subjects and their sets

    def subject_set(self, number: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        self.check_set(number)
        made = {"id": number, "display_name": "to ask", "metadata": {}, "links": {"project": PROJECT}}
        return 200, {"subject_sets": [made]}, {"ETag": "1"}

    def workflow(self, number: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        made = {"id": number, "configuration": {"a": 1}, "retirement": {"a": 1}, "tasks": {"T0": {}}, "links": {}}
        return 200, {"workflows": [made]}, {"ETag": "1"}

    def check_set(self, number: str) -> None:
        if number != SUBJECT_SET:
            raise _refused(404, f"Could not find subject_set with id='{number}'")

    def list_subjects(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        self.check_set(self.query["subject_set_id"])
        size, page = int(self.query["page_size"]), int(self.query.get("page", 1))
        shown = self.panoptes.members[(page - 1) * size : page * size]
        is_last = page * size >= len(self.panoptes.members)
        query = urlencode({**self.query, "page": page + 1})
        meta = {"page": page, "page_size": size, "next_href": None if is_last else f"/subjects?{query}"}
        subjects = [self.panoptes.subjects[number] for number in shown]
        listed = [
            {"id": s.id, "metadata": s.metadata, "locations": [{s.media_type: f"https://images.org/{s.id}"}]}
            for s in subjects
        ]
        return 200, {"subjects": listed, "meta": {"subjects": meta}}, {}

    def create_subject(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        asked = json.loads(content)["subjects"]
        if set(asked) - {"locations", "metadata", "links"} or asked["links"] != {"project": PROJECT}:
            raise _refused(422, "the subject does not fit the schema")
        number = str(next(self.panoptes.numbers))
        (media_type,) = asked["locations"]
        self.panoptes.subjects[number] = Subject(number, asked["metadata"], media_type)
        url = self.panoptes.signed(f"/store/{number}")
        made = {"id": number, "metadata": asked["metadata"], "locations": [{media_type: url}], "links": asked["links"]}
        return 201, {"subjects": [made]}, {"ETag": "1"}

    def upload(self, number: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        subject = self.panoptes.subjects[number]
        is_signed = self.query.get("signature") in self.panoptes.signatures
        if not is_signed or self.headers.get("x-ms-blob-type") != "BlockBlob":
            return 403, b"<Error>AuthenticationFailed</Error>", {}
        if self.headers.get("Content-Type") != subject.media_type or "Authorization" in self.headers:
            return 400, b"<Error>InvalidHeader</Error>", {}
        subject.image = content
        return 201, b"", {}

    def link(self, number: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        self.check_set(number)
        asked = json.loads(content)["subjects"]
        if any(subject not in self.panoptes.subjects for subject in asked):
            raise _refused(422, "Error: check the subject set and all the subjects exist.")
        if set(asked) & set(self.panoptes.members):
            raise _refused(500, "duplicate key value violates unique constraint")
        self.panoptes.members += asked
        return self.subject_set(number, content)

    def members(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        self.check_set(self.query["subject_set_id"])
        is_member = self.query["subject_id"] in self.panoptes.members
        found = [{"id": "1", "links": {"subject": self.query["subject_id"]}}] if is_member else []
        return 200, {"set_member_subjects": found, "meta": {"set_member_subjects": {"page": 1}}}, {}

    # Answers

    def make_export(self, number: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        self.panoptes.make_export()
        return 201, {"media": [{"id": "5", "metadata": {"state": "creating"}}]}, {}

    def describe_export(self, number: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token()
        if self.panoptes.export is None:
            raise _refused(404, f"No classifications_export exists for workflow #{number}")
        medium = {
            "id": "5",
            "src": self.panoptes.signed("/store/export.csv"),
            "metadata": {"state": self.panoptes.export_state},
            "updated_at": self.panoptes.export_made.isoformat().replace("+00:00", "Z"),
        }
        return 200, {"media": [medium]}, {}

    def export(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        if self.query.get("signature") not in self.panoptes.signatures:
            return 403, b"<Error>AuthenticationFailed</Error>", {}
        return 200, self.panoptes.export.encode(), {}

    def reductions(self, workflow: str, subject: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        self.check_token("application/json")
        if workflow != WORKFLOW:
            raise _refused(404, f"Couldn't find Workflow with 'id'={workflow}")
        return 200, self.panoptes.reductions(subject), {}

    def log_message(self, format: str, *args: object) -> None:
        pass

"""A local HTTP server in place of the Hugging Face hub. It can only send files and receive one commit."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_owner"


@dataclass
class HubServer:
    """The running server, as a test sees it.

    Attributes:
        url: of the hub, without a slash at the end.
        repositories: the files of each by its name `owner/name`, content by path; a test may change them.
        tags: earlier states of a repository, by its name and the name of the tag.
        private: names of the repositories that were made private.
        requests: method and path of all so far, in order.
        stored: large files by their SHA-256, before a commit names them.
        etags: ETag to send for a file, by its path, in place of its SHA-256.
        commits: commit to send for a repository, by its name, in place of the right one.
        faults: by the path of a file, what a download gets in place of it: other bytes, or an HTTP status.
    """

    url: str
    repositories: dict[str, dict[str, bytes]]
    tags: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    faults: dict[str, bytes | int] = field(default_factory=dict)

    def commit_of(self, repository: str) -> str:
        """Forty digits that name the state of a repository."""
        if repository in self.commits:
            return self.commits[repository]
        return _hash_of(self.repositories[repository])

    def state(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a revision: main, a tag, or a commit."""
        states = {"main": (self.commit_of(repository), self.repositories[repository])}
        states |= {tag: (_hash_of(files), files) for tag, files in self.tags.get(repository, {}).items()}
        return next((state for name, state in states.items() if revision in (name, state[0])), None)


def _hash_of(files: Mapping[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@contextmanager
def hub_server(repositories: Mapping[str, Mapping[str, bytes]] | None = None) -> Iterator[HubServer]:
    """Serve until the block ends. Files that end in .h5 or .keras are large, and go up by Git LFS."""
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http_server.daemon_threads = True
    copies = {name: dict(files) for name, files in (repositories or {}).items()}
    http_server.hub = HubServer(f"http://127.0.0.1:{http_server.server_port}", copies)
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield http_server.hub
    finally:
        http_server.shutdown()
        thread.join()
        http_server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    @property
    def hub(self) -> HubServer:
        return self.server.hub

    def parts(self) -> list[str]:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path))
        return unquote(path).strip("/").split("/")

    def do_HEAD(self) -> None:
        parts = self.parts()
        if parts[:2] == ["api", "models"]:
            repository = "/".join(parts[2:4])
            return self.answer({"id": repository, "private": repository in self.hub.private})
        owner, name, _, revision, *path = parts
        if f"{owner}/{name}" not in self.hub.repositories:
            return self.refuse(404, "RepoNotFound")
        if (state := self.hub.state(f"{owner}/{name}", revision)) is None:
            return self.refuse(404, "RevisionNotFound")
        commit, files = state
        content = files.get("/".join(path))
        if content is None:
            return self.refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        etag = self.hub.etags.get("/".join(path), hashlib.sha256(content).hexdigest())
        fault = self.hub.faults.get("/".join(path), content) if self.command == "GET" else content
        if isinstance(fault, int):
            return self.refuse(fault, "Fault")
        return self.send(fault, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    do_GET = do_HEAD

    def do_POST(self) -> None:
        parts = self.parts()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "Unauthorized")
        match parts:
            case ["api", "repos", "create"]:
                wanted = json.loads(body)
                repository = f"{wanted['organization']}/{wanted['name']}"
                if wanted["visibility"] == "private" and repository not in self.hub.repositories:
                    self.hub.private.add(repository)
                self.hub.repositories.setdefault(repository, {})
                return self.answer({"url": f"{self.hub.url}/{repository}"})
            case ["api", "validate-yaml"]:
                return self.answer({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", "main"]:
                files = [{"path": file["path"], "shouldIgnore": False} for file in json.loads(body)["files"]]
                for file in files:
                    file["uploadMode"] = "lfs" if file["path"].endswith((".h5", ".keras")) else "regular"
                return self.answer({"files": files})
            case [_, _, "info", "lfs", "objects", "batch"]:
                objects = json.loads(body)["objects"]
                for each in objects:
                    each["actions"] = {"upload": {"href": f"{self.hub.url}/large/{each['oid']}"}}
                return self.answer({"transfer": "basic", "objects": objects})
            case ["api", "models", owner, name, "commit", "main"]:
                self.commit(f"{owner}/{name}", [json.loads(line) for line in body.splitlines()])
                return self.answer({"commitUrl": f"{self.hub.url}/{owner}/{name}/commit/0", "commitOid": "0" * 40})
        return self.refuse(404, "EntryNotFound")

    def do_PUT(self) -> None:
        _, oid = self.parts()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if hashlib.sha256(content).hexdigest() != oid:
            return self.refuse(400, "BadContent")
        self.hub.stored[oid] = content
        return self.send(b"")

    def commit(self, repository: str, lines: list[dict]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.hub.repositories[repository][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.repositories[repository][value["path"]] = self.hub.stored[value["oid"]]

    def answer(self, content: object) -> None:
        self.send(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self.send(b"{}", {"X-Error-Code": code, **(headers or {})}, status)

    def send(self, content: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass

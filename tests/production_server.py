"""Local HTTP server in place of Galaxy Zoo's production: Caesar posts reductions to it, and jobs read from it.

It keeps reductions as KaDE does, exports the training catalogue and the manifest, serves the images of subjects with
faults on request, and moves subjects by their predictions.
"""

import csv
import io
import json
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from zoobot3d_tf.active_learning.extractors import LABELS_KEY, PREFIXES_KEY, SUFFIX_KEY, votes_of_reduction

THRESHOLD, RANDOM_SHARE = 0.8, 0.2
EXTRACTOR = "galaxy_zoo_euclid_"


@dataclass
class Production:
    """The state of the services.

    Attributes:
        config: extractor configuration of the workflow.
        images: content of the images by the id of the subject.
        faults: HTTP statuses of the next requests for an image, by subject.
        files: folder in which a training job finds the images.
        reductions: votes by workflow, subject and task.
        ids: `id_str` of each subject.
        pool: subjects to predict.
        active: subjects that volunteers see.
        requests: paths of the requests for images.
        url: address of the server.
    """

    config: Mapping[str, Any]
    images: Mapping[str, bytes]
    faults: Mapping[str, Iterable[int]]
    files: str
    reductions: dict[tuple[str, str, str], dict[str, int]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    pool: list[str] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.faults = {subject: iter(statuses) for subject, statuses in self.faults.items()}

    def add_reduction(self, key: str, posted: Mapping[str, Any]) -> None:
        """Keep a reduction; a later one replaces an earlier one of the same workflow, subject and task."""
        reduction, task = posted["reduction"], key.removeprefix(EXTRACTOR).upper()
        subject = reduction["subject"]
        place = str(reduction["reducible"]["id"]), str(subject["id"]), task
        self.reductions[place] = votes_of_reduction(self.config, task, reduction["data"])
        self.ids[place[1]] = subject["metadata"]["#name"]

    def training_csv(self) -> str:
        """Training catalogue: one row per subject, 0 where a question has no reduction."""
        columns = [
            f"{prefix}-{self.config[SUFFIX_KEY]}_{label}"
            for task, prefix in self.config[PREFIXES_KEY].items()
            for label in self.config[LABELS_KEY][task].values()
        ]
        rows: dict[str, dict[str, Any]] = {}
        for (_, subject, _), votes in self.reductions.items():
            row = {"id_str": self.ids[subject], "file_loc": f"{self.files}/{subject}.png"}
            rows[subject] = rows.get(subject, row) | votes
        text = io.StringIO()
        writer = csv.DictWriter(text, ["id_str", "file_loc", *columns], restval=0)
        writer.writeheader()
        writer.writerows(rows.values())
        return text.getvalue()

    def manifest(self) -> str:
        """Manifest of the pool."""
        return json.dumps(
            [
                [
                    f"{self.url}/images/{subject}.png",
                    json.dumps({"project_id": "1", "subject_set_id": "2", "subject_id": subject, "frame_id": "0"}),
                ]
                for subject in self.pool
            ]
        )

    def process(self, results: Mapping[str, Any]) -> None:
        """Move subjects: those above the threshold become active, the others leave, except a random fifth as many."""
        assert results["schema"]["type"] == "zooniverse/subject_assistant"
        over = [subject for subject, samples in results["data"].items() if samples["0"][0] >= THRESHOLD]
        under = [subject for subject, samples in results["data"].items() if samples["0"][0] < THRESHOLD]
        spice = random.Random(0).sample(under, min(len(under), int(RANDOM_SHARE * len(over))))
        self.active = (self.active | set(over) | set(spice)) - (set(under) - set(spice))


@contextmanager
def production_server(production: Production) -> Iterator[Production]:
    """Serve on the loopback address until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.production = production
    production.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield production
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        production: Production = self.server.production
        if self.path == "/training.csv":
            self.answer(200, production.training_csv().encode())
        elif self.path == "/manifest.json":
            self.answer(200, production.manifest().encode())
        else:
            subject = self.path.removeprefix("/images/").removesuffix(".png")
            production.requests.append(subject)
            status = next(production.faults.get(subject, iter(())), 200 if subject in production.images else 404)
            self.answer(status, production.images.get(subject, b"") if status == 200 else b"fault")

    def do_POST(self) -> None:
        production: Production = self.server.production
        posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith("/reductions/"):
            production.add_reduction(self.path.removeprefix("/reductions/"), posted)
        else:
            production.process(posted)
        self.answer(200, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass

"""The live oracle: the official client uploads to a stand-in server, whose volunteers answer."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import traceback
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from panoptes_server import CREDENTIALS, SUBJECT_SET, WORKFLOW, panoptes_server
from PIL import Image

pytest.importorskip("panoptes_client", reason="the extra [active] is not installed")
pytest.importorskip("keyring", reason="the extra [active] is not installed")

from zoobot3d_tf.active_learning import zooniverse_client
from zoobot3d_tf.active_learning.panoptes import JOURNAL_NAME, PanoptesOptions, PanoptesOracle, read_upload
from zoobot3d_tf.images.image_file import ImageError
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.surveys import download

SCHEMA = Schema(
    {"smooth-or-featured": ["_smooth", "_featured"], "bar": ["_yes", "_no"]},
    {"smooth-or-featured": None, "bar": "smooth-or-featured_featured"},
)
SOURCES = ["reductions", "classifications"]
FAULTS = ["500", "429 retry-after 1", "lost", "lost midway", "done but 500", "done but lost", "answer lost midway"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(zooniverse_client, "sleep", pauses.append)
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
    monkeypatch.setattr("panoptes_client.exportable.time", SimpleNamespace(sleep=pauses.append))


@pytest.fixture
def server(monkeypatch):
    with panoptes_server() as server:
        server.log_in(monkeypatch)
        yield server


@pytest.fixture
def galaxies(tmp_path):
    """Four galaxies with images, and a label that volunteers must not see."""
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"J{number}.png")
    return pd.DataFrame(
        {
            "id_str": [f"J{number}" for number in range(4)],
            "file_loc": [str(tmp_path / f"J{number}.png") for number in range(4)],
            "ra": [10.5, 11.5, np.nan, 12.5],
            "secret_label": [1, 0, 1, 0],
        }
    )


@pytest.fixture
def make(tmp_path):
    """Function that makes an oracle, always in the same folder, as a new process would."""
    (tmp_path / "tasks.yaml").write_text("tasks: {T0: smooth-or-featured, T1: bar}")

    def make(source="reductions", n_votes=3, **more):
        options = {"subject_set": SUBJECT_SET, "workflow": WORKFLOW, "tasks_loc": str(tmp_path / "tasks.yaml")}
        return PanoptesOracle(
            PanoptesOptions(**options | {"n_votes": n_votes, "source": source, "max_failed": 1.0} | more),
            SCHEMA,
            tmp_path / "oracle",
        )

    return make


def let_volunteers_answer(server, id_str, n_smooth, n_featured):
    for number in range(n_smooth):
        server.classify(id_str, f"volunteer-{number}", {"T0": "smooth"})
    for number in range(n_smooth, n_smooth + n_featured):
        server.classify(id_str, f"volunteer-{number}", {"T0": "featured", "T1": "yes"})


@pytest.mark.parametrize("source", SOURCES)
def test_galaxies_are_uploaded_classified_and_downloaded(server, galaxies, make, source):
    oracle = make(source)
    oracle.ask(galaxies)
    assert server.asked() == list(galaxies["id_str"])
    for id_str, file_loc in zip(galaxies["id_str"], galaxies["file_loc"], strict=True):
        with open(file_loc, "rb") as file:
            assert server.subject_of(id_str).image == file.read()
    assert server.subject_of("J0").metadata == {"id_str": "J0", "ra": "10.5"}
    assert server.subject_of("J2").metadata == {"id_str": "J2"}
    let_volunteers_answer(server, "J2", 1, 3)
    let_volunteers_answer(server, "J1", 2, 0)  # not complete
    let_volunteers_answer(server, "J0", 4, 0)
    answers = oracle.answers(["J0", "J1", "J2", "J3", "unknown"])
    assert list(answers.columns) == ["id_str", *SCHEMA.label_cols]
    assert answers.to_numpy().tolist() == [["J0", 4, 0, 0, 0], ["J2", 1, 3, 3, 0]]


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_answered_before_the_first_classification(server, galaxies, make, source):
    oracle = make(source)
    assert oracle.answers(["J0"]).empty
    oracle.ask(galaxies)
    answers = oracle.answers(["J0", "J1"])
    assert answers.empty
    assert list(answers.columns) == ["id_str", *SCHEMA.label_cols]


def test_complete_answers_are_not_fetched_again(server, galaxies, make):
    make().ask(galaxies)
    let_volunteers_answer(server, "J0", 3, 0)
    make().answers(["J0"])
    let_volunteers_answer(server, "J0", 0, 9)
    before = len(server.requests)
    assert make().answers(["J0"])["smooth-or-featured_smooth"].item() == 3
    assert len(server.requests) == before


def test_a_galaxy_is_asked_once(server, galaxies, make):
    make().ask(galaxies[:2])
    before = len(server.requests)
    make().ask(galaxies[:2])
    assert len(server.requests) == before
    make().ask(galaxies)
    assert server.asked() == list(galaxies["id_str"])


def test_subjects_of_the_set_are_known_by_their_metadata(server, galaxies, make, tmp_path, monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.active_learning.panoptes._AT_ONCE", 2)  # the set has two pages
    make().ask(galaxies)
    let_volunteers_answer(server, "J0", 3, 0)
    (tmp_path / "oracle" / JOURNAL_NAME).unlink()
    make().ask(galaxies)
    assert server.asked() == list(galaxies["id_str"])
    assert list(make().answers(["J0"])["id_str"]) == ["J0"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("route", ["list subjects", "create subject", "upload", "link"])
def test_a_fault_neither_loses_nor_repeats_a_question(server, galaxies, make, route, fault):
    server.faults[route] = iter([fault])
    make().ask(galaxies)
    assert server.asked() == list(galaxies["id_str"])
    assert all(server.subject_of(id_str).image for id_str in galaxies["id_str"])


@pytest.mark.parametrize("fault", FAULTS[:4])
def test_uploads_that_always_fail_stop_the_run_which_goes_on_where_it_was(server, galaxies, make, fault):
    make().ask(galaxies[:1])
    server.faults["upload"] = iter([fault] * download.TRIES * 3)
    with pytest.raises(OSError, match=r"/store/.* failed 5 times"):
        make().ask(galaxies)
    assert server.asked() == ["J0"]
    make().ask(galaxies)
    assert server.asked() == list(galaxies["id_str"])
    assert all(server.subjects[subject].image for subject in server.members)


@pytest.mark.parametrize("fault", FAULTS[:4])
def test_uploaded_images_are_not_uploaded_again_if_they_cannot_be_asked(server, galaxies, make, fault):
    server.faults["link"] = iter([fault] * 20)
    with pytest.raises(OSError, match="/links/subjects failed"):
        make().ask(galaxies)
    assert server.asked() == []
    server.faults.clear()
    make().ask(galaxies)
    assert server.asked() == list(galaxies["id_str"])
    assert len(server.subjects) == len(galaxies)


def test_subjects_that_were_uploaded_before_a_failure_are_asked(server, galaxies, make):
    server.faults["create subject"] = iter(["", "", *["500"] * download.TRIES])
    with pytest.raises(OSError, match="/api/subjects failed 5 times"):
        make().ask(galaxies)
    assert server.asked() == ["J0", "J1"]


def test_an_expired_token_is_renewed_in_the_middle(server, galaxies, make):
    for route in ("create subject", "link", "list subjects"):
        server.faults[route] = iter(["", "expired"] if route == "create subject" else ["expired"])
    make().ask(galaxies)
    assert server.asked() == list(galaxies["id_str"])
    assert server.requests.count("sign in") == 4


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fault", [*FAULTS[:3], "done but lost", "answer lost midway"])
def test_answers_arrive_in_spite_of_faults(server, galaxies, make, source, fault):
    make().ask(galaxies)
    let_volunteers_answer(server, "J0", 3, 0)
    for route in ("reductions", "make export", "describe export", "export", "workflow"):
        server.faults[route] = iter([fault])
    assert list(make(source).answers(["J0", "J1"])["id_str"]) == ["J0"]


def test_an_export_is_used_again_until_it_is_too_old(server, galaxies, make):
    make().ask(galaxies)
    let_volunteers_answer(server, "J0", 3, 0)
    assert len(make("classifications").answers(["J0", "J1"])) == 1
    let_volunteers_answer(server, "J1", 3, 0)
    assert len(make("classifications").answers(["J0", "J1"])) == 1
    server.export_made -= timedelta(hours=25)
    assert len(make("classifications").answers(["J0", "J1"])) == 2
    assert server.requests.count("make export") == 2


def test_an_export_that_is_not_ready_is_named(server, galaxies, make):
    make().ask(galaxies)
    server.make_export()
    server.export_state = "creating"
    with pytest.raises(OSError, match="classifications_export not ready"):
        make("classifications", export_wait=0.05).answers(["J0"])


def test_an_image_that_cannot_be_used_is_left_out_and_listed(server, galaxies, make, tmp_path):
    (tmp_path / "J1.png").write_bytes(b"no image")
    make().ask(galaxies)
    assert server.asked() == ["J0", "J2", "J3"]
    failed = pd.read_csv(tmp_path / "oracle" / "failed.csv")
    assert list(failed["id_str"]) == ["J1"]
    assert "J1.png" in failed["reason"].item()
    with pytest.raises(ValueError, match=r"1 of 4 galaxies failed.*J1.png"):
        make(max_failed=0.0).ask(galaxies)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "J1.png")
    with pytest.raises(ValueError, match="every pixel"):
        make(max_failed=0.0).ask(galaxies)
    (tmp_path / "J1.png").write_bytes((tmp_path / "J0.png").read_bytes())
    make().ask(galaxies)
    assert server.asked() == ["J0", "J2", "J3", "J1"]
    assert not (tmp_path / "oracle" / "failed.csv").exists()


def test_an_image_that_the_store_refuses_is_not_asked(server, galaxies, make, tmp_path):
    server.faults["upload"] = iter(["413"])
    make().ask(galaxies[:1])
    assert server.asked() == []
    assert "HTTP status 413" in pd.read_csv(tmp_path / "oracle" / "failed.csv")["reason"].item()


def test_files_for_volunteers_are_png_or_jpeg(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    assert read_upload(tmp_path / "a.jpg") == ((tmp_path / "a.jpg").read_bytes(), "image/jpeg")
    fluxes = np.random.default_rng(0).normal(0, 0.01, (3, 40, 40)).astype(np.float32)
    fits.writeto(tmp_path / "a.fits", fluxes)
    content, media_type = read_upload(tmp_path / "a.fits")
    assert media_type == "image/png"
    assert content.startswith(b"\x89PNG")
    with pytest.raises(ImageError, match=r"missing\.png"):
        read_upload(tmp_path / "missing.png")


def test_a_killed_process_asks_nothing_twice(server, galaxies, make, tmp_path):
    script = textwrap.dedent(f"""
        import pandas as pd
        from zoobot3d_tf.active_learning.panoptes import PanoptesOptions, PanoptesOracle
        from zoobot3d_tf.schemas import Schema
        schema = Schema.from_dict({SCHEMA.to_dict()!r})
        options = PanoptesOptions("{SUBJECT_SET}", "{WORKFLOW}", {str(tmp_path / "tasks.yaml")!r}, 3)
        PanoptesOracle(options, schema, {str(tmp_path / "oracle")!r}).ask(pd.read_csv({str(tmp_path / "all.csv")!r}))
    """)
    galaxies.to_csv(tmp_path / "all.csv", index=False)
    for route in ("create subject", "upload", "link"):
        process = subprocess.Popen([sys.executable, "-c", script], env=os.environ)

        def kill(done, route=route, process=process):
            if done == route:
                process.kill()

        server.when_done = kill
        assert process.wait(timeout=120) == -signal.SIGKILL
    server.when_done = lambda route: None
    make().ask(galaxies)
    assert sorted(server.asked()) == list(galaxies["id_str"])
    assert all(server.subject_of(id_str).image for id_str in galaxies["id_str"])


@pytest.mark.parametrize("name", ["PANOPTES_USERNAME", "PANOPTES_CLIENT_ID"])
def test_no_credential_is_written_or_logged(server, galaxies, make, tmp_path, monkeypatch, caplog, capfd, name):
    server.log_in(monkeypatch, name)
    caplog.set_level(logging.DEBUG)
    for logger in ("panoptes_client", "zoobot3d_tf"):
        caplog.set_level(logging.DEBUG, logger)
    errors = []

    def run(function, *args):
        try:
            return function(*args)
        except OSError as error:
            errors.append("".join(traceback.format_exception(error)))

    for route in ("create subject", "upload", "link", "reductions", "export"):
        for fault in ("expired", "500", "lost"):
            server.faults[route] = iter([fault] * download.TRIES)
            run(make().ask, galaxies)
            run(make("reductions").answers, ["J0", "J1"])
            run(make("classifications").answers, ["J0", "J1"])
            server.faults.clear()
    server.forget_tokens()
    make().ask(galaxies)
    let_volunteers_answer(server, "J0", 3, 0)
    make().answers(["J0"])
    let_volunteers_answer(server, "J1", 3, 0)
    server.export_made -= timedelta(days=2)
    assert len(make("classifications").answers(["J0", "J1"])) == 2
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    captured = capfd.readouterr()
    said = "\n".join([caplog.text, captured.out, captured.err, *errors])
    assert errors
    assert "panoptes_client" in caplog.text  # the client speaks, but not of secrets
    assert len(server.secrets) > 20
    for secret in server.secrets | {CREDENTIALS["PANOPTES_PASSWORD"], CREDENTIALS["PANOPTES_CLIENT_SECRET"]}:
        assert secret not in said
        assert not any(secret.encode() in content for content in written)
    assert not any(b"volunteer-0" in content for content in written)


def test_faulty_options_are_named(make, tmp_path, server, monkeypatch):
    for name, value in {
        "subject_set": "my set",
        "n_votes": 0,
        "source": "talk",
        "metadata": ("id_str",),
        "export_wait": 0.0,
        "max_failed": 2.0,
    }.items():
        with pytest.raises(ValueError, match=name):
            make(**{name: value})
    (tmp_path / "tasks.yaml").write_text("workflow: 44\ntasks: {T0: smooth-or-featured}")
    with pytest.raises(ValueError, match=r"tasks.yaml: is for workflow 44"):
        make()
    (tmp_path / "tasks.yaml").write_text("tasks: {T0: colour}")
    with pytest.raises(ValueError, match="colour"):
        make()
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"zoobot3d_tf\[active\]"):
        make()
    assert server.requests == []


def test_a_table_without_images_is_refused(make, galaxies, server):
    with pytest.raises(ValueError, match="file_loc"):
        make().ask(galaxies.drop(columns="file_loc"))
    with pytest.raises(ValueError, match="J0 is there twice"):
        make().ask(galaxies.iloc[[0, 0]])
    assert server.requests == []

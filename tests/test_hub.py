"""Run folders on the hub, with a local server in its place: uploads, downloads, model cards and errors."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hub_server import hub_server
from prediction_runs import DECALS, make_run

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models import ModelConfig
from zoobot3d_tf.models.timm_files import find_timm_weights
from zoobot3d_tf.runs.calibration import Calibration, read_calibration, write_calibration
from zoobot3d_tf.runs.hub import from_hub, model_card, push_to_hub
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, HISTORY_NAME, MODEL_NAME, WEIGHTS_NAME, config_for_others, read_run

pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
ROOT = Path(__file__).resolve().parents[1]
HISTORY = "epoch,loss,val_loss,val_bar_mask_iou\n1,9.0,9.5,0.1\n2,8.0,8.25,0.625\n3,7.0,8.5,0.3\n"


@pytest.fixture
def run(tmp_path):
    """A finished run folder, with files that must not be published."""
    folder = make_run(tmp_path / "run")
    (folder / MODEL_NAME).write_bytes(b"the model")
    (folder / HISTORY_NAME).write_text(HISTORY)
    for private in ("checkpoints/best.weights.h5", "tensorboard/train/events", "notes.txt"):
        (folder / private).parent.mkdir(parents=True, exist_ok=True)
        (folder / private).write_bytes(b"private")
    return folder


def test_run_is_published_with_a_card_and_without_checkpoints(hub, run):
    assert push_to_hub(run, "owner/galaxies") == f"{hub.url}/owner/galaxies"
    published = hub.repositories["owner/galaxies"]
    assert set(published) == {CONFIG_NAME, MODEL_NAME, WEIGHTS_NAME, HISTORY_NAME, "README.md"}
    for name in (MODEL_NAME, WEIGHTS_NAME, HISTORY_NAME):
        assert published[name] == (run / name).read_bytes()
    assert published[CONFIG_NAME].decode() == config_for_others(read_run(run))
    assert published["README.md"].decode() == model_card(read_run(run), "owner/galaxies")
    assert not (run / "README.md").exists()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/me/zoobot.pt", "zoobot.pt"),
        ("../home/me/zoobot.pt", "zoobot.pt"),
        ("~/home/me/zoobot.pt", "zoobot.pt"),
        ("hf://owner/name@v1", "hf://owner/name@v1"),
        ("imagenet-lite0", "imagenet-lite0"),
    ],
)
def test_no_path_of_this_machine_is_published(hub, run, source, name):
    config = json.loads((run / CONFIG_NAME).read_text())
    own = {"train_dirs": ["/home/me/shards/train_shards"], "eval_dirs": ["/home/me/shards/eval_shards"]}
    own["encoder_weights"] = {"source": source, "sha256": "0" * 64}
    (run / CONFIG_NAME).write_text(json.dumps(config | {"training": own}))
    push_to_hub(run, "owner/galaxies")
    published = hub.repositories["owner/galaxies"][CONFIG_NAME]
    assert b"home/me" not in published
    assert json.loads(published)["training"] == {
        "train_dirs": ["train_shards"],
        "eval_dirs": ["eval_shards"],
        "encoder_weights": {"source": name, "sha256": "0" * 64},
    }


def test_a_private_repository_is_made_and_a_public_one_is_not_taken_for_it(hub, run):
    push_to_hub(run, "owner/mine", private=True)
    assert hub.private == {"owner/mine"}
    push_to_hub(run, "owner/mine", private=True)
    hub.repositories["owner/public"] = {}
    with pytest.raises(ValueError, match="hf://owner/public is public"):
        push_to_hub(run, "owner/public", private=True)
    assert hub.repositories["owner/public"] == {}


def test_a_revision_is_read_and_a_missing_one_is_named(hub, run):
    push_to_hub(run, "owner/galaxies")
    published = dict(hub.repositories["owner/galaxies"])
    hub.tags["owner/galaxies"] = {"v1.0": published}
    hub.repositories["owner/galaxies"][WEIGHTS_NAME] = b"better"
    assert (from_hub("hf://owner/galaxies") / WEIGHTS_NAME).read_bytes() == b"better"
    tagged = from_hub("hf://owner/galaxies@v1.0")
    assert (tagged / WEIGHTS_NAME).read_bytes() == published[WEIGHTS_NAME]
    assert read_run(Path(f"hf://owner/galaxies@{tagged.name}")).folder == tagged
    with pytest.raises(OSError, match=r"^hf://owner/galaxies: .*no such revision"):
        from_hub("hf://owner/galaxies@v2")
    with pytest.raises(ValueError, match=r"omit @v1\.0"):
        push_to_hub(run, "owner/galaxies@v1.0")


def test_own_card_is_published_unchanged(hub, run):
    (run / "README.md").write_text("---\nlicense: gpl-3.0\n---\nMine, with ¡accents!", encoding="utf-8")
    push_to_hub(run, "hf://owner/galaxies")
    assert hub.repositories["owner/galaxies"]["README.md"] == (run / "README.md").read_bytes()


def test_downloaded_run_is_the_published_run(hub, run):
    push_to_hub(run, "owner/galaxies")
    hub.requests.clear()
    fetched = read_run("hf://owner/galaxies")
    assert {path.rsplit("/", 1)[1] for method, path in hub.requests if method == "GET"} == {CONFIG_NAME, WEIGHTS_NAME}
    assert fetched.folder.name == hub.commit_of("owner/galaxies")
    assert (fetched.model, fetched.framing) == (read_run(run).model, read_run(run).framing)
    assert sha256_of(fetched.weights_loc) == sha256_of(run / WEIGHTS_NAME)
    assert read_run(Path("hf://owner/galaxies")).folder == from_hub("owner/galaxies") == fetched.folder


def test_the_calibration_goes_up_and_down_with_the_weights(hub, run):
    factors = {question.text: 0.5 for question in DECALS.questions}
    fitted = Calibration(factors, {}, sha256_of(run / WEIGHTS_NAME), 100, 5, "eval_shards", "0.1")
    write_calibration(run, fitted)
    push_to_hub(run, "owner/galaxies")
    assert read_calibration(read_run("hf://owner/galaxies")) == fitted
    (run / WEIGHTS_NAME).write_bytes(b"weights of a longer training")
    with pytest.raises(ValueError, match=r"calibration\.json: .*other weights"):
        push_to_hub(run, "owner/galaxies")


def test_files_in_the_cache_are_used_without_a_network(hub, run, monkeypatch):
    from huggingface_hub import constants

    push_to_hub(run, "owner/galaxies")
    folder = from_hub("hf://owner/galaxies")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert from_hub("hf://owner/galaxies") == folder
    with pytest.raises(OSError, match=r"^hf://owner/others: .*cannot be reached.*config\.json"):
        from_hub("hf://owner/others")


def test_all_files_of_a_new_commit_are_downloaded(hub, run):
    push_to_hub(run, "owner/galaxies")
    before = from_hub("hf://owner/galaxies")
    hub.repositories["owner/galaxies"][WEIGHTS_NAME] = b"better"
    after = from_hub("hf://owner/galaxies")
    assert (after / WEIGHTS_NAME).read_bytes() == b"better"
    assert (before / WEIGHTS_NAME).read_bytes() == (run / WEIGHTS_NAME).read_bytes()


@pytest.mark.parametrize("etag", ["../../../stolen", "/tmp/stolen", "..\\..\\stolen", "0" * 4000, ""])
def test_the_etag_of_the_server_names_no_file(hub, run, tmp_path, etag):
    push_to_hub(run, "owner/galaxies")
    hub.etags = {CONFIG_NAME: etag, WEIGHTS_NAME: etag}
    folder = from_hub("owner/galaxies")
    assert (folder / WEIGHTS_NAME).read_bytes() == (run / WEIGHTS_NAME).read_bytes()
    written = {path for path in tmp_path.rglob("*") if path.is_file() and run not in path.parents}
    assert written == {folder / CONFIG_NAME, folder / WEIGHTS_NAME, folder.parents[1] / "refs" / "main"}


@pytest.mark.parametrize("commit", ["../../..", "main", "", "0" * 39, "g" * 40])
def test_a_server_that_states_no_commit_is_refused(hub, run, tmp_path, commit):
    push_to_hub(run, "owner/galaxies")
    hub.commits["owner/galaxies"] = commit
    with pytest.raises(OSError, match=r"^hf://owner/galaxies: config\.json: .*commit"):
        from_hub("owner/galaxies")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["SHA-256", "git"])
def test_a_file_that_differs_from_what_the_hub_states_is_refused(hub, run, tmp_path, kind):
    push_to_hub(run, "owner/galaxies")
    whole = (run / WEIGHTS_NAME).read_bytes()
    if kind == "git":
        hub.etags[WEIGHTS_NAME] = hashlib.sha1(b"blob %d\0%b" % (len(whole), whole)).hexdigest()
    hub.faults[WEIGHTS_NAME] = bytes(reversed(whole))
    with pytest.raises(OSError, match=rf"^hf://owner/galaxies: {WEIGHTS_NAME} is not the file .* hash"):
        from_hub("owner/galaxies")
    assert not list((tmp_path / "cache").rglob(f"*{WEIGHTS_NAME}"))
    hub.faults.clear()
    assert (from_hub("owner/galaxies") / WEIGHTS_NAME).read_bytes() == whole


def test_a_file_of_another_length_is_refused(hub, run, tmp_path):
    push_to_hub(run, "owner/galaxies")
    hub.faults[WEIGHTS_NAME] = (run / WEIGHTS_NAME).read_bytes() + b"more"
    with pytest.raises(OSError, match=rf"^hf://owner/galaxies: {WEIGHTS_NAME} cannot be downloaded: .*size"):
        from_hub("owner/galaxies")
    assert not list((tmp_path / "cache").rglob(f"*{WEIGHTS_NAME}"))


def test_a_failed_download_of_tensors_names_them_and_the_error(hub):
    zoobot = json.dumps({"architecture": "efficientnet_b0"}).encode()
    hub.repositories["owner/encoder"] = {CONFIG_NAME: zoobot, "model.safetensors": b"tensors"}
    hub.faults["model.safetensors"] = 500
    with pytest.raises(OSError, match=r"^hf://owner/encoder: model\.safetensors cannot be downloaded: .*500"):
        find_timm_weights("hf://owner/encoder")
    del hub.repositories["owner/encoder"]["model.safetensors"]
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        find_timm_weights("hf://owner/encoder")
    hub.repositories["owner/encoder"]["pytorch_model.bin"] = b"tensors"
    assert find_timm_weights("hf://owner/encoder").path.name == "pytorch_model.bin"


def test_a_server_with_a_fault_leaves_the_files_of_the_cache_in_use(hub, run, monkeypatch):
    push_to_hub(run, "owner/galaxies")
    folder = from_hub("owner/galaxies")
    hub.commits["owner/galaxies"] = folder.name
    hub.repositories["owner/galaxies"] = {}
    monkeypatch.setattr(type(hub), "commit_of", lambda *args: 1 / 0)  # the server breaks the connection
    assert from_hub("owner/galaxies") == folder


@pytest.mark.parametrize(
    "name",
    [
        "hf://owner",
        "owner",
        "hf://a/b@",
        "hf://a/b@../c",
        "a/b@x/../y",
        "hf://../etc",
        "hf://owner/..",
        "hf://a/b/c",
        "hf:///etc/passwd",
        "a/b\nc",
        "",
        "/a/b",
    ],
)
def test_names_that_are_not_of_repositories_are_refused(name):
    with pytest.raises(ValueError, match=r"write hf://owner/name\b"):
        from_hub(name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b'{"architecture": "efficientnet_b0"}', "format_version"),
        (b'{"format_version": 99}', "99.* 1"),
        (b"not json", "Expecting value"),
        (b"\xff\xfe", "can't decode"),
        (b"[1, 2]", "JSON object"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_foreign_configuration_is_refused_before_the_weights_are_downloaded(hub, config, words):
    hub.repositories["owner/foreign"] = {CONFIG_NAME: config, WEIGHTS_NAME: b"large"}
    with pytest.raises(ValueError, match=rf"^hf://owner/foreign/config\.json .*{words}"):
        from_hub("hf://owner/foreign")
    assert not [path for _, path in hub.requests if path.endswith(WEIGHTS_NAME)]


def test_missing_repositories_and_files_are_named(hub, run):
    with pytest.raises(OSError, match=r"^hf://owner/none: no such repository.*`hf auth login`"):
        from_hub("hf://owner/none")
    hub.repositories["owner/half"] = {CONFIG_NAME: (run / CONFIG_NAME).read_bytes()}
    with pytest.raises(OSError, match=rf"^hf://owner/half: .*{WEIGHTS_NAME}$"):
        from_hub("hf://owner/half")


def test_a_refused_upload_names_the_login(hub, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(OSError, match=r"^hf://owner/galaxies: .*401.*`hf auth login`"):
        push_to_hub(run, "owner/galaxies")
    assert not hub.repositories


def test_unfinished_run_is_not_published(hub, run):
    (run / WEIGHTS_NAME).unlink()
    with pytest.raises(ValueError, match=r"model\.weights\.h5.*unfinished"):
        push_to_hub(run, "owner/galaxies")
    assert not hub.requests


def test_missing_library_is_named_with_the_command_to_install_it(run, monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    for action in (lambda: from_hub("hf://a/b"), lambda: push_to_hub(run, "a/b")):
        with pytest.raises(ImportError, match=r"huggingface_hub.*pip install 'zoobot3d_tf\[hub\]'"):
            action()


def test_weights_that_refer_to_other_files_are_refused(tmp_path, monkeypatch):
    import h5py
    import keras

    from zoobot3d_tf import models

    run = read_run(make_run(tmp_path / "run", tasks=("votes",)))
    secret = tmp_path / "secret.bin"
    model = models.build_model(run.model)
    monkeypatch.setattr(models, "build_model", lambda config: model)
    model.save_weights(run.weights_loc)
    kernel = model.get_layer("vote_head").get_layer("sigmoid").kernel
    secret.write_bytes(b"\0" * 4 * int(keras.ops.size(kernel)))
    with h5py.File(run.weights_loc, "r+") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if getattr(item, "shape", None) == kernel.shape else None)
        del file[found[0]]
        file.create_dataset(found[0], kernel.shape, "float32", external=[(str(secret), 0, secret.stat().st_size)])
    with pytest.raises(ValueError, match=r"model\.weights\.h5: .*external"):
        run.load_model()


def test_card_has_the_facts_of_the_run(run):
    card = model_card(read_run(run), "owner/galaxies")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "gpl-3.0"
    assert "galaxy-zoo" in front["tags"]
    assert "zoobot3d predict --checkpoint-dir hf://owner/galaxies" in card
    assert read_run(run).framing_in_words in card
    assert sha256_of(run / WEIGHTS_NAME) in card
    assert "votes on the 34 answers below, and masks of the spiral arms and the bar" in card
    assert "how-rounded: round, in-between, cigar-shaped" in card
    assert "| `bar_mask_iou` | 0.625 |" in card
    assert "epoch 2 of 3" in card
    assert "| `loss` | 8.25 |" in card


def test_card_of_masks_only(tmp_path):
    card = model_card(read_run(make_run(tmp_path / "run", tasks=("bar_mask",))), "owner/bars")
    assert "masks of the bar" in card
    assert "## Questions: none\n\nThe model has no votes." in card
    assert "pipeline_tag: image-segmentation" in card
    assert "Not recorded." in card


def test_card_of_a_fine_tuning_counts_the_epochs_of_its_stage(run):
    rows = "head,1,0.6,0.7\nhead,2,0.5,0.8\nhead,3,0.4,0.9\nblocks,1,0.3,0.85\nblocks,2,0.35,0.8\n"
    (run / HISTORY_NAME).write_text("stage,epoch,val_loss,val_accuracy\n" + rows)
    label = Label("ring", "binary", counts=(6, 2))
    card = model_card(replace(read_run(run), model=ModelConfig(None, 32, tasks=("label",), label=label)), "owner/rings")
    assert "epoch 1 of 2 of the stage blocks" in card
    assert "| `accuracy` | 0.85 |" in card
    assert "`accuracy` weight all classes equally" in card
    assert "classes equally" not in model_card(read_run(run), "owner/galaxies")


def test_card_names_the_papers_of_the_citation_file(run):
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    card = model_card(read_run(run), "owner/galaxies")
    for reference in cited["references"]:
        assert f"https://doi.org/{reference['doi']}" in card
    assert cited["license"] in card


def test_a_run_is_downloaded_without_tensorflow_from_the_hub_of_the_environment(run, tmp_path):
    with hub_server(
        {"owner/galaxies": {name: (run / name).read_bytes() for name in (CONFIG_NAME, WEIGHTS_NAME)}}
    ) as hub:
        code = (
            "import sys\nfrom zoobot3d_tf.runs.run_folder import read_run\n"
            "print(read_run('hf://owner/galaxies').weights_loc)\nassert 'tensorflow' not in sys.modules"
        )
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == (run / WEIGHTS_NAME).read_bytes()

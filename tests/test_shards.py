"""Shards: stored galaxies are read back unchanged, equal input gives equal bytes, and errors name their cause."""

import hashlib
import io
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from astropy.io import fits
from PIL import Image

from zoobot3d_tf.files import one_owner
from zoobot3d_tf.images.read import read_image, resize_image
from zoobot3d_tf.images.stretch import STRETCHES
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import Manifest, check_shards, read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records, read_records
from zoobot3d_tf.shards.record import Record, encode_image, encode_mask, parse, serialise
from zoobot3d_tf.shards.split import split_by_hash
from zoobot3d_tf.shards.write import create_shards

RINGS = get_schema("rings")
N_GALAXIES = 40
SMALL = ShardOptions(img_size=32, eval_size=0.25, shard_size=4)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """Forty galaxies of noise: every 4th has no votes, every 2nd a spiral mask, every 10th an empty bar mask."""
    folder = tmp_path_factory.mktemp("survey")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(N_GALAXIES):
        Image.fromarray(rng.integers(0, 256, (32, 33, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        row = {"id_str": f"{i:04d}", "file_loc": f"{i}.png", "ring_yes": i, "ring_no": 1, "ra": 100 + i / 3, "dec": -i}
        if i % 4 == 0:
            row |= {"ring_yes": None, "ring_no": None}
        if i % 2 == 0:
            Image.fromarray(np.full((32, 33), i % 12, np.uint8)).save(folder / f"{i}_spiral.png")
            row |= {"spiral_mask_loc": f"{i}_spiral.png", "n_volunteers": 12}
        if i % 10 == 0:
            (folder / f"{i}.json").write_text(json.dumps({"bar_mask": [[]] * 12}))
            row |= {"marks_loc": f"{i}.json"}
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "catalog.csv", index=False)
    return folder / "catalog.csv"


@pytest.fixture(scope="module")
def shards(catalog, tmp_path_factory) -> Path:
    """Shards of the forty galaxies, for tests that do not change them."""
    return create_shards(catalog, tmp_path_factory.mktemp("made") / "shards", RINGS, SMALL).parent


def options(**changes) -> ShardOptions:
    return ShardOptions(**{**vars(SMALL), **changes})


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def all_records(manifest: Manifest) -> dict[str, dict]:
    paths = [path for split in manifest.splits for path in manifest.paths(split)]
    return {galaxy["id_str"]: galaxy for galaxy in iterate_records(paths)}


def with_broken_images(catalog: Path, folder: Path, broken: list[int]) -> Path:
    """The same catalogue with some images that cannot be read."""
    table = pd.read_csv(catalog, dtype={"id_str": str})
    for column in ("file_loc", "spiral_mask_loc", "marks_loc"):
        table[column] = [str(catalog.parent / name) if isinstance(name, str) else "" for name in table[column]]
    for i in broken:
        table.loc[i, "file_loc"] = str(folder / f"missing{i}.png")
    table.to_csv(folder / "broken.csv", index=False)
    return folder / "broken.csv"


def test_stored_galaxies_are_read_back(shards, catalog):
    galaxies = all_records(read_manifest(shards))
    assert sorted(galaxies) == [f"{i:04d}" for i in range(N_GALAXIES)]
    for i in range(N_GALAXIES):
        galaxy = galaxies[f"{i:04d}"]
        np.testing.assert_array_equal(galaxy["votes"], [0, 0] if i % 4 == 0 else [i, 1])
        assert galaxy["has_votes"] == (i % 4 != 0)
        assert galaxy["n_volunteers"] == (12 if i % 2 == 0 else 15)
        assert galaxy["ra"] == pytest.approx(100 + i / 3, abs=1e-10)
        assert galaxy["dec"] == -i
        assert np.isnan(galaxy["pixscale"])
        original = resize_image(read_image(catalog.parent / f"{i}.png"), 32)
        assert galaxy["image"].shape == (32, 32, 3)
        assert np.abs(galaxy["image"].astype(float) - original).mean() < 4


def test_the_pixel_scale_is_that_of_the_stored_image(catalog, tmp_path):
    table = pd.read_csv(catalog, dtype={"id_str": str})[["id_str", "file_loc", "ring_yes", "ring_no"]]
    path = tmp_path / "scaled.csv"
    table.assign(pixscale=[0.3] * (N_GALAXIES - 1) + [None]).to_csv(path, index=False)
    folder = create_shards(path, tmp_path / "shards", RINGS, options(img_size=64, image_root=catalog.parent)).parent
    galaxies = all_records(read_manifest(folder))
    # The central squares of the images, 32 x 32 pixels, are stored with 64 x 64 pixels.
    assert galaxies["0003"]["pixscale"] == pytest.approx(0.15)
    assert np.isnan(galaxies["0039"]["pixscale"])


def test_cutouts_are_stored_with_the_stretch_that_the_manifest_names(tmp_path):
    fluxes = np.random.default_rng(0).normal(0.1, 0.3, (3, 32, 32)).astype(np.float32)
    fits.PrimaryHDU(fluxes, fits.Header({"BANDS": "grz"})).writeto(tmp_path / "a.fits")
    fits.PrimaryHDU(fluxes[:, ::-1], fits.Header({"BANDS": "grz"})).writeto(tmp_path / "b.fits")
    rows = {"id_str": ["J0", "J3"], "file_loc": ["a.fits", "b.fits"], "ring_yes": 1, "ring_no": 1}
    pd.DataFrame(rows).to_csv(tmp_path / "catalog.csv", index=False)
    for stretch in STRETCHES:
        one_each = options(stretch=stretch, eval_size=0.5)
        manifest = read_manifest(create_shards(tmp_path / "catalog.csv", tmp_path / stretch, RINGS, one_each).parent)
        assert manifest.stretch == stretch
        expected = read_image(tmp_path / "a.fits", stretch).astype(float)
        assert np.abs(all_records(manifest)["J0"]["image"] - expected).mean() < 4
    with pytest.raises(ValueError, match=r"lupton: .*\bstretch;"):
        create_shards(tmp_path / "catalog.csv", tmp_path / "lupton", RINGS, options(eval_size=0.5, resume=True))


def test_shards_of_the_first_version_are_read_but_not_resumed(copied, catalog):
    path = copied / "shards.json"
    content = json.loads(path.read_text())
    del content["made_by"]["stretch"]
    path.write_text(json.dumps(content | {"format_version": 1}))
    manifest = read_manifest(copied)
    assert (manifest.format_version, manifest.stretch) == (1, "galaxy-zoo")
    assert json.loads(manifest.to_json())["format_version"] == 1
    assert len(all_records(manifest)) == N_GALAXIES
    with pytest.raises(ValueError, match="format_version, stretch;"):
        create_shards(catalog, copied, RINGS, options(resume=True))


def test_an_empty_mask_is_not_a_missing_one(shards):
    galaxies = all_records(read_manifest(shards))
    for i in range(N_GALAXIES):
        galaxy = galaxies[f"{i:04d}"]
        assert galaxy["has_spiral_mask"] == (i % 2 == 0)
        assert galaxy["has_bar_mask"] == (i % 10 == 0)
        if i % 2 == 0:
            np.testing.assert_array_equal(galaxy["spiral_mask"], np.full((32, 32), i % 12))
        else:
            assert galaxy["spiral_mask"] is None
        if i % 10 == 0:
            np.testing.assert_array_equal(galaxy["bar_mask"], np.zeros((32, 32)))


def test_batches_are_parsed_inside_a_dataset_as_outside(shards):
    paths = read_manifest(shards).paths("train")
    serialised = next(iter(read_records(paths).batch(8)))
    eager = parse(serialised, 2)
    inside = next(iter(read_records(paths).batch(8).map(lambda batch: parse(batch, 2))))
    assert inside["votes"].shape == (8, 2)
    for name, column in eager.items():
        assert inside[name].dtype == column.dtype
        np.testing.assert_array_equal(inside[name], column)


def test_the_manifest_describes_the_shards(shards, catalog):
    manifest = read_manifest(shards / "train_shards")
    assert manifest == read_manifest(shards)
    assert manifest.schema == RINGS
    assert manifest.image_size == 32
    assert manifest.made_by["labelled_catalog"]["sha256"] == hashlib.sha256(catalog.read_bytes()).hexdigest()
    assert manifest.count("train") + manifest.count("eval") == N_GALAXIES
    assert manifest.count("train", "with_votes") + manifest.count("eval", "with_votes") == 30
    assert manifest.count("train", "with_spiral_mask") + manifest.count("eval", "with_spiral_mask") == 20
    assert manifest.count("train", "with_bar_mask") + manifest.count("eval", "with_bar_mask") == 4
    on_disk = sorted(shards.glob("*_shards/*"))
    assert on_disk == sorted([*manifest.paths("train"), *manifest.paths("eval")])
    assert check_shards(on_disk, RINGS, 32, verify_hash=True) == manifest
    n_train = len(manifest.paths("train"))
    assert on_disk[-1].name == f"train-{n_train - 1:05d}-of-{n_train:05d}.tfrecord"
    assert (shards / "failed.csv").read_text() == "id_str,file_loc,reason\n"
    assert not (shards / ".progress").exists()


def test_any_number_of_workers_gives_the_same_bytes(shards, catalog, tmp_path):
    create_shards(catalog, tmp_path / "one", RINGS, SMALL)
    create_shards(catalog, tmp_path / "two", RINGS, options(workers=2))
    with ThreadPoolExecutor(3) as executor:
        create_shards(catalog, tmp_path / "threads", RINGS, SMALL, executor=executor)
    expected = contents(shards)
    assert len(expected) > 10
    for folder in ("one", "two", "threads"):
        assert contents(tmp_path / folder) == expected


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bytes(shards, catalog, tmp_path):
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster:
        command = [
            sys.executable,
            "-m",
            "zoobot3d_tf",
            "shards",
            "--labelled-catalog",
            str(catalog),
            "--schema",
            "rings",
        ]
        command += [
            "--shard-dir",
            str(tmp_path / "dask"),
            "--img-size",
            "32",
            "--eval-size",
            "0.25",
            "--shard-size",
            "4",
        ]
        subprocess.run([*command, "--scheduler", cluster.scheduler_address], check=True, capture_output=True)
    assert contents(tmp_path / "dask") == contents(shards)


def exit_code(process) -> int:
    if isinstance(process, subprocess.Popen):
        return process.wait()
    process.join()
    return process.exitcode


def kill_ten_times_and_resume(start, folder: Path) -> int:
    """Start a run ten times and kill it at a random moment, then let it finish.

    Every second kill waits until the run has finished one more shard, so that not all kills come at its start.

    Returns:
        Number of kills that left the run with some shards finished and others not.
    """
    moments = random.Random(0)
    half_done = 0
    for attempt in range(10):
        n_finished = len(list(folder.glob(".progress/*-of-*.json")))
        process = start()
        while attempt % 2 and is_running(process) and len(list(folder.glob(".progress/*-of-*.json"))) <= n_finished:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.01 if attempt % 2 else 0.1))
        process.kill()
        killed = exit_code(process) == -signal.SIGKILL
        half_done += killed and any(folder.glob(".progress/*-of-*.json")) and not (folder / "shards.json").exists()
    assert exit_code(start()) == 0
    return half_done


def is_running(process) -> bool:
    return process.poll() is None if isinstance(process, subprocess.Popen) else process.is_alive()


@pytest.fixture(scope="module")
def fork_server():
    """Context that starts processes in which TensorFlow is already imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "zoobot3d_tf.shards.write"])
    return context


def test_killed_runs_resume_to_the_same_bytes(catalog, tmp_path, fork_server):
    one_a_file = options(shard_size=1, resume=True)
    create_shards(catalog, tmp_path / "whole", RINGS, one_a_file)
    folder = tmp_path / "killed"

    def start():
        process = fork_server.Process(target=create_shards, args=(catalog, folder, RINGS, one_a_file))
        process.start()
        return process

    assert kill_ten_times_and_resume(start, folder) >= 3
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_killed_runs_with_workers_resume_to_the_same_bytes(catalog, tmp_path):
    create_shards(catalog, tmp_path / "whole", RINGS, options(shard_size=1))
    folder = tmp_path / "killed"
    program = (
        "from zoobot3d_tf.schemas import get_schema\n"
        "from zoobot3d_tf.shards.options import ShardOptions; from zoobot3d_tf.shards.write import create_shards\n"
        "options = ShardOptions(img_size=32, eval_size=0.25, shard_size=1, workers=2, resume=True)\n"
        f"create_shards({str(catalog)!r}, {str(folder)!r}, get_schema('rings'), options)\n"
    )

    def start():
        return subprocess.Popen([sys.executable, "-c", program])

    assert kill_ten_times_and_resume(start, folder) >= 3
    assert contents(folder) == contents(tmp_path / "whole")


def test_added_galaxies_and_the_seed_do_not_change_the_split_of_a_galaxy(catalog, tmp_path):
    ids = pd.DataFrame({"id_str": [f"J{i}" for i in range(301)]})
    before, after = split_by_hash(ids[:300], 60), split_by_hash(ids, 60)
    assert set(before["eval"]["id_str"]) == set(after["eval"]["id_str"]) - {"J300"}
    assert 40 < len(before["eval"]) < 80
    assert set(split_by_hash(ids, 0.2)["eval"]["id_str"]) == set(after["eval"]["id_str"])

    orders = []
    for seed in (0, 1):
        manifest = read_manifest(create_shards(catalog, tmp_path / f"{seed}", RINGS, options(seed=seed)).parent)
        orders.append([galaxy["id_str"] for galaxy in iterate_records(manifest.paths("eval"))])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def with_split(catalog: Path, folder: Path, names: list) -> Path:
    """The same catalogue with a column `split`."""
    path = with_broken_images(catalog, folder, [])
    pd.read_csv(path, dtype={"id_str": str}).assign(split=names).to_csv(path, index=False)
    return path


def test_the_column_split_decides_and_test_galaxies_are_left_out(catalog, tmp_path, caplog):
    names = ["test", "train", "val", "train"] * (N_GALAXIES // 4)
    with caplog.at_level("INFO"):
        by_column = options(eval_size=None)
        folder = create_shards(with_split(catalog, tmp_path, names), tmp_path / "shards", RINGS, by_column).parent
    manifest = read_manifest(folder)
    expected = {"train": {"train"}, "eval": {"val"}}
    for split, values in expected.items():
        stored = {galaxy["id_str"] for galaxy in iterate_records(manifest.paths(split))}
        assert stored == {f"{i:04d}" for i in range(N_GALAXIES) if names[i] in values}
    assert re.search(r"column split .*train \(20 galaxies\).* val \(10\).* test \(10\)", caplog.text)
    # The limit counts galaxies that are used.
    limited = options(eval_size=None, max_labelled=30)
    manifest = read_manifest(create_shards(tmp_path / "broken.csv", tmp_path / "limited", RINGS, limited).parent)
    assert (manifest.count("train"), manifest.count("eval")) == (20, 10)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (["train", "val"], {"eval_size": 0.2}, r"column split .* contradicts eval_size"),
        (["train", "val"], {"split_seed": 1}, r"column split .* contradicts split_seed"),
        (["train", "valid"], {}, r"split is 'valid' in row 3 \(0001\) and 19 more; it must be train, val or test"),
        (["train", None], {}, r"split is empty in row 3 \(0001\) and 19 more"),
        ([0.0, 1.0], {}, "split is stored as floating-point"),
        (["train", "test"], {}, "none of the 20 galaxies .* has the split 'val'"),
        (["test", "val"], {}, "none of the 20 galaxies .* has the split 'train'"),
    ],
)
def test_columns_split_that_cannot_be_used_are_refused(catalog, tmp_path, names, changes, message):
    path = with_split(catalog, tmp_path, names * (N_GALAXIES // 2))
    with pytest.raises(ValueError, match=message):
        create_shards(path, tmp_path / "shards", RINGS, options(**{"eval_size": None, **changes}))
    assert not (tmp_path / "shards").exists()


def test_without_a_column_split_a_fifth_of_the_galaxies_is_for_evaluation(catalog, tmp_path):
    by_default = read_manifest(create_shards(catalog, tmp_path / "a", RINGS, options(eval_size=None)).parent)
    assert by_default.made_by["eval_size"] == 0.2
    create_shards(catalog, tmp_path / "a", RINGS, options(eval_size=0.2, resume=True))


def test_ids_and_seeds_divide_galaxies_as_the_manifest_says(catalog, tmp_path, caplog):
    (tmp_path / "ids.txt").write_text("0004\n0021\n")
    by_ids = options(eval_size=None, eval_ids=tmp_path / "ids.txt")
    manifest = read_manifest(create_shards(catalog, tmp_path / "ids", RINGS, by_ids).parent)
    assert {galaxy["id_str"] for galaxy in iterate_records(manifest.paths("eval"))} == {"0004", "0021"}
    assert manifest.made_by["eval_ids"]["sha256"] == hashlib.sha256(b"0004\n0021\n").hexdigest()
    (tmp_path / "ids.txt").write_text("0004\n")
    with pytest.raises(ValueError, match="other values of eval_ids"):
        create_shards(catalog, tmp_path / "ids", RINGS, replace(by_ids, resume=True))

    exact = options(eval_size=9, split_seed=5)
    manifest = read_manifest(create_shards(catalog, tmp_path / "exact", RINGS, exact).parent)
    assert (manifest.count("train"), manifest.count("eval")) == (31, 9)
    assert manifest.made_by["split_seed"] == 5
    assert "to evaluate on (fewer than 20)" in caplog.text


def test_a_hash_that_leaves_few_galaxies_is_told_with_the_numbers(catalog, tmp_path, caplog):
    manifest = read_manifest(create_shards(catalog, tmp_path / "shards", RINGS, options(eval_size=37)).parent)
    assert f"{manifest.count('train', 'with_votes')} with votes to train on (fewer than 100)" in caplog.text
    assert f"Of 40 galaxies, 37 were to be evaluated on, and the hash of the ids gives {manifest.count('eval')}" in (
        caplog.text
    )


def test_a_folder_of_shards_has_one_owner(catalog, tmp_path):
    folder = tmp_path / "shards"
    with one_owner(folder):
        (folder / "train_shards").mkdir()
        partial = folder / "train_shards" / ".partial-0-train-00000-of-00008.tfrecord"
        partial.write_bytes(b"of the owner")
        for again in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(BlockingIOError, match=rf"shards: process {os.getpid()} .*is writing it"):
                create_shards(catalog, folder, RINGS, options(**again))
        assert partial.exists()


def test_the_lock_of_a_killed_run_is_no_content(catalog, tmp_path, shards):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / ".lock").write_text("process 1 on another machine")
    create_shards(catalog, tmp_path / "shards", RINGS, SMALL)
    assert contents(tmp_path / "shards") == contents(shards)


def test_limits_take_the_first_galaxies_and_unlabelled_ones_have_no_labels(catalog, tmp_path):
    others = tmp_path / "others.csv"
    table = pd.read_csv(catalog, dtype={"id_str": str})
    table.assign(id_str="other" + table["id_str"])[["id_str", "file_loc"]].to_csv(others, index=False)
    limits = options(max_labelled=20, max_unlabelled=5, image_root=catalog.parent)
    manifest = read_manifest(create_shards(catalog, tmp_path / "shards", RINGS, limits, others).parent)
    assert manifest.count("train") + manifest.count("eval") == 20
    assert [path.name for path in manifest.paths("unlabelled")] == [
        "unlabelled-00000-of-00002.tfrecord",
        "unlabelled-00001-of-00002.tfrecord",
    ]
    unlabelled = list(iterate_records(manifest.paths("unlabelled")))
    assert len(unlabelled) == manifest.count("unlabelled") == 5
    assert all(galaxy["id_str"].startswith("other") for galaxy in unlabelled)
    assert not any(galaxy["has_votes"] or galaxy["has_spiral_mask"] for galaxy in unlabelled)

    with pytest.raises(ValueError, match=r"catalog\.csv: .*\b40 .*catalog\.csv.* 0000$"):
        create_shards(catalog, tmp_path / "both", RINGS, SMALL, unlabelled_catalog=catalog)


def test_an_empty_split_is_an_error_that_tells_what_to_change(catalog, tmp_path):
    with pytest.raises(ValueError, match=r"eval_size must be smaller than 40\b.* 40 labelled .* train$"):
        create_shards(catalog, tmp_path / "shards", RINGS, options(eval_size=40))
    with pytest.raises(ValueError, match=r"eval_size must be larger than 0\.0001\b.* 40 labelled .* eval$"):
        create_shards(catalog, tmp_path / "shards", RINGS, options(eval_size=0.0001))
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"img_size": 8}, "img_size .*16 to 8192.*received 8"),
        (
            {"stretch": "log"},
            "stretch must be one of galaxy-zoo, lupton, or the JSON text of a stretch; received 'log'",
        ),
        ({"eval_size": 0}, "eval_size .*received 0"),
        ({"eval_size": 1.5}, "eval_size .*received 1.5"),
        ({"eval_size": math.inf}, "eval_size .*received inf"),
        ({"max_failed": 2}, "max_failed must be .* from 0 to 1; received 2"),
        ({"shard_size": 0}, "shard_size must be at least 1; received 0"),
        ({"max_labelled": 0}, "max_labelled must be at least 1; received 0"),
        ({"overwrite": True, "resume": True}, "overwrite=True .* resume=True"),
        ({"eval_ids": "ids.txt"}, "eval_ids .* contradicts eval_size"),
        ({"eval_ids": "ids.txt", "eval_size": None, "split_seed": 1}, "eval_ids .* contradicts split_seed"),
        ({"label_kind": "binary"}, "label_kind 'binary' needs label_col"),
    ],
)
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        options(**changes)


def test_galaxies_that_cannot_be_read_are_skipped_and_listed(catalog, tmp_path):
    broken = with_broken_images(catalog, tmp_path, [3, 7])
    table = pd.read_csv(broken, dtype={"id_str": str})
    Image.new("L", (20, 20)).save(tmp_path / "small.png")
    Image.new("L", (33, 32), 200).save(tmp_path / "bright.png")
    table.loc[2, "spiral_mask_loc"] = str(tmp_path / "small.png")
    table.loc[4, "spiral_mask_loc"] = str(tmp_path / "bright.png")
    table.to_csv(broken, index=False)
    folder = create_shards(broken, tmp_path / "shards", RINGS, options(max_failed=0.1)).parent
    failed = pd.read_csv(folder / "failed.csv", dtype={"id_str": str}).set_index("id_str")
    assert sorted(failed.index) == ["0002", "0003", "0004", "0007"]
    assert failed.loc["0003", "reason"] == f"{tmp_path / 'missing3.png'}: no such file"
    assert failed.loc["0003", "file_loc"] == str(tmp_path / "missing3.png")
    assert "20 x 20" in failed.loc["0002", "reason"]
    assert re.search(r"n_volunteers, 12; .* 200$", failed.loc["0004", "reason"])
    assert sorted(all_records(read_manifest(folder))) == sorted(set(table["id_str"]) - set(failed.index))


def test_bytes_after_the_last_record_are_refused(copied):
    shard = read_manifest(copied).paths("train")[0]
    for more in (b"no record" * 10, shard.read_bytes()):
        content = shard.read_bytes() + more
        shard.write_bytes(content)
        manifest = json.loads((copied / "shards.json").read_text())
        manifest["splits"]["train"]["files"][0]["bytes"] = len(content)
        (copied / "shards.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match=rf"{shard}: holds more than the \d+ galaxies"):
            list(iterate_records([shard]))


def test_galaxies_with_unfit_ids_are_skipped_and_listed_in_quotes(catalog, tmp_path):
    table = pd.read_csv(catalog, dtype={"id_str": str})
    table.loc[1, "id_str"] = '=HYPERLINK("x")'
    table.loc[2, "id_str"] = "two\nlines"
    table.to_csv(tmp_path / "catalog.csv", index=False)
    unfit = options(image_root=catalog.parent)
    folder = create_shards(tmp_path / "catalog.csv", tmp_path / "shards", RINGS, unfit).parent
    failed = pd.read_csv(folder / "failed.csv")
    assert sorted(failed["id_str"]) == ["""'=HYPERLINK("x")'""", r"'two\nlines'"]
    assert failed["reason"].str.contains("begins with|control character").all()
    assert len(all_records(read_manifest(folder))) == len(table) - 2


def test_too_many_skipped_galaxies_stop_the_run_which_can_be_resumed(catalog, tmp_path):
    broken = with_broken_images(catalog, tmp_path, [3, 5, 7, 9, 11, 13, 15, 17])
    folder = tmp_path / "shards"
    with pytest.raises(ValueError, match=r"7 of 40 galaxies .* more than max_failed 0.15.*\(1\).*no such"):
        create_shards(broken, folder, RINGS, options(shard_size=1, max_failed=0.15))
    assert len(pd.read_csv(folder / "failed.csv")) == 7
    assert list(folder.glob("*_shards/*.tfrecord"))
    with pytest.raises(FileNotFoundError, match=r"unfinished; .*--resume"):
        read_manifest(folder)
    create_shards(broken, folder, RINGS, options(shard_size=1, max_failed=0.2, resume=True))
    create_shards(broken, tmp_path / "whole", RINGS, options(shard_size=1, max_failed=0.2))
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_few_galaxies_may_fail_in_small_catalogues(catalog, tmp_path):
    few = with_broken_images(catalog, tmp_path, [3, 5, 7, 9, 11])
    assert read_manifest(create_shards(few, tmp_path / "shards", RINGS, SMALL).parent).count("train") > 20
    too_many = with_broken_images(catalog, tmp_path, [3, 5, 7, 9, 11, 13])
    with pytest.raises(ValueError, match=r"6 of 40 galaxies failed, more than max_failed 0\.01"):
        create_shards(too_many, tmp_path / "others", RINGS, SMALL)


def test_a_split_without_readable_galaxies_is_an_error(catalog, tmp_path):
    broken = with_broken_images(catalog, tmp_path, list(range(N_GALAXIES)))
    with pytest.raises(ValueError, match=r"shards: .*\btrain\b.*failed\.csv"):
        create_shards(broken, tmp_path / "shards", RINGS, options(max_failed=1))


def test_a_folder_that_is_not_empty_is_not_changed_by_default(catalog, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"not empty.* resume=True .* overwrite=True"):
        create_shards(catalog, folder, RINGS, SMALL)
    with pytest.raises(FileExistsError, match=r"not empty.* no run .*resume=True"):
        create_shards(catalog, folder, RINGS, options(resume=True))
    assert contents(folder).keys() == {"notes.txt"}

    create_shards(catalog, folder, RINGS, options(shard_size=3, overwrite=True))
    (folder / "train_shards" / "mine.tfrecord").write_text("mine")
    create_shards(catalog, folder, RINGS, options(overwrite=True))
    create_shards(catalog, tmp_path / "fresh", RINGS, SMALL)
    mine = {"notes.txt", "train_shards/mine.tfrecord"}
    assert contents(folder).keys() == contents(tmp_path / "fresh").keys() | mine
    assert (folder / "train_shards" / "mine.tfrecord").read_text() == "mine"


def test_an_error_in_the_catalogue_keeps_the_earlier_shards(catalog, tmp_path):
    folder = create_shards(catalog, tmp_path / "shards", RINGS, SMALL).parent
    before = contents(folder)
    (tmp_path / "faulty.csv").write_text("id_str,file_loc\n")
    with pytest.raises(ValueError, match="no rows"):
        create_shards(tmp_path / "faulty.csv", folder, RINGS, options(overwrite=True))
    assert contents(folder) == before


def test_resuming_a_finished_run_does_nothing_and_another_run_is_refused(catalog, tmp_path):
    folder = create_shards(catalog, tmp_path / "shards", RINGS, SMALL).parent
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    create_shards(catalog, folder, RINGS, options(resume=True, workers=2, max_failed=0.5))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    with pytest.raises(ValueError, match=r"shards: .* img_size, seed;"):
        create_shards(catalog, folder, RINGS, options(img_size=64, seed=3, resume=True))


def test_resuming_keeps_whole_shards_and_writes_the_others(catalog, tmp_path):
    broken = with_broken_images(catalog, tmp_path, [3])
    folder = tmp_path / "shards"
    with pytest.raises(ValueError, match="1 of 40 galaxies"):
        create_shards(broken, folder, RINGS, options(shard_size=1, max_failed=0))
    kept, cut, lost = sorted(folder.glob("train_shards/*.tfrecord"))[:3]
    time_kept = kept.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:-1])
    lost.unlink()
    with pytest.raises(ValueError, match=r"shards: .* labelled_catalog;"):
        create_shards(catalog, folder, RINGS, options(shard_size=1, resume=True))
    create_shards(broken, folder, RINGS, options(shard_size=1, max_failed=0.1, resume=True))
    assert kept.stat().st_mtime_ns == time_kept
    assert check_shards(read_manifest(folder).paths("train"), verify_hash=True).count("train") > 20


@pytest.fixture
def copied(shards, tmp_path) -> Path:
    """A copy of the shards that a test may change."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def test_shards_that_differ_from_the_manifest_are_refused(copied):
    paths = read_manifest(copied).paths("train")
    with pytest.raises(ValueError, match=r"hold votes of the schema rings \(2 answers\); received the schema decals"):
        check_shards(paths, schema=get_schema("decals"))
    with pytest.raises(ValueError, match="images of 32 x 32 pixels; received the size 64"):
        check_shards(paths, image_size=64)
    with pytest.raises(ValueError, match="no shards"):
        check_shards([])

    content = bytearray(paths[0].read_bytes())
    content[-5] ^= 1
    paths[0].write_bytes(content)
    assert check_shards(paths).count("train") > 0
    with pytest.raises(ValueError, match=r"train-00000-of-.*: .*SHA-256.* shards\.json"):
        check_shards(paths, verify_hash=True)
    paths[0].write_bytes(content[:-5])
    with pytest.raises(ValueError, match=rf"has {len(content) - 5} bytes.* {len(content)} in shards\.json"):
        check_shards(paths)
    paths[0].rename(paths[0].with_name("other.tfrecord"))
    with pytest.raises(ValueError, match=r"other.tfrecord: not listed in"):
        check_shards([paths[0].with_name("other.tfrecord")])
    with pytest.raises(FileNotFoundError, match=r"no such file.* shards\.json"):
        check_shards(paths)


def test_manifests_that_cannot_be_used_are_refused(copied, shards):
    path = copied / "shards.json"
    content = json.loads(path.read_text())
    with pytest.raises(ValueError, match=rf"one shard folder.*{shards}.*{copied}"):
        check_shards([*read_manifest(copied).paths("train"), *read_manifest(shards).paths("train")])
    path.write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(ValueError, match=r"shards\.json: .* 1 to 3\b.*version 99\b"):
        read_manifest(copied)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"shards\.json: .*damaged"):
        read_manifest(copied)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"train_shards: no shards\.json"):
        read_manifest(copied / "train_shards")


def file_of(content):
    return content["splits"]["train"]["files"][0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: file_of(content).update(name=1),
        lambda content: file_of(content).update(galaxies={}),
        lambda content: file_of(content).update(bytes=-1),
        lambda content: file_of(content).update(bytes=10**400),
        lambda content: file_of(content).update(sha256=None),
        lambda content: file_of(content).update(name="a\ud800"),
        lambda content: file_of(content).pop("sha256"),
        lambda content: content["splits"]["train"].update(files=content["splits"]["eval"]["files"]),
        lambda content: content["splits"].update(train=[]),
        lambda content: content.update(splits=3),
        lambda content: content.update(schema=[]),
        lambda content: content["schema"].update(name={}),
        lambda content: content["schema"]["questions"][0].update(answers="yes"),
        lambda content: content.update(label="ring"),
        lambda content: content.update(label={"column": "ring", "kind": "binary", "counts": [1, {}]}),
        lambda content: content.update(image_size="32"),
        lambda content: content.update(image_size=10**9),
        lambda content: content.update(made_by=[]),
        lambda content: content["made_by"].update(stretch=["lupton"]),
    ],
)
def test_manifests_of_another_form_are_refused(copied, damage):
    path = copied / "shards.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"shards\.json: the file is damaged"):
        read_manifest(copied)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 1000 + "]" * 1000, "3", "null", "", "\x00"])
def test_manifests_that_are_no_object_are_refused(copied, text):
    (copied / "shards.json").write_text(text)
    with pytest.raises(ValueError, match=r"shards\.json: the file is damaged"):
        read_manifest(copied)


@pytest.fixture
def with_record(copied):
    """Function that replaces the second record of the first shard, also in the manifest; returns the path."""

    def replace_record(serialised: bytes) -> Path:
        path = read_manifest(copied).paths("train")[0]
        records = [record.numpy() for record in read_records([path])]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in (records[0], serialised, *records[2:]):
                writer.write(record)
        content = json.loads((copied / "shards.json").read_text())
        file_of(content).update(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        (copied / "shards.json").write_text(json.dumps(content))
        return path

    return replace_record


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


WHOLE = Record(
    "a",
    encode_image(np.zeros((32, 32, 3), np.uint8)),
    encode_mask(np.ones((32, 32), np.uint8)),
    b"",
    votes=np.array([1, 2], np.float32),
    has_votes=True,
    has_spiral_mask=True,
    has_bar_mask=False,
    n_volunteers=15,
    ra=1.0,
    dec=2.0,
    pixscale=0.3,
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"image": b""}, "cannot be decoded"),
        ({"image": b"text"}, "cannot be decoded"),
        ({"image": WHOLE.image[:-20]}, "cannot be decoded"),
        ({"image": WHOLE.image[:30] + WHOLE.image[-2:]}, "cannot be decoded"),
        ({"image": encode_image(np.zeros((16, 32, 3), np.uint8))}, "32 x 32 pixels"),
        ({"image": WHOLE.spiral_mask}, "32 x 32 pixels"),
        ({"spiral_mask": b""}, "cannot be decoded"),
        ({"spiral_mask": WHOLE.spiral_mask[:-20]}, "cannot be decoded"),
        ({"spiral_mask": png(np.ones((32, 32), np.uint16))}, "cannot be decoded"),
        ({"spiral_mask": png(np.ones((32, 32, 3), np.uint8))}, "cannot be decoded"),
        ({"spiral_mask": encode_mask(np.ones((32, 31), np.uint8))}, "32 x 32 pixels"),
        ({"spiral_mask": encode_mask(np.full((32, 32), 16, np.uint8))}, "more than the 15 volunteers"),
        ({"n_volunteers": 0}, "n_volunteers is 0"),
        ({"votes": np.array([1, -1], np.float32)}, "negative or not finite"),
        ({"votes": np.array([1, np.nan], np.float32)}, "negative or not finite"),
        ({"votes": np.array([1], np.float32)}, "or missing"),
        ({"label": 1.0, "has_label": True}, "the label 1.0"),
    ],
)
def test_records_with_wrong_content_are_named(with_record, changes, words):
    path = with_record(serialise(replace(WHOLE, **changes)))
    if words is None:
        assert len(list(iterate_records([path]))) == 4
        return
    with pytest.raises(ValueError, match=rf"{path}: record 1 is damaged.*{words}"):
        list(iterate_records([path]))


def test_records_that_are_no_galaxy_are_named(with_record):
    example = tf.train.Example.FromString(serialise(WHOLE))
    example.features.feature["ra"].bytes_list.value[:] = [b"four"]
    for serialised in (b"", b"not an example", example.SerializeToString()):
        with pytest.raises(ValueError, match=r"train-00000-of-.*tfrecord: record 1 is damaged"):
            list(iterate_records([with_record(serialised)]))
    example = tf.train.Example.FromString(serialise(WHOLE))
    example.features.feature["id_str"].bytes_list.value[:] = [b"\xff"]
    with pytest.raises(ValueError, match="record 1 is damaged"):
        list(iterate_records([with_record(example.SerializeToString())]))


def test_a_flipped_byte_in_a_shard_is_named(copied):
    path = read_manifest(copied).paths("train")[0]
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path}: record 3 is damaged or missing; copy the shard again"):
        list(iterate_records([path]))


def test_catalogue_errors_are_found_without_tensorflow():
    program = "import sys, zoobot3d_tf.shards.write as w; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_real_galaxies(reference, tmp_path):
    catalog = reference / "data" / "decals" / "ring_catalog.csv"
    first = ShardOptions(eval_size=0.2, max_labelled=20)
    manifest = read_manifest(create_shards(catalog, tmp_path / "shards", RINGS, first).parent)
    galaxies = all_records(manifest)
    assert len(galaxies) == 20
    for name, galaxy in galaxies.items():
        original = resize_image(read_image(catalog.parent / "images" / f"{name}.jpg"), 300)
        assert np.abs(galaxy["image"].astype(float) - original).mean() < 3
        assert galaxy["votes"].sum() == 1

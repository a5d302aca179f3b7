"""Predictions from images to a table and masks: bad images, interruptions, contradictory options."""

import errno
import json
import logging
import os
import random
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zlib
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from prediction_runs import (
    DECALS,
    FINAL,
    INITIAL,
    RedNetwork,
    draw_galaxies,
    make_run,
    predict_interrupted,
    predict_slowly,
    start,
)
from scipy import ndimage

from zoobot3d_tf.cli import main
from zoobot3d_tf.files import sha256_of, write_atomically
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.images.wcs import wcs_at
from zoobot3d_tf.inference import job
from zoobot3d_tf.inference.inputs import galaxies_in_catalog, galaxies_in_folder
from zoobot3d_tf.inference.job import start_job
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies
from zoobot3d_tf.predictions.predict_on_images import predict
from zoobot3d_tf.predictions.prediction_tables import load_predictions
from zoobot3d_tf.predictions.results import column_names, vote_values
from zoobot3d_tf.runs.calibration import Calibration, MaskMap, write_calibration
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, WEIGHTS_NAME
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.version import __version__

RINGS = get_schema("rings")
NAMES_OF_VOTES = column_names(DECALS, 3)


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def images(tmp_path) -> Path:
    return draw_galaxies(tmp_path / "images", 11)


@pytest.fixture
def red(monkeypatch):
    """Predict with `RedNetwork`, in parts of four galaxies."""
    from zoobot3d_tf.predictions import predict_part

    monkeypatch.setattr(predict_part, "Network", RedNetwork)
    monkeypatch.setattr(job, "_PART_UNIT", 4)


# The table


@pytest.mark.usefixtures("red")
def test_every_format_holds_the_same_in_the_order_of_the_files(run, images, tmp_path):
    tables = [tmp_path / f"table_{suffix}.{suffix}" for suffix in ("csv", "parquet", "hdf5", "fits", "vot", "ecsv")]
    first, *others = [load_predictions(predict(images, run, table, n_samples=3, samples=True)) for table in tables]
    names = sorted(path.name for path in images.iterdir())
    assert list(first.table.file_loc) == [str(images / name) for name in names]
    assert list(first.table.id_str) == [name.removesuffix(".png") for name in names]
    assert list(first.table.columns) == NAMES_OF_VOTES
    assert first.schema == DECALS
    assert first.concentrations.shape == (11, 34, 3)
    for other in others:
        pd.testing.assert_frame_equal(other.table, first.table)
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize("suffix", [".csv", ".fits", ".parquet"])
def test_positions_and_columns_of_the_catalogue_travel_into_the_table(run, images, tmp_path, suffix):
    names = [f"galaxy_{i}" for i in range(11)]
    catalog = pd.DataFrame({"id_str": names, "file_loc": [f"images/{name}.png" for name in names]})
    catalog = catalog.assign(ra=np.linspace(0, 300, 11), dec=-20.123456789, z=np.linspace(0, 1, 11), objid=2**53 + 1)
    catalog["sdss-name"] = ["", *(f"NGC {i} β" for i in range(10))]
    units = Table.from_pandas(catalog)
    units["z"].unit = "km"
    units.write(tmp_path / "catalog.ecsv")
    (images / "galaxy_3.png").write_bytes(b"")
    galaxies = galaxies_in_catalog(tmp_path / "catalog.ecsv", keep=["z", "objid", "sdss-name"])
    table = predict_galaxies(galaxies, run, tmp_path / f"t{suffix}", PredictionOptions(names="plain", max_failed=0.1))
    read = load_predictions(table).table
    kept = catalog.drop(index=3).reset_index(drop=True).rename(columns={"sdss-name": "sdss_name"})
    assert list(read.columns[:7]) == ["id_str", "ra", "dec", "z", "objid", "sdss_name", *read.columns[6:7]]
    for name in ("ra", "dec", "z", "objid", "sdss_name"):
        assert read[name].tolist() == kept[name].tolist()
    if suffix != ".csv":
        assert str(Table.read(table)["z"].unit) == "km"
    assert all(name.isidentifier() for name in read.columns)
    assert len(read.query("smooth_or_featured_smooth_fraction > 0 and z > 0.5")) == 5


def test_fits_tables_of_more_columns_than_the_standard_allows_are_refused(run, images, tmp_path):
    with pytest.raises(ValueError, match=r"t\.fits: the table has \d{4} columns, .* 999; omit samples"):
        predict(images, run, tmp_path / "t.fits", n_samples=30, samples=True)


@pytest.mark.usefixtures("red")
def test_positions_of_fits_cutouts_come_from_their_wcs(run, tmp_path):
    (tmp_path / "cutouts").mkdir()
    fluxes = np.random.default_rng(0).normal(0, 1, (3, 64, 70)).astype(np.float32)
    header = wcs_at(150.5, -2.25, 0.4, (64, 70)).to_header()
    fits.writeto(tmp_path / "cutouts" / "a.fits", fluxes, header)
    fits.writeto(tmp_path / "cutouts" / "b.fits", fluxes)
    table = load_predictions(predict(tmp_path / "cutouts", run, tmp_path / "t.csv", "fits")).table
    np.testing.assert_allclose(table[["ra", "dec"]], [[150.5, -2.25], [np.nan, np.nan]])


def test_columns_that_the_table_uses_otherwise_are_not_kept(run, images, tmp_path):
    catalog = pd.DataFrame({"id_str": ["a"], "file_loc": ["images/galaxy_0.png"], "ra": [1.0], "dec": [1.0]})
    catalog.assign(entropy=1.0, bar_strong_low=0, **{"bar-strong_low": 0}).to_csv(tmp_path / "catalog.csv", index=False)
    with pytest.raises(ValueError, match=r"keep .*\bra\b"):
        galaxies_in_catalog(tmp_path / "catalog.csv", keep=["ra"])
    with pytest.raises(ValueError, match="redshift"):
        galaxies_in_catalog(tmp_path / "catalog.csv", keep=["redshift"])
    for name, names in (("entropy", "tree"), ("bar-strong_low", "plain")):
        galaxies = galaxies_in_catalog(tmp_path / "catalog.csv", keep=[name])
        with pytest.raises(ValueError, match=rf"two columns .* {name.replace('-', '_')}; .*keep"):
            predict_galaxies(galaxies, run, tmp_path / "t.csv", PredictionOptions(names=names))


@pytest.mark.usefixtures("red")
def test_metadata_say_what_made_the_table(run, images, tmp_path):
    predict(images, run, tmp_path / "table.csv", n_samples=2, seed=7, engine="tf")
    metadata = json.loads((tmp_path / "table_metadata.json").read_text())
    assert metadata["runs"] == [
        {
            "run_folder": str(run),
            "weights_sha256": sha256_of(run / WEIGHTS_NAME),
            "initial_size": 64,
            "crop_size": 48,
            "final_size": 32,
            "n_samples": 2,
            "calibration": None,
            "forced": {},
        }
    ]
    assert [metadata[name] for name in ("n_votes", "seed", "n_galaxies")] == [40, 7, 11]
    assert (metadata["engine"], metadata["precision"], metadata["stretch"]) == ("tf", "f32", "galaxy-zoo")
    assert {"zoobot3d_tf", "tensorflow", "keras", "numpy"} <= set(metadata["versions"])
    assert "openvino" not in metadata["versions"]
    assert metadata["command"] == shlex.join(sys.argv)


@pytest.mark.usefixtures("red")
def test_a_finished_table_is_left_alone_and_another_is_replaced_only_on_demand(run, images, tmp_path, monkeypatch):
    table, masks = tmp_path / "new" / "table.csv", tmp_path / "masks"
    predict(images, run, table, n_samples=2, crop_size=40, masks_dir=masks, force=True)
    whole = table.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(RedNetwork, "__call__", None)
        predict(images, run, table, n_samples=2, crop_size=40, masks_dir=masks, force=True)
        with pytest.raises(FileExistsError, match=r"new/table.csv: .*with other n_samples, n_votes; "):
            predict(images, run, table, n_samples=3, n_votes=9, crop_size=40, masks_dir=masks, force=True)
        assert table.read_bytes() == whole
    shutil.rmtree(masks)
    predict(images, run, table, n_samples=2, crop_size=40, masks_dir=masks, force=True)  # for its masks
    assert len(list(masks.iterdir())) == 2 * 11
    predict(images, run, table, n_samples=3, samples=True, overwrite=True)
    assert load_predictions(table).concentrations.shape == (11, 34, 3)
    table.write_text("id_str\na\n")
    table.with_name("table_metadata.json").unlink()
    with pytest.raises(FileExistsError, match="does not say how it was made"):
        predict(images, run, table)


@pytest.mark.usefixtures("red")
def test_images_that_cannot_be_read_are_skipped(run, images, tmp_path, caplog):
    predict(images, run, tmp_path / "table.csv")
    before = pd.read_csv(tmp_path / "table.csv").set_index("id_str")
    whole = (images / "galaxy_3.png").read_bytes()
    (images / "galaxy_3.png").write_bytes(whole[: len(whole) // 2])
    for name in ("galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2"):  # a part without any row
        (images / f"{name}.png").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"table.csv: .*other galaxies or images; .*overwrite=True"):
        predict(images, run, tmp_path / "table.csv")
    with caplog.at_level(logging.INFO):
        predict(images, run, tmp_path / "table.csv", overwrite=True)
    assert "6 galaxies written" in caplog.text
    assert "5 galaxies skipped" in caplog.text
    table = pd.read_csv(tmp_path / "table.csv").set_index("id_str")
    pd.testing.assert_frame_equal(table, before.drop(["galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2", "galaxy_3"]))
    failed = pd.read_csv(tmp_path / "table_failed.csv")
    assert list(failed.id_str) == ["galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2", "galaxy_3"]
    assert failed.file_loc[4] == str(images / "galaxy_3.png")
    assert "galaxy_0.png" in failed.reason[0]
    assert "galaxy_3.png: cannot be read" in failed.reason[4]


@pytest.mark.usefixtures("red")
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("masks", [{}, {"masks_file": "masks.fits"}])
def test_images_that_are_bad_in_all_manners_cost_themselves_alone(run, images, tmp_path, monkeypatch, masks):
    monkeypatch.chdir(tmp_path)
    whole = (images / "galaxy_0.png").read_bytes()
    fluxes = np.random.default_rng(0).normal(size=(3, 40, 40)).astype(np.float32)
    fits.writeto(images / "g_cutout.fits", fluxes)
    cutout = (images / "g_cutout.fits").read_bytes()
    bomb = bytearray(whole)
    bomb[16:24] = (60_000).to_bytes(4) * 2  # width and height
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    corrupt = bytearray(whole)
    corrupt[len(corrupt) // 2] ^= 0xFF
    contents = {
        "bomb.png": bomb,
        "corrupt.png": corrupt,
        "cutout_cut.fits": cutout[: len(cutout) // 2],
        "cut.png": whole[: len(whole) // 2],
        "of_png.fits": whole,  # the content decides on the format: no error
        "text.png": b"no image at all",
        "zero.png": b"",
    }
    for name, content in contents.items():
        (images / name).write_bytes(content)
    cv2.imwrite(str(images / "black.png"), np.zeros((40, 40, 3), np.uint8))
    fits.writeto(images / "nans.fits", np.full_like(fluxes, np.nan))
    table = predict(images, run, "table.csv", file_format=None, max_failed=1, **masks)
    good = [*(f"galaxy_{i}" for i in range(11)), "g_cutout", "of_png"]
    assert list(pd.read_csv(table).id_str) == sorted(good)
    failed = pd.read_csv(tmp_path / "table_failed.csv").set_index("id_str").reason
    assert list(failed.index) == ["black", "bomb", "corrupt", "cut", "cutout_cut", "nans", "text", "zero"]
    assert all(f"images/{name}." in reason for name, reason in failed.items())
    for name, words in (("black", "every pixel"), ("bomb", "more pixels than"), ("nans", "without a finite pixel")):
        assert words in failed[name]


def read_until(monkeypatch, file_name, error):
    """From this file on, reading of images raises an error."""
    from zoobot3d_tf.inference import source_images

    read = source_images.read_image

    def read_image(path, stretch):
        if Path(path).name >= file_name:
            raise error
        return read(path, stretch)

    monkeypatch.setattr(source_images, "read_image", read_image)


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO), "image.png"), "Input/output error: 'image.png'"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE), "image.png"), "Stale file handle"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "image.png"), "Too many open files"),
        (MemoryError(), "the memory is full"),
    ],
)
def test_a_fault_of_the_machine_stops_the_run_and_the_same_call_continues(
    run, images, tmp_path, monkeypatch, error, words
):
    monkeypatch.setattr("zoobot3d_tf.inference.run_job.available_cores", lambda: 0)  # one thread: part after part
    with monkeypatch.context() as patch:
        read_until(patch, "galaxy_6.png", error)
        with pytest.raises(OSError, match=rf"{words}.*; the finished part of .*table.csv is kept: run the same again"):
            predict(images, run, tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()
    assert len(list((tmp_path / ".partial-table.csv").glob("part-*"))) == 1
    assert len(pd.read_csv(predict(images, run, tmp_path / "table.csv"))) == 11
    assert pd.read_csv(tmp_path / "table_failed.csv").empty


@pytest.mark.usefixtures("red")
def test_too_many_failures_stop_the_run_and_a_larger_fraction_continues_it(run, images, tmp_path, monkeypatch):
    whole = pd.read_csv(predict(images, run, tmp_path / "whole.csv")).set_index("id_str")
    broken = [path.stem for path in sorted(images.iterdir())[:7]]
    for name in broken:
        (images / f"{name}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"[67] of 11 galaxies .*max_failed 0\.01 .*galaxy_0\.png: .*is kept: run the"):
        predict(images, run, tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()
    assert set(pd.read_csv(tmp_path / "table_failed.csv").id_str) <= set(broken)
    n_parts = len(list((tmp_path / ".partial-table.csv").glob("part-*")))
    assert n_parts >= 2
    with pytest.raises(ValueError, match=r"of 11 galaxies .*max_failed"):
        predict(images, run, tmp_path / "table.csv")
    assert len(list((tmp_path / ".partial-table.csv").glob("part-*"))) == n_parts, "nothing is computed in vain"
    table = pd.read_csv(predict(images, run, tmp_path / "table.csv", max_failed=0.7)).set_index("id_str")
    pd.testing.assert_frame_equal(table, whole.drop(broken))
    with pytest.raises(ValueError, match=r"of 11 galaxies .*max_failed 0 allows"):
        predict(images, run, tmp_path / "table.csv", max_failed=0, overwrite=True)


@pytest.mark.usefixtures("red")
def test_images_that_were_out_of_reach_are_read_when_the_run_continues(run, images, tmp_path, monkeypatch):
    whole = Path(predict(images, run, tmp_path / "whole.csv", masks_file=tmp_path / "m.fits")).read_bytes()
    with monkeypatch.context() as patch:
        read_until(patch, "galaxy_10.png", ImageError("no such file"))
        with pytest.raises(ValueError, match=r"of 11 galaxies .*no such file.*or when the images can be read"):
            predict(images, run, tmp_path / "table.csv", masks_file=tmp_path / "m.fits")
    table = predict(images, run, tmp_path / "table.csv", masks_file=tmp_path / "m.fits")
    assert table.read_bytes() == whole
    assert pd.read_csv(tmp_path / "table_failed.csv").empty


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize("id_str", ["two\nlines", "=HYPERLINK(1)", "@x", ""])
def test_a_galaxy_whose_id_cannot_be_used_is_listed_and_the_others_are_predicted(run, images, tmp_path, id_str):
    galaxies = galaxies_in_folder(images)
    galaxies.loc[3, "id_str"] = id_str
    table = pd.read_csv(predict_galaxies(galaxies, run, tmp_path / "table.csv", PredictionOptions(n_samples=1)))
    assert list(table.id_str) == list(galaxies.id_str.drop(3))
    failed = pd.read_csv(tmp_path / "table_failed.csv", keep_default_na=False)
    assert list(failed.id_str) == [repr(id_str)]
    assert f"the id {id_str!r} " in failed.reason[0]


@pytest.mark.usefixtures("red")
def test_a_folder_of_the_job_that_is_removed_is_named(run, images, tmp_path, monkeypatch):
    call, parts = RedNetwork.__call__, tmp_path / ".partial-table.csv"

    def remove(*args):
        shutil.rmtree(parts, ignore_errors=True)
        return call(*args)

    monkeypatch.setattr(RedNetwork, "__call__", remove)
    with pytest.raises(OSError, match=r"\.partial-table\.csv was removed during the run.*start again") as caught:
        predict(images, run, tmp_path / "table.csv")
    assert "is kept" not in str(caught.value)


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"3", b"\xff", b"[" * 1000 + b"]" * 1000, b'{"a":' * 10_000])
def test_damaged_settings_of_an_unfinished_run_are_named(run, images, tmp_path, content):
    folder = tmp_path / ".partial-table.csv"
    folder.mkdir()
    (folder / "settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"settings\.json: .*delete the folder .*partial-table\.csv"):
        predict(images, run, tmp_path / "table.csv")


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-9], lambda whole: b"PAR1" * 9])
def test_a_damaged_part_is_named(run, images, tmp_path, monkeypatch, damage):
    monkeypatch.setattr("zoobot3d_tf.inference.run_job.available_cores", lambda: 0)
    with monkeypatch.context() as patch:
        read_until(patch, "galaxy_6.png", OSError(errno.EIO, os.strerror(errno.EIO)))
        with pytest.raises(OSError, match="Input/output"):
            predict(images, run, tmp_path / "table.csv")
    (part,) = (tmp_path / ".partial-table.csv").glob("part-*")
    part.write_bytes(damage(part.read_bytes()))
    with pytest.raises(ValueError, match=rf"{part.name}: is damaged: .*delete this file, and run the same again"):
        predict(images, run, tmp_path / "table.csv")
    part.unlink()
    assert len(pd.read_csv(predict(images, run, tmp_path / "table.csv"))) == 11


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize("file_format", ["jpg", "tif"])
def test_masks_may_be_beside_images_of_a_format_that_they_never_have(run, images, tmp_path, file_format):
    cv2.imwrite(str(images / f"other.{file_format}"), cv2.imread(str(images / "galaxy_0.png")))
    for _ in range(2):
        predict(images, run, tmp_path / "table.csv", file_format, masks_dir=images, overwrite=True)
        assert pd.read_csv(tmp_path / "table.csv")["id_str"].tolist() == ["other"]


@pytest.mark.usefixtures("red")
def test_when_nothing_can_be_read_the_table_before_stays(run, images, tmp_path):
    predict(images, run, tmp_path / "table.csv")
    before = (tmp_path / "table.csv").read_bytes()
    for path in images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 11 .*galaxy_0.png"):
        predict(images, run, tmp_path / "table.csv", overwrite=True)
    assert (tmp_path / "table.csv").read_bytes() == before
    assert len(pd.read_csv(tmp_path / "table_failed.csv")) == 11


@pytest.mark.usefixtures("red")
def test_a_run_of_masks_alone_has_no_columns_of_votes(images, tmp_path, monkeypatch):
    answer = RedNetwork.__call__
    monkeypatch.setattr(RedNetwork, "__call__", lambda *args: {"bar_mask": answer(*args)["bar_mask"]})
    run = make_run(tmp_path / "masks_run", tasks=("bar_mask",))
    predict(images, run, tmp_path / "table.csv", masks_dir=tmp_path / "masks")
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == ["id_str", "ra", "dec", *COLUMNS, "file_loc", "bar_mask_loc"]
    assert all(Path(path).is_file() for path in table.bar_mask_loc)


def test_snippet_of_the_original_zoobot_runs_unchanged(small_model, images, tmp_path, reference, monkeypatch):
    (images / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    snippet = reference / "reference" / "seed_snippets" / "predict.py"
    arguments = [images, small_model.run.folder, tmp_path / "table.csv", "decals", INITIAL, FINAL]
    monkeypatch.setattr(sys, "argv", [str(snippet), *map(str, arguments)])
    runpy.run_path(str(snippet), run_name="__main__")  # in this process, which has already imported TensorFlow
    predictions = load_predictions(tmp_path / "table.csv")
    table = predictions.table
    assert list(table.columns) == column_names(DECALS)
    assert list(table.id_str) == sorted(path.stem for path in images.glob("galaxy_*"))
    assert np.isfinite(table.drop(columns=["ra", "dec"]).select_dtypes("number").to_numpy()).all()
    assert (table["bar_no_low"] < table["bar_no_fraction"]).all()
    assert (table["bar_no_fraction"] < table["bar_no_high"]).all()


# Interruptions


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize(
    ("interruption", "exit_code"),
    [("kill", -signal.SIGKILL), ("full disk", 1)],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    run, images, tmp_path, monkeypatch, interruption, exit_code, suffix
):
    table = tmp_path / f"table{suffix}"
    predict(images, run, table, n_samples=2, engine="tf")
    whole = table.read_bytes()
    table.unlink()

    parts = tmp_path / f".partial-{table.name}"
    reason = tmp_path / "reason.txt"
    ended = start(predict_interrupted, interruption, parts / "part-0000000.parquet", reason, images, run, table)
    ended.join()
    assert ended.exitcode == exit_code
    assert not table.exists()
    assert parts / "part-0000000.parquet" in parts.iterdir()
    if exit_code == 1:
        assert "no space left" in reason.read_text()
        assert str(table) in reason.read_text()

    with pytest.raises(ValueError, match=r"partial-table.* with other n_samples, seed:"):
        predict(images, run, table, n_samples=3, seed=1, engine="tf")

    predicted = []
    call = RedNetwork.__call__
    monkeypatch.setattr(RedNetwork, "__call__", lambda *args: predicted.extend(args[2]) or call(*args))
    predict(images, run, table, n_samples=2, engine="tf")
    assert not {"galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2"} & set(predicted)
    assert len(predicted) == len(set(predicted)) <= 7
    assert table.read_bytes() == whole
    assert not list(tmp_path.glob(".partial*"))


def test_ten_kills_at_random_moments_lose_no_row_and_double_none(run, tmp_path):
    images = draw_galaxies(tmp_path / "images", 160)
    (images / "galaxy_7.png").write_bytes(b"")

    def begin(name: str) -> BaseProcess:
        return start(predict_slowly, images, run, tmp_path / f"{name}.parquet", tmp_path / f"{name}.fits")

    def exit_code(process: BaseProcess) -> int | None:
        process.join()
        return process.exitcode

    assert exit_code(begin("whole")) == 0
    moments, half_done = random.Random(0), 0
    for attempt in range(10):
        process, parts = begin("killed"), tmp_path / ".partial-killed.parquet"
        n_finished = len(list(parts.glob("part-*.parquet")))
        # Every other kill waits for one more part, so that they do not all happen during the start.
        while attempt % 2 and process.is_alive() and len(list(parts.glob("part-*.parquet"))) <= n_finished:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1 if attempt % 2 else 0.5))
        process.kill()
        half_done += exit_code(process) == -signal.SIGKILL and any(parts.glob("part-*.parquet"))
    assert half_done >= 5
    assert exit_code(begin("killed")) == 0

    whole, killed = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("whole", "killed"))
    assert len(killed) == killed.id_str.nunique() == 159
    locs = ["spiral_mask_loc", "bar_mask_loc"]
    pd.testing.assert_frame_equal(killed.drop(columns=locs), whole.drop(columns=locs))
    assert (tmp_path / "killed.fits").read_bytes() == (tmp_path / "whole.fits").read_bytes()
    assert (tmp_path / "killed_failed.csv").read_bytes() == (tmp_path / "whole_failed.csv").read_bytes()
    assert not list(tmp_path.glob(".partial*"))


def test_a_cluster_that_loses_a_worker_gives_the_whole_table(small_model, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra [scale] is not installed")
    images = draw_galaxies(tmp_path / "images", 160)
    table = tmp_path / "table.csv"
    command = [sys.executable, "-m", "zoobot3d_tf", "predict", "--checkpoint-dir", small_model.run.folder, "--folder",
               images, "--save-loc", table, "--engine", "tf"]  # fmt: skip
    settings = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster:
        running = subprocess.Popen([*command, "--scheduler", cluster.scheduler_address], stderr=subprocess.PIPE)
        while running.poll() is None and not list(tmp_path.glob(".partial-table.csv/part-*.parquet")):
            time.sleep(0.01)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        _, errors = running.communicate()
    assert running.returncode == 0, errors.decode()[-3000:]
    on_cluster = load_predictions(table).table
    assert list(on_cluster.id_str) == sorted(path.stem for path in images.iterdir())
    predict(images, small_model.run.folder, table, engine="tf")
    pd.testing.assert_frame_equal(load_predictions(table).table, on_cluster, rtol=1e-3)


@pytest.mark.usefixtures("red")
def test_what_is_left_of_a_finished_run_is_not_taken_for_an_unfinished_one(run, images, tmp_path):
    # A run that was killed while it removed its folder, after the settings.
    (tmp_path / ".partial-table.csv").mkdir()
    (tmp_path / ".partial-table.csv" / "part-0000001.parquet").write_bytes(b"of other settings")
    predict(images, run, tmp_path / "table.csv")
    assert len(pd.read_csv(tmp_path / "table.csv")) == 11


@pytest.mark.usefixtures("red")
def test_a_full_disk_is_answered_in_a_line_and_keeps_what_is_finished(run, images, tmp_path, monkeypatch):
    sync, n_written = os.fsync, count()

    def fill_the_disk(file):
        if next(n_written) > 2:  # the galaxies, the settings and a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_the_disk)
        with pytest.raises(OSError, match=r"No space left .*part-\d+.parquet'; .*kept.* again"):
            predict(images, run, tmp_path / "table.csv")
    (finished,) = (tmp_path / ".partial-table.csv").glob("part-*.parquet")
    done = set(pd.read_parquet(finished).id_str)

    predicted = []
    call = RedNetwork.__call__
    monkeypatch.setattr(RedNetwork, "__call__", lambda *args: predicted.extend(args[2]) or call(*args))
    predict(images, run, tmp_path / "table.csv")
    assert done
    assert sorted(predicted) == sorted({path.stem for path in images.iterdir()} - done)
    assert list(pd.read_csv(tmp_path / "table.csv").id_str) == sorted(path.stem for path in images.iterdir())


@pytest.mark.usefixtures("red")
def test_a_finished_run_is_removed_settings_first(run, images, tmp_path, monkeypatch):
    def be_killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job.shutil, "rmtree", be_killed)
        with pytest.raises(KeyboardInterrupt):
            predict(images, run, tmp_path / "table.csv")
    (tmp_path / ".partial-table.csv" / "galaxies.parquet").unlink()  # removed before the kill
    predict(images, run, tmp_path / "table.csv", seed=1, overwrite=True)
    assert len(pd.read_csv(tmp_path / "table.csv")) == 11


@pytest.mark.usefixtures("red")
def test_a_second_run_for_one_table_is_refused_and_the_first_ends_whole(run, images, tmp_path, monkeypatch):
    call = RedNetwork.__call__

    def start_again(*args):
        with pytest.raises(BlockingIOError, match=rf"table\.csv: process {os.getpid()} .*wait"):
            predict(images, run, tmp_path / "table.csv", seed=1)
        return call(*args)

    monkeypatch.setattr(RedNetwork, "__call__", start_again)
    predictions = load_predictions(predict(images, run, tmp_path / "table.csv", seed=0))
    assert len(predictions.table) == 11
    assert predictions.metadata["seed"] == 0
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.usefixtures("red")
def test_a_worker_left_by_another_run_adds_no_part(run, images, tmp_path, monkeypatch):
    call = RedNetwork.__call__

    def be_succeeded(*args):
        settings = tmp_path / ".partial-table.csv" / "settings.json"
        write_atomically(settings, json.dumps(json.loads(settings.read_text()) | {"seed": 1}), shared=True)
        return call(*args)

    monkeypatch.setattr(RedNetwork, "__call__", be_succeeded)
    with pytest.raises(ValueError, match=r"part \d+ .*another run .*same table"):
        predict(images, run, tmp_path / "table.csv", seed=0)
    assert not list((tmp_path / ".partial-table.csv").glob("part-*"))


@pytest.mark.usefixtures("red")
def test_weights_that_change_during_a_run_stop_it(run, images, tmp_path, monkeypatch):
    def train_on(*args):
        (run / WEIGHTS_NAME).write_bytes(b"weights of the next epoch")
        return start_job(*args)

    monkeypatch.setattr("zoobot3d_tf.predictions.predict_galaxies.start_job", train_on)
    with pytest.raises(ValueError, match=r"model.weights.h5: .*changed"):
        predict(images, run, tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


# Arguments


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"checkpoint_dir": "nowhere"}, OSError, "nowhere .*run folder.*config.json"),
        ({"folder_to_predict": "nowhere"}, OSError, "nowhere: .*folder"),
        ({"save_loc": "table.txt"}, ValueError, r"table.txt: .*table.* .csv or .parquet or .hdf5"),
        ({"n_samples": 0}, ValueError, "n_samples .* at least 1; received 0"),
        ({"batch_size": 0}, ValueError, "batch_size .* at least 1; received 0"),
        ({"n_votes": 0}, ValueError, "n_votes .* at least 1; received 0"),
        ({"crop_size": 0}, ValueError, "crop_size .* at least 1; received 0"),
        ({"seed": -1}, ValueError, "seed .* at least 0; received -1"),
        ({"engine": "torch"}, ValueError, "engine .*auto, tf, openvino; received 'torch'"),
        ({"mask_format": "gif"}, ValueError, "mask_format .*png, fits; received 'gif'"),
        ({"schema": RINGS}, ValueError, "run .*'decals'.*'rings'.*schema"),
        ({"initial_size": 300}, ValueError, "run .*initial_size 64, not 300; .*force"),
        ({"crop_size": 50}, ValueError, "run .*crop_size 48, not 50"),
        ({"final_size": 224}, ValueError, "run .*final_size 32, not 224"),
        ({"final_size": 50, "force": True}, ValueError, "size .*32 pixels; received 50"),
        ({"crop_size": 65, "force": True}, ValueError, "crop.size 65 .* 64"),
        ({"stretch": "lupton"}, ValueError, "run .*stretch galaxy-zoo, not lupton"),
        ({"stretch": "log", "force": True}, ValueError, "stretch .*galaxy-zoo, lupton.*'log'"),
        ({"overlays": True}, ValueError, "overlays .*masks_dir"),
        ({"masks_dir": "masks", "masks_file": "masks.fits"}, ValueError, "masks_dir or to masks_file"),
        ({"masks_file": "masks.png"}, ValueError, r"masks.png: .*file of masks.* .fits"),
        ({"masks_dir": "images"}, ValueError, "masks_dir .*/images$"),
        ({"masks_dir": "images/masks", "recursive": True}, ValueError, "masks_dir .*/images/masks$"),
        ({"masks_dir": "run/config.json"}, OSError, "config.json: is a file.*masks_dir"),
        ({"n_sample": 3}, TypeError, "n_sample'"),
    ],
)
def test_mistakes_are_answered_in_a_line(run, images, tmp_path, monkeypatch, changed, error, words):
    monkeypatch.chdir(tmp_path)
    arguments = {"folder_to_predict": "images", "checkpoint_dir": "run", "save_loc": "table.csv"}
    with pytest.raises(error, match=words):
        predict(**(arguments | changed))
    assert not list(tmp_path.glob("*table*"))


@pytest.mark.parametrize(
    ("tasks", "masks_dir", "words"),
    [(("votes",), "masks", "part .*without masks.*masks_dir"), (("bar_mask",), None, "part .*masks only.*masks_file")],
)
def test_what_the_model_cannot_say_is_refused(tmp_path, images, tasks, masks_dir, words):
    run = make_run(tmp_path / "part", tasks=tasks)
    with pytest.raises(ValueError, match=words):
        predict(images, run, tmp_path / "table.csv", masks_dir=masks_dir and tmp_path / masks_dir)


@pytest.mark.parametrize(
    ("locked", "more", "words"),
    [
        ("out", {}, "out: cannot be written.* table"),
        ("masks", {"masks_dir": "masks/of/these"}, "masks: cannot be written.* masks_dir"),
        (
            "masks",
            {"masks_file": "masks/m.fits"},
            "masks: cannot be written.* file of masks",
        ),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    run, images, tmp_path, monkeypatch, locked, more, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "masks").mkdir()
    # Tests may run as superuser, who can write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / locked)
    with pytest.raises(PermissionError, match=words):
        predict(images, run, "out/table.csv", **more)
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("red")
def test_a_table_does_not_take_the_metadata_of_its_neighbour(run, images, tmp_path):
    predict(images, run, tmp_path / "table.csv")
    with pytest.raises(ValueError, match=r"table.parquet: .*table_metadata.json .*table.csv"):
        predict(images, run, tmp_path / "table.parquet")
    predict(images, run, tmp_path / "table.csv")
    (tmp_path / "table.csv").unlink()
    predict(images, run, tmp_path / "table.parquet")
    (tmp_path / "table.csv").write_text("a catalogue, say, which no metadata describe")
    predict(images, run, tmp_path / "table.parquet")


def test_an_unfinished_run_folder_is_refused(run, images, tmp_path):
    (run / WEIGHTS_NAME).unlink()
    with pytest.raises(ValueError, match=r"no model.weights.h5"):
        predict(images, run, tmp_path / "table.csv")


def test_weights_that_do_not_fit_their_configuration_are_refused(run, images, tmp_path):
    with pytest.raises(ValueError, match=r"model.weights.h5: .*damaged.*not a complete HDF5 file"):
        predict(images, run, tmp_path / "table.csv")
    with pytest.raises(
        ValueError, match=r"model.weights.h5: .*damaged.*not a complete HDF5 file"
    ):  # again, since no job is left
        predict(images, run, tmp_path / "table.csv", n_samples=2)


@pytest.mark.usefixtures("red")
def test_a_contradiction_that_is_forced_is_used_and_recorded(run, images, tmp_path):
    as_trained = load_predictions(predict(images, run, tmp_path / "a.csv", samples=True))
    forced = load_predictions(
        predict(images, run, tmp_path / "b.csv", samples=True, crop_size=24, final_size=64, force=True)
    )
    assert not np.allclose(forced.concentrations, as_trained.concentrations)
    (of_run,) = forced.metadata["runs"]
    assert of_run["forced"] == {"crop_size": [48, 24], "final_size": [32, 64]}
    assert (of_run["crop_size"], of_run["final_size"]) == (24, 64)


def test_mistakes_are_answered_before_tensorflow_is_imported(run, images):
    script = (
        "import sys; from zoobot3d_tf.predictions.predict_on_images import predict\n"
        f"try: predict({str(images)!r}, {str(run)!r}, 'table.csv', crop_size=1)\n"
        "except ValueError: sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1]).returncode == 0


# Masks


def centroid(mask: np.ndarray) -> np.ndarray:
    return np.array(ndimage.center_of_mass(mask))


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize("shape", [(424, 424), (300, 421), (97, 80)])
def test_masks_lie_over_their_image_to_a_tenth_of_a_pixel(tmp_path, shape):
    run = make_run(tmp_path / "run", sizes=(300, 225, 224))
    side = min(shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    row, column = shape[0] / 2 - 0.11 * side, shape[1] / 2 + 0.17 * side
    disc = np.clip(0.12 * side + 0.5 - np.hypot(rows - row, columns - column), 0, 1)
    (tmp_path / "images").mkdir()
    red = np.rint(255 * disc[..., None] * (0, 0, 1)).astype(np.uint8)  # OpenCV's order is blue, green, red
    cv2.imwrite(str(tmp_path / "images" / "disc.png"), red)
    predict(tmp_path / "images", run, tmp_path / "t.csv", masks_dir=tmp_path / "masks", overlays=True)

    spiral = cv2.imread(str(tmp_path / "masks" / "disc_spiral_mask.png"), cv2.IMREAD_UNCHANGED)
    bar = cv2.imread(str(tmp_path / "masks" / "disc_bar_mask.png"), cv2.IMREAD_UNCHANGED)
    overlay = cv2.imread(str(tmp_path / "masks" / "disc_overlay.png"))
    assert spiral.dtype == bar.dtype == np.uint8
    assert spiral.shape == bar.shape == overlay.shape[:2] == shape
    assert (spiral.max(), bar.max()) == (255, 128)
    for mask in (spiral, bar):
        assert np.hypot(*(centroid(mask) - (row, column))) < 0.1
    np.testing.assert_allclose(spiral.sum() / 255, disc.sum(), rtol=0.01)
    assert (overlay[spiral > 200] != red[spiral > 200]).any(axis=1).all()

    table = load_predictions(tmp_path / "t.csv").table
    enclosed = (bar >= 3 / 15 * 255).sum()
    assert table.bar_area_px[0] == enclosed
    assert np.isnan(table.bar_length_arcsec[0])


@pytest.mark.usefixtures("red")
def test_masks_of_all_formats_are_the_same_and_named_in_the_table(run, images, tmp_path):
    masks = tmp_path / "masks"
    tables = [
        predict(images, run, tmp_path / "png.csv", masks_dir=masks),
        predict(images, run, tmp_path / "fits.csv", masks_dir=masks, mask_format="fits"),
        predict(images, run, tmp_path / "one.csv", masks_file=tmp_path / "masks.fits"),
    ]
    png, fits, one = (load_predictions(table).table for table in tables)
    assert png.spiral_mask_loc[1] == str(masks / "galaxy_1_spiral_mask.png")
    assert fits.spiral_mask_loc[1] == f"{masks / 'galaxy_1_masks.fits'}[SPIRAL]"
    assert one.bar_mask_loc[1] == f"{tmp_path / 'masks.fits'}[BAR,2]"
    for name in ("spiral_mask", "bar_mask"):
        for locs in zip(*(table[f"{name}_loc"] for table in (png, fits, one)), strict=True):
            first, *others = (read_mask_file(loc) for loc in locs)
            assert first.max() > 0.2
            for other in others:
                np.testing.assert_allclose(other, first, atol=1e-6)


@pytest.mark.usefixtures("red")
def test_fits_masks_without_a_position_are_announced_once(run, images, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        predict(images, run, tmp_path / "table.csv", masks_dir=tmp_path / "masks", mask_format="fits")
    assert sum("have no WCS" in message for message in caplog.messages) == 1
    header = fits.getheader(tmp_path / "masks" / "galaxy_0_masks.fits")
    assert header["CREATOR"] == f"zoobot3d_tf {__version__}"
    assert header["SHA_1"] == sha256_of(run / WEIGHTS_NAME)


@pytest.mark.usefixtures("red")
def test_a_galaxy_whose_id_leads_out_of_the_folder_is_skipped(run, images, tmp_path):
    galaxies = galaxies_in_folder(images, "png", False)
    galaxies.loc[3, "id_str"] = "../../outside"
    galaxies.loc[4, "id_str"] = "sub/inside"
    table = predict_galaxies(galaxies, run, tmp_path / "table.csv", PredictionOptions(masks_dir=tmp_path / "masks"))
    assert len(load_predictions(table).table) == 10
    assert (tmp_path / "masks" / "sub" / "inside_bar_mask.png").is_file()
    failed = pd.read_csv(tmp_path / "table_failed.csv")
    assert list(failed.id_str) == ["../../outside"]
    assert not [*tmp_path.parent.glob("outside*"), *tmp_path.rglob("outside*")]
    # Without masks, no file is named after an id.
    predict_galaxies(galaxies, run, tmp_path / "votes.csv")
    assert len(load_predictions(tmp_path / "votes.csv").table) == 11


@pytest.mark.usefixtures("red")
def test_sub_folders_are_part_of_the_id_and_of_the_masks_path(run, tmp_path):
    folder = tmp_path / "jpegs"
    draw_galaxies(folder / "north", 2, ".jpg")
    draw_galaxies(folder / "south", 1, ".jpg")
    predict(
        folder, run, tmp_path / "t.csv", file_format="jpg", recursive=True, masks_dir=tmp_path / "masks", overlays=True
    )
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table.id_str) == ["north/galaxy_0", "north/galaxy_1", "south/galaxy_0"]
    assert table.bar_mask_loc[2] == str(tmp_path / "masks/south/galaxy_0_bar_mask.png")
    written = {str(path.relative_to(tmp_path / "masks")) for path in (tmp_path / "masks").rglob("*.png")}
    assert written == {f"{i}_{what}.png" for i in table.id_str for what in ("spiral_mask", "bar_mask", "overlay")}


# Calibration


def calibrate(run: Path, **changed) -> Calibration:
    """Give a run a calibration: factors of 1/2, and half of each mask."""
    known = {"weights_sha256": sha256_of(run / WEIGHTS_NAME), "n_galaxies": 9, "n_samples": 2, "source": "eval_shards"}
    halves = {name: MaskMap((0.0, 1.0), (0.0, 0.5)) for name in ("spiral_mask", "bar_mask")}
    factors = {question.text: 0.5 for question in DECALS.questions}
    fitted = Calibration(**{"factors": factors, "masks": halves, "version": "0.1", **known, **changed})
    write_calibration(run, fitted)
    return fitted


@pytest.mark.usefixtures("red")
def test_the_calibration_of_a_run_is_applied_unless_it_is_turned_off(run, images, tmp_path):
    def predicted(name, **options):
        return load_predictions(predict(images, run, tmp_path / f"{name}.csv", n_samples=2, samples=True, **options))

    before = predicted("before", masks_file=tmp_path / "before.fits")
    fitted = calibrate(run)
    after = predicted("after", masks_file=tmp_path / "after.fits")
    np.testing.assert_allclose(after.concentrations, before.concentrations / 2, rtol=1e-6)
    answer = "bar_strong"
    np.testing.assert_allclose(after.table[f"{answer}_fraction"], before.table[f"{answer}_fraction"], rtol=1e-5)
    assert (after.table[f"{answer}_high"] > before.table[f"{answer}_high"]).all()
    for name in ("spiral_mask", "bar_mask"):
        masks = (read_mask_file(each.table[f"{name}_loc"][3]) for each in (before, after))
        np.testing.assert_allclose(np.subtract(*masks) * 2, read_mask_file(before.table[f"{name}_loc"][3]), atol=0.009)
    assert Calibration.from_dict(after.metadata["runs"][0]["calibration"]) == fitted
    without = predicted("without", no_calibration=True)
    np.testing.assert_array_equal(without.concentrations, before.concentrations)
    assert without.metadata["runs"][0]["calibration"] is None


@pytest.mark.usefixtures("red")
def test_a_run_does_not_continue_with_another_calibration(run, images, tmp_path, monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.inference.run_job.available_cores", lambda: 0)
    calibrate(run)
    with monkeypatch.context() as patch:
        read_until(patch, "galaxy_6.png", MemoryError())
        with pytest.raises(OSError, match="run the same again"):
            predict(images, run, tmp_path / "table.csv", n_samples=2)
    with pytest.raises(ValueError, match=r"unfinished run with other calibration:"):
        predict(images, run, tmp_path / "table.csv", n_samples=2, no_calibration=True)


@pytest.mark.usefixtures("red")
def test_a_stale_calibration_is_refused_and_another_number_of_samples_is_said(run, images, tmp_path, caplog):
    calibrate(run)
    predict(images, run, tmp_path / "table.csv", n_samples=3)
    assert "fitted with 2 dropout samples, not 3" in caplog.text
    calibrate(run, weights_sha256="0" * 64)
    with pytest.raises(ValueError, match=r"other weights.*set no_calibration"):
        predict(images, run, tmp_path / "table.csv")
    assert main(["predict", str(images), "--checkpoint-dir", str(run), "--save-loc", str(tmp_path / "t.csv")]) == 2
    predict(images, run, tmp_path / "table.csv", no_calibration=True, overwrite=True)


# Several runs


@pytest.fixture
def other(tmp_path) -> Path:
    """A second run, which sees the whole image."""
    folder = make_run(tmp_path / "other", sizes=(INITIAL, INITIAL, FINAL))
    (folder / WEIGHTS_NAME).write_bytes(b"other weights")
    return folder


@pytest.mark.usefixtures("red")
def test_samples_of_several_runs_are_side_by_side_with_the_framing_of_each(run, other, images, tmp_path):
    alone = [
        load_predictions(predict(images, each, tmp_path / f"{each.name}.csv", n_samples=2, samples=True))
        for each in (run, other)
    ]
    assert not np.allclose(alone[0].concentrations, alone[1].concentrations)
    both = load_predictions(predict(images, [run, other], tmp_path / "both.csv", n_samples=2, samples=True))
    expected = np.concatenate([each.concentrations for each in alone], axis=2)
    np.testing.assert_array_equal(both.concentrations, expected)
    for name, column in vote_values(expected, DECALS, 40).items():
        if name != "most_likely":
            np.testing.assert_allclose(both.table[name], column, rtol=1e-5)
    stored = both.metadata["runs"]
    assert [each["run_folder"] for each in stored] == [str(run), str(other)]
    assert [each["weights_sha256"] for each in stored] == [sha256_of(each / WEIGHTS_NAME) for each in (run, other)]
    assert [(each["n_samples"], each["crop_size"]) for each in stored] == [(2, 48), (2, 64)]


@pytest.mark.usefixtures("red")
def test_masks_of_several_runs_are_the_mean_of_those_that_see_the_pixel(run, other, images, tmp_path):
    def masks_of(name, runs):
        table = load_predictions(predict(images, runs, tmp_path / f"{name}.csv", masks_file=tmp_path / f"{name}.fits"))
        return read_mask_file(table.table["spiral_mask_loc"][0])

    first, second, both = masks_of("first", run), masks_of("second", other), masks_of("both", [run, other])
    corner, centre = np.s_[:4, :4], np.s_[20:40, 25:45]
    assert (first[corner] == 0).all()
    np.testing.assert_allclose(both[corner], second[corner], atol=0.005)
    np.testing.assert_allclose(both[centre], (first[centre] + second[centre]) / 2, atol=0.005)


@pytest.mark.usefixtures("red")
def test_each_run_has_its_own_calibration(run, other, images, tmp_path, caplog):
    before = load_predictions(predict(images, [run, other], tmp_path / "table.csv", n_samples=2, samples=True))
    calibrate(other)
    after = load_predictions(predict(images, [run, other], tmp_path / "after.csv", n_samples=2, samples=True))
    ratio = after.concentrations / before.concentrations
    np.testing.assert_allclose(ratio, np.broadcast_to([1, 1, 0.5, 0.5], ratio.shape), rtol=1e-6)
    assert f"not calibrated, unlike the other runs: {run}" in caplog.text


@pytest.mark.usefixtures("red")
def test_each_image_is_read_once_for_all_runs(run, other, images, tmp_path, monkeypatch):
    from zoobot3d_tf.inference import source_images

    read, names = source_images.read_image, []
    monkeypatch.setattr(source_images, "read_image", lambda path, stretch: names.append(path) or read(path, stretch))
    predict(images, [run, other], tmp_path / "table.csv")
    assert len(names) == len(set(names)) == 11


@pytest.mark.usefixtures("red")
def test_one_run_in_a_list_is_that_run_alone(run, images, tmp_path, caplog):
    expected = load_predictions(predict(images, run, tmp_path / "one.csv"))
    received = load_predictions(predict(images, [run], tmp_path / "list.csv"))
    pd.testing.assert_frame_equal(received.table, expected.table)
    assert "is the only run" in caplog.text


@pytest.mark.usefixtures("red")
def test_the_command_takes_several_runs(run, other, images, tmp_path, capsys):
    arguments = ["--folder", str(images), "--save-loc", str(tmp_path / "table.csv"), "--n-samples", "3", "--samples"]
    assert main(["predict", "--runs", str(run), str(other), *arguments]) == 0
    assert load_predictions(tmp_path / "table.csv").concentrations.shape == (11, 34, 6)
    with pytest.raises(SystemExit):
        main(["predict", "--runs", str(run), "--checkpoint-dir", str(other), *arguments])


def test_runs_that_cannot_be_predicted_together_are_refused(run, images, tmp_path):
    def refused(words, *runs, **options):
        with pytest.raises(ValueError, match=words):
            predict(images, runs, tmp_path / "table.csv", **options)

    def other_run(name, change=lambda config: None, **settings):
        folder = make_run(tmp_path / name, **settings)
        (folder / WEIGHTS_NAME).write_text(name)
        config = json.loads((folder / CONFIG_NAME).read_text())
        change(config)
        (folder / CONFIG_NAME).write_text(json.dumps(config))
        return folder

    refused("an empty list")
    refused("run and .*run have the same weights; give each run once", run, run)
    refused("copy have the same weights", run, Path(shutil.copytree(run, tmp_path / "copy")))
    refused("other tasks .*on votes", run, other_run("votes", tasks=("votes",)))
    rings = other_run("rings", lambda config: config["model"].update(schema=RINGS.to_dict()))
    refused("other decision trees .*'decals'.*'rings'", run, rings)
    linear = other_run("stretch", lambda config: config.update(stretch="lupton"))
    refused(r"values of stretch \(.*run: galaxy-zoo, .*stretch: lupton\)", run, linear)

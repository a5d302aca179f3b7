"""From a folder of images to a table and masks: every number, every failure, every interruption."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.special import betainc

from zoobot3d_tf.data.framing import Framing, central_affine, warp
from zoobot3d_tf.images.read import read_image, resize_image
from zoobot3d_tf.predictions import predict_on_images
from zoobot3d_tf.predictions.folder import find_images
from zoobot3d_tf.predictions.mask_files import to_image
from zoobot3d_tf.predictions.predict_on_images import predict
from zoobot3d_tf.predictions.results import column_names, expected_fractions, mixture_interval, vote_values
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.training.run_folder import WEIGHTS_NAME, TrainedRun, read_run, write_config
from zoobot3d_tf.training.training_config import get_run_config

DECALS = get_schema("decals")
RINGS = get_schema("rings")
INITIAL, CROP, FINAL = 64, 48, 32


class RedNetwork:
    """Stands for the network where the road about it is tested: the red band is the spiral mask, its mean the votes."""

    step = 4

    def __init__(self, run, masks, n_samples, batch_size, seed):
        self.masks, self.n_samples, self.n_answers = masks, n_samples, len(run.model.schema.label_cols)

    def __call__(self, images, id_strs):
        votes = 1 + images.mean(axis=(1, 2, 3))[:, None, None] + np.arange(self.n_answers)[:, None]
        red = images[..., 0].astype(np.float32) / 255
        masks = {name: red if name == "spiral_mask" else red / 2 for name in self.masks}
        return {"votes": votes + np.arange(self.n_samples) / 10, **masks}


def make_run(folder: Path, tasks=("votes", "spiral_mask", "bar_mask"), sizes=(INITIAL, CROP, FINAL)) -> Path:
    initial, crop, final = sizes
    settings = {"train_records": ["train"], "eval_records": ["eval"], "epochs": 1, "batch_size": 4}
    config = get_run_config(initial, final, crop, folder, schema=DECALS, tasks=tasks, **settings)
    write_config(config.log_dir, config.to_dict())
    (folder / WEIGHTS_NAME).write_bytes(b"weights of a network that is not called")
    return folder


def draw_galaxies(folder: Path, n: int, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (60 + i, 70, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f"galaxy_{i}{suffix}"), pixels)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network whose features, votes and masks differ from galaxy to galaxy; it knows its run folder."""
    import keras

    from zoobot3d_tf.models import build_model

    run = read_run(make_run(tmp_path_factory.mktemp("runs") / "real"))
    keras.utils.set_random_seed(0)
    model = build_model(run.model)
    # Untrained, the signal dies in the depths: batch normalisation must have met some images once.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(np.random.default_rng(0).uniform(0, 255, (8, FINAL, FINAL, 3)).astype(np.float32), training=True)
    kernel = model.get_layer("vote_head").get_layer("sigmoid").kernel
    kernel.assign(kernel / 300)  # or every answer would be as sure as can be
    model.save_weights(run.folder / WEIGHTS_NAME)
    model.run = run
    return model


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def images(tmp_path) -> Path:
    return draw_galaxies(tmp_path / "images", 11)


@pytest.fixture
def red(monkeypatch):
    """The road with `RedNetwork`, in parts of four galaxies."""
    from zoobot3d_tf.predictions import network

    monkeypatch.setattr(network, "Network", RedNetwork)
    monkeypatch.setattr(predict_on_images, "PART_SIZE", 4)


# The numbers


def test_columns_stand_in_the_order_of_the_schema():
    assert column_names(RINGS, 2, ["spiral_mask"]) == [
        "id_str",
        "file_loc",
        *(f"ring_yes_{what}" for what in ("concentration_0", "concentration_1", "fraction", "low", "high", "joint_p")),
        *(f"ring_no_{what}" for what in ("concentration_0", "concentration_1", "fraction", "low", "high", "joint_p")),
        "ring_asked_p",
        "spiral_mask_loc",
    ]
    assert column_names(None, 2, ["bar_mask"]) == ["id_str", "file_loc", "bar_mask_loc"]


def test_values_known_by_hand():
    # Concentrations 1 and 1 leave the fraction uniform; samples (1, 1) and (3, 1) expect 1/2 and 3/4 of yes.
    uniform = vote_values(np.ones((1, 2, 1)), RINGS)
    np.testing.assert_allclose(uniform, [[1, 0.5, 0.05, 0.95, 0.5, 1, 0.5, 0.05, 0.95, 0.5, 1]], atol=1e-6)
    values = vote_values(np.array([[[1, 3], [1, 1]]]), RINGS)
    assert values[0, 2] == pytest.approx(0.625)
    # Beta(3, 1) has the distribution function x**3: the 5 % quantile of the mixture solves (x + x**3) / 2 = 0.05.
    low = values[0, 3]
    assert (low + low**3) / 2 == pytest.approx(0.05, abs=1e-5)


def test_published_fractions_and_joint_probabilities(reference):
    golden = np.load(reference / "reference/golden/acquisition/dirichlet_mixture.npz")
    schema = get_schema("decals_dr5_ortho")
    concentrations = golden["concentrations"].reshape(12, 34, 10)
    fraction = expected_fractions(concentrations, schema)
    np.testing.assert_allclose(fraction, golden["expected_fractions"], rtol=1e-9)
    values = dict(zip(column_names(schema, 10)[2:], vote_values(concentrations, schema).T, strict=True))
    for i, answer in enumerate(schema.label_cols):
        if not answer.startswith("merging"):  # which the published trees ask always, ours of the smooth and featured
            published = golden["joint_probability_of_answer"][:, i]
            np.testing.assert_allclose(values[f"{answer}_joint_p"], published, rtol=1e-5)


def test_intervals_hold_nine_tenths_of_what_is_drawn():
    rng = np.random.default_rng(1)
    concentrations = rng.uniform(1, 101, (3, 34, 5)) ** rng.uniform(0, 1, (3, 34, 1))
    low, high = mixture_interval(concentrations, DECALS)
    for part in DECALS.slices:
        for galaxy in range(3):
            samples = concentrations[galaxy, part].T
            drawn = np.concatenate([rng.dirichlet(sample, 20_000) for sample in samples])
            np.testing.assert_allclose((drawn < low[galaxy, part]).mean(axis=0), 0.05, atol=0.004)
            np.testing.assert_allclose((drawn > high[galaxy, part]).mean(axis=0), 0.05, atol=0.004)


def test_intervals_are_those_of_the_mixture_where_samples_disagree():
    # Two samples sure of opposite answers: the ends lie out beyond the two peaks, not between them.
    concentrations = np.array([[[101.0, 1.0], [1.0, 101.0]]])
    low, high = mixture_interval(concentrations, RINGS)
    mean_cdf = [np.mean([betainc(101, 1, x), betainc(1, 101, x)]) for x in (low[0, 0], high[0, 0])]
    np.testing.assert_allclose(mean_cdf, [0.05, 0.95], atol=1e-3)
    assert low[0, 0] < 0.01
    assert high[0, 0] > 0.99


# The network


def test_network_says_what_the_model_says(model, images):
    from zoobot3d_tf.predictions.network import Network

    pixels = [resize_image(read_image(path), INITIAL) for path in sorted(images.iterdir())[:3]]
    framed = np.stack([warp(image, central_affine(model.run.framing), FINAL) for image in pixels])
    outputs = Network(model.run, model.run.model.masks, n_samples=1, batch_size=3, seed=0)(framed, ["a", "b", "c"])
    expected = model(framed.astype(np.float32), training=False)
    np.testing.assert_allclose(outputs["votes"][..., 0], expected["votes"], rtol=1e-3)
    for name in ("spiral_mask", "bar_mask"):
        assert outputs[name].std() > 0.02
        np.testing.assert_allclose(outputs[name], expected[name][..., 0], atol=1e-3)


def test_samples_are_those_of_the_heads_own_dropout_and_of_the_galaxy_alone(model, monkeypatch):
    import keras

    from zoobot3d_tf.predictions.network import Network

    monkeypatch.setattr(TrainedRun, "load_model", lambda run: model)
    framed = np.random.default_rng(0).integers(0, 256, (2, FINAL, FINAL, 3), dtype=np.uint8)
    network = Network(model.run, (), n_samples=1000, batch_size=2, seed=0)
    votes = network(framed, ["a", "b"])["votes"]

    features = keras.Model(model.input, model.get_layer("features").output)(framed[:1].astype(np.float32))
    keras.utils.set_random_seed(0)
    own = np.asarray(model.get_layer("vote_head")(np.repeat(features, 1000, axis=0), training=True)).T
    spread = own.std(axis=1)
    assert np.median(spread) > 1
    assert (np.abs(votes[0].mean(axis=1) - own.mean(axis=1)) < 5 * np.sqrt(2 / 1000) * spread).all()
    np.testing.assert_allclose(votes[0].std(axis=1), spread, rtol=0.2)

    np.testing.assert_allclose(network(framed[::-1], ["b", "a"])["votes"][1], votes[0], rtol=1e-3)
    assert not np.allclose(network(framed, ["c", "b"])["votes"][0], votes[0])


def test_snippet_of_the_original_zoobot_runs_unchanged(model, images, tmp_path, reference):
    (images / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    snippet = reference / "reference" / "seed_snippets" / "predict.py"
    arguments = [images, model.run.folder, tmp_path / "table.csv", "decals", INITIAL, FINAL]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run([sys.executable, snippet, *map(str, arguments)], check=True, env=environment)
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == column_names(DECALS, 5)
    assert list(table.id_str) == sorted(path.stem for path in images.glob("galaxy_*"))
    numbers = table.drop(columns=["id_str", "file_loc"]).to_numpy()
    assert np.isfinite(numbers).all()
    assert (table["bar_no_low"] < table["bar_no_fraction"]).all()
    assert (table["bar_no_fraction"] < table["bar_no_high"]).all()
    assert (table["bar_no_concentration_0"] != table["bar_no_concentration_1"]).all()


# The table


@pytest.mark.usefixtures("red")
def test_csv_and_parquet_hold_the_same_in_the_order_of_the_files(run, images, tmp_path):
    predict(images, run, tmp_path / "table.csv", n_samples=3)
    predict(images, run, tmp_path / "table.parquet", n_samples=3)
    csv, parquet = pd.read_csv(tmp_path / "table.csv"), pd.read_parquet(tmp_path / "table.parquet")
    names = sorted(path.name for path in images.iterdir())
    assert list(csv.file_loc) == list(parquet.file_loc) == [str(images / name) for name in names]
    assert list(csv.id_str) == list(parquet.id_str) == [name.removesuffix(".png") for name in names]
    assert list(csv.columns) == list(parquet.columns) == column_names(DECALS, 3)
    numbers = csv.columns[2:]
    np.testing.assert_array_equal(csv[numbers].to_numpy(np.float32), parquet[numbers].to_numpy())
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "table_failed.csv", "table.parquet"}
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.usefixtures("red")
def test_what_cannot_be_read_costs_itself_alone(run, images, tmp_path, caplog):
    predict(images, run, tmp_path / "table.csv")
    before = pd.read_csv(tmp_path / "table.csv").set_index("id_str")
    whole = (images / "galaxy_3.png").read_bytes()
    (images / "galaxy_3.png").write_bytes(whole[: len(whole) // 2])
    for name in ("galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2"):  # a part without any row
        (images / f"{name}.png").write_bytes(b"")
    with caplog.at_level(logging.INFO):
        predict(images, run, tmp_path / "table.csv")
    assert "6 galaxies predicted" in caplog.text
    assert "5 images left out" in caplog.text
    table = pd.read_csv(tmp_path / "table.csv").set_index("id_str")
    pd.testing.assert_frame_equal(table, before.drop(["galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2", "galaxy_3"]))
    failed = pd.read_csv(tmp_path / "table_failed.csv")
    assert list(failed.id_str) == ["galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2", "galaxy_3"]
    assert failed.file_loc[4] == str(images / "galaxy_3.png")
    assert "galaxy_0.png: not a PNG, JPEG or FITS file" in failed.reason[0]
    assert "galaxy_3.png: cannot be read" in failed.reason[4]


@pytest.mark.usefixtures("red")
def test_when_nothing_can_be_read_the_table_before_stays(run, images, tmp_path):
    predict(images, run, tmp_path / "table.csv")
    before = (tmp_path / "table.csv").read_bytes()
    for path in images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 11 images can be used; the first: .*galaxy_0.png: not a PNG"):
        predict(images, run, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == before
    assert len(pd.read_csv(tmp_path / "table_failed.csv")) == 11


@pytest.mark.usefixtures("red")
def test_a_run_of_masks_alone_has_no_columns_of_votes(images, tmp_path, monkeypatch):
    answer = RedNetwork.__call__
    monkeypatch.setattr(RedNetwork, "__call__", lambda *args: {"bar_mask": answer(*args)["bar_mask"]})
    run = make_run(tmp_path / "masks_run", tasks=("bar_mask",))
    predict(images, run, tmp_path / "table.csv", masks_dir=tmp_path / "masks")
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == ["id_str", "file_loc", "bar_mask_loc"]
    assert all(Path(path).is_file() for path in table.bar_mask_loc)


# Interruptions

INTERRUPTED = """
import os, signal, sys, time, types
from test_predictions import RedNetwork, predict, predict_on_images

class Interrupted(RedNetwork):
    def __call__(self, images, id_strs):
        if "galaxy_6" in id_strs:
            while not os.path.exists({first_part!r}):
                time.sleep(0.01)
            {interruption}
        return super().__call__(images, id_strs)

sys.modules["zoobot3d_tf.predictions.network"] = types.SimpleNamespace(Network=Interrupted)
predict_on_images.PART_SIZE = 4
predict({images!r}, {run!r}, {table!r}, n_samples=2)
"""


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize(
    ("interruption", "exit_code"),
    [("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL), ("raise OSError('no space left')", 1)],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    run, images, tmp_path, monkeypatch, interruption, exit_code, suffix
):
    table = tmp_path / f"table{suffix}"
    predict(images, run, table, n_samples=2)
    whole = table.read_bytes()
    table.unlink()

    parts = tmp_path / f".partial-{table.name}"
    places = {"images": images, "run": run, "table": table, "first_part": parts / "part-000000.parquet"}
    script = INTERRUPTED.format(interruption=interruption, **{name: str(place) for name, place in places.items()})
    paths = os.pathsep.join(str(Path(__file__).parents[i]) for i in (0, 1))
    ended = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": paths}, capture_output=True)
    assert ended.returncode == exit_code
    assert not table.exists()
    assert list(parts.glob("part*")) == [parts / "part-000000.parquet"]

    with pytest.raises(ValueError, match=r"unfinished run with other n_samples, seed: repeat its command"):
        predict(images, run, table, n_samples=3, seed=1)

    predicted = []
    call = RedNetwork.__call__
    monkeypatch.setattr(RedNetwork, "__call__", lambda *args: predicted.extend(args[2]) or call(*args))
    predict(images, run, table, n_samples=2)
    assert sorted(predicted) == [f"galaxy_{i}" for i in (3, 4, 5, 6, 7, 8, 9)]
    assert table.read_bytes() == whole
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.usefixtures("red")
def test_what_is_left_of_a_finished_run_is_not_taken_for_an_unfinished_one(run, images, tmp_path):
    # Killed while the parts were being removed, the settings first.
    (tmp_path / ".partial-table.csv").mkdir()
    (tmp_path / ".partial-table.csv" / "part-000001.parquet").write_bytes(b"of other settings")
    predict(images, run, tmp_path / "table.csv")
    assert len(pd.read_csv(tmp_path / "table.csv")) == 11


def test_memory_does_not_grow_with_the_number_of_galaxies():
    started = []
    lock = threading.Lock()

    def start(item):
        with lock:
            started.append(item)
        return item

    results = predict_on_images._map_on_threads(start, iter(range(10_000)), ahead=8)
    for expected in range(100):
        assert next(results) == expected
        assert len(started) <= expected + 1 + 8 + os.cpu_count()
    results.close()
    assert len(started) < 200


# Arguments


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"checkpoint_dir": "nowhere"}, OSError, "nowhere is not a run folder"),
        ({"folder_to_predict": "nowhere"}, OSError, "nowhere: no such folder"),
        ({"file_format": "jpg"}, ValueError, r"images: holds no .jpg or .jpeg images; those in sub-folders"),
        ({"file_format": "tif"}, ValueError, "file_format must be one of png, jpg, fits; received 'tif'"),
        ({"save_loc": "table.txt"}, ValueError, r"table.txt: the table's name must end in .csv or .parquet"),
        ({"save_loc": "nowhere/table.csv"}, OSError, "nowhere: no such folder; make it for the table first"),
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1; received 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; received 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0; received -1"),
        ({"schema": RINGS}, ValueError, "was trained with .*'decals'.*, not .*'rings'.*; leave out schema"),
        ({"initial_size": 300}, ValueError, "was trained with initial_size 64, not 300; leave out initial_size"),
        ({"crop_size": 50}, ValueError, "was trained with crop_size 48, not 50"),
        ({"final_size": 224}, ValueError, "was trained with final_size 32, not 224"),
        ({"overlays": True}, ValueError, "overlays stand beside the masks: give masks_dir too"),
        ({"masks_dir": "images"}, ValueError, "lies among the images"),
        ({"masks_dir": "images/masks", "recursive": True}, ValueError, "lies among the images"),
        ({"masks_dir": "run/config.json"}, OSError, "config.json: is not a folder"),
    ],
)
def test_mistakes_are_answered_in_a_line(run, images, tmp_path, monkeypatch, changed, error, words):
    monkeypatch.chdir(tmp_path)
    arguments = {"folder_to_predict": "images", "checkpoint_dir": "run", "save_loc": "table.csv", "masks_dir": None}
    with pytest.raises(error, match=words):
        predict(**(arguments | changed))
    assert not list(tmp_path.glob("*table*"))


@pytest.mark.parametrize(
    ("tasks", "masks_dir", "words"),
    [(("votes",), "masks", "was trained without masks"), (("bar_mask",), None, "was trained on masks alone")],
)
def test_what_the_model_cannot_say_is_refused(tmp_path, images, tasks, masks_dir, words):
    run = make_run(tmp_path / "part", tasks=tasks)
    with pytest.raises(ValueError, match=words):
        predict(images, run, tmp_path / "table.csv", masks_dir=masks_dir and tmp_path / masks_dir)


def test_an_unfinished_run_folder_is_refused(run, images, tmp_path):
    (run / WEIGHTS_NAME).unlink()
    with pytest.raises(ValueError, match=r"no model.weights.h5; the run is unfinished"):
        predict(images, run, tmp_path / "table.csv")


def test_mistakes_are_answered_before_tensorflow_is_imported(run, images):
    script = (
        "import sys; from zoobot3d_tf.predictions.predict_on_images import predict\n"
        f"try: predict({str(images)!r}, {str(run)!r}, 'table.csv', crop_size=1)\n"
        "except ValueError: sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1]).returncode == 0


# Images and their ids


def test_images_are_found_by_suffix_sorted_and_hidden_ones_passed_over(tmp_path):
    for name in ("b.png", "a.2.PNG", "c.jpg", "d.jpeg", ".hidden.png", "sub/a.png", ".cache/a.png", "sub/deep/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(tmp_path, "png") == ["a.2.PNG", "b.png"]
    assert find_images(tmp_path, "jpg") == ["c.jpg", "d.jpeg"]
    assert find_images(tmp_path, "png", recursive=True) == ["a.2.PNG", "b.png", "sub/a.png", "sub/deep/e.png"]


def test_a_name_that_no_table_can_hold_is_refused(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/gal\xe9.png")).touch()
    with pytest.raises(ValueError, match=r"is not UTF-8, which a table needs; rename it"):
        find_images(tmp_path, "png")


def test_one_id_for_two_images_is_refused_by_both_names(tmp_path):
    for name in ("a.jpg", "a.b.jpg", "a.jpeg"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"a.jpeg and a.jpg would both have the id 'a'; rename one"):
        find_images(tmp_path, "jpg")


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


def test_outside_the_crop_a_mask_is_zero():
    mask = to_image(np.ones((224, 224), np.float32), Framing(300, 225, 224), (400, 440))
    assert mask.shape == (400, 440)
    # The crop is the central 300 px of 400, and its edge fades over a pixel of the network.
    assert mask[:49].max() == mask[351:].max() == mask[:, :69].max() == mask[:, 371:].max() == 0
    assert mask[52:348, 72:368].min() == 255

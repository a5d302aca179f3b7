"""The gallery of predictions: the files of the page, and its behaviour in a browser."""

import base64
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from zoobot3d_tf.files import workspace
from zoobot3d_tf.images.overlay import SPIRAL_COLOUR, draw_masks
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.labels import Label
from zoobot3d_tf.pages.gallery import write_gallery
from zoobot3d_tf.predictions.mask_files import to_fraction
from zoobot3d_tf.predictions.prediction_tables import write_table
from zoobot3d_tf.predictions.results import vote_values
from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"shape": ["_smooth", "_disc"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_disc"}, "small")
SIZE = 40
HOSTILE = '<img src=x onerror="window.struck=1"></script><script>window.struck=1</script> \'../é☄,\u2028'

# Expected fractions of smooth, disc, yes, no: concentrations of sum 100 a question.
FRACTIONS = np.array([[0.9, 0.1, 0.5, 0.5], [0.2, 0.8, 0.7, 0.3], [0.4, 0.6, 0.1, 0.9], [0.3, 0.7, 0.9, 0.1]])


@pytest.fixture
def table(tmp_path):
    """Four galaxies, a to d, with grey images. Masks: an arm in the centre of a and b, no bar."""
    write_images(tmp_path, 4)
    return write_predictions(tmp_path / "predictions.csv", FRACTIONS, ["a", "b", "c", "d"], n_arms=2)


def grey_image(height, width):
    """An image of nearly one grey level, since an image of one colour is refused."""
    image = np.full((height, width, 3), 50, np.uint8)
    image[0] = 52
    return image


def write_images(folder, n):
    for i in range(n):
        Image.fromarray(grey_image(SIZE, SIZE)).save(folder / f"image{i}.png")
    mask = np.zeros((SIZE, SIZE), np.uint8)
    Image.fromarray(mask).save(folder / "blank.png")
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(folder / "square.png")


def write_predictions(path, fractions, id_strs, n_arms=0, metadata=None, schema=SCHEMA):
    """A table of predictions with these fractions. The first `n_arms` galaxies have an arm."""
    n = len(fractions)
    columns = {
        "id_str": id_strs,
        "file_loc": [f"image{i}.png" for i in range(n)],
        **vote_values(100 * fractions[:, :, None], schema, n_votes=40),
        "spiral_mask_loc": ["square.png" if i < n_arms else "blank.png" for i in range(n)],
        "bar_mask_loc": ["blank.png"] * n,
        "bar_length_px": np.where(np.arange(n) == 0, np.nan, np.arange(n)).astype(np.float32),
    }
    write_table(path, [pa.table(columns)])
    write_metadata(path, {"schema": schema.to_dict(), "n_samples": 1} if metadata is None else metadata)
    return path


def rewrite(table, **columns):
    """Replace columns of the table."""
    changed = pd.read_csv(table).assign(**columns)
    changed.to_csv(table, index=False)


def data_of(page):
    text = (page.with_name(f"{page.stem}_files") / "data.js").read_text("ascii")
    return json.loads(text.removeprefix("const gallery = ").removesuffix(";\n"))


# What is written


def test_numbers_of_the_table_reach_the_page_as_they_are(table, tmp_path):
    data = data_of(write_gallery(table, tmp_path / "page.html"))
    columns = {name: np.frombuffer(base64.b64decode(code), "<f4") for name, code in data["columns"]}
    written = pd.read_csv(table)
    np.testing.assert_allclose(columns["bar_yes_fraction"], [0.5, 0.7, 0.1, 0.9], rtol=1e-6)
    for name, values in columns.items():
        np.testing.assert_allclose(values, written[name], rtol=1e-6)
    assert not [name for name in columns if "concentration" in name or "expected_votes" in name]
    assert data["id_str"] == ["a", "b", "c", "d"]
    assert data["most_likely"][1] == "shape_disc;bar_yes"
    assert data["questions"] == SCHEMA.to_dict()["questions"]
    assert data["notes"] == []


def test_a_mask_is_drawn_as_in_overlays_and_a_blank_one_not_at_all(table, tmp_path):
    page = write_gallery(table, tmp_path / "page.html")
    assert [mask["drawn"] for mask in data_of(page)["masks"]] == ["1100", "0000"]
    picture = np.array(Image.open(tmp_path / "page_files" / "0_spiral_mask.png").convert("RGBA")).astype(float)
    assert (picture[..., :3] == SPIRAL_COLOUR).all()
    opacity = picture[..., 3:] / 255
    image = grey_image(SIZE, SIZE)
    expected = draw_masks(image, to_fraction(np.array(Image.open(tmp_path / "square.png"))), None)
    np.testing.assert_allclose(image + opacity * (picture[..., :3] - image), expected, atol=8)
    assert not opacity[0].any()


def test_pictures_are_shrunk_never_enlarged_and_keep_their_shape(table, tmp_path):
    Image.fromarray(grey_image(40, 100)).save(tmp_path / "image0.png")
    Image.fromarray(np.full((40, 100), 255, np.uint8)).save(tmp_path / "square.png")
    page = write_gallery(table, tmp_path / "page.html", image_size=50)
    sizes = [Image.open(tmp_path / "page_files" / name).size for name in ("0.jpg", "0_spiral_mask.png", "1.jpg")]
    assert sizes == [(50, 20), (50, 20), (SIZE, SIZE)]
    assert "100" in data_of(page)["notes"][0], "the mask of b no longer fits its image"


def test_what_cannot_be_read_is_counted_and_the_rest_shown(table, tmp_path):
    (tmp_path / "image0.png").unlink()
    (tmp_path / "image1.png").write_bytes(b"no image")
    locs = ["square.png", "gone.png", "blank.png", ""]
    rewrite(table, file_loc=["image0.png", "image1.png", "train.tfrecord", "image3.png"], spiral_mask_loc=locs)
    data = data_of(write_gallery(table, tmp_path / "page.html"))
    assert list(data["image_problems"]) == ["0", "1", "2"]
    assert "no such file" in data["image_problems"]["0"]
    assert "shards" in data["image_problems"]["2"]
    images, masks = data["notes"]
    assert re.search(rf"^Images .*\b3\b.*{tmp_path / 'image0.png'}: no such file", images)
    assert re.search(rf"^Masks .*\b1\b.*{tmp_path / 'gone.png'}: no such file", masks)
    assert data["masks"][0]["drawn"] == "1000", "a mask is shown even where its image is not"


def test_the_first_galaxies_of_a_long_table_are_shown(table, tmp_path):
    data = data_of(write_gallery(table, tmp_path / "page.html", max_galaxies=3))
    assert data["id_str"] == ["a", "b", "c"]
    assert data["n_in_table"] == 4
    assert not (tmp_path / "page_files" / "3.jpg").exists()


def test_a_table_without_metadata_has_columns_but_no_tree(table, tmp_path):
    (tmp_path / "predictions_metadata.json").unlink()
    data = data_of(write_gallery(table, tmp_path / "page.html"))
    assert data["questions"] == data["metadata"] == []
    assert "shape_smooth_fraction" in dict(data["columns"])


def test_a_table_of_masks_without_votes_is_shown(table, tmp_path):
    masks = pd.read_csv(table)[["id_str", "file_loc", "spiral_mask_loc"]]
    masks.to_csv(table, index=False)
    write_metadata(table, {"schema": None})
    data = data_of(write_gallery(table, tmp_path / "page.html"))
    assert [mask["name"] for mask in data["masks"]] == ["spiral_mask"]
    assert data["questions"] == data["columns"] == []


def test_a_table_of_the_original_zoobot_is_shown(tmp_path):
    with h5py.File(tmp_path / "zoobot.hdf5", "w") as file:
        file["id_str"], file["label_cols"] = ["a", "b"], SCHEMA.label_cols
        file["predictions"] = np.full((2, 4, 3), 5.0)
    write_metadata(tmp_path / "zoobot.hdf5", {"schema": SCHEMA.to_dict()})
    data = data_of(write_gallery(tmp_path / "zoobot.hdf5", tmp_path / "page.html"))
    assert data["id_str"] == ["a", "b"]
    assert data["questions"] == data["columns"] == []
    assert set(data["image_problems"]) == {"0", "1"}
    assert "table" in data["image_problems"]["1"]


def test_the_number_of_threads_does_not_change_the_page(table, tmp_path):
    for name, workers in (("one", 1), ("three", 3)):
        write_gallery(table, tmp_path / f"{name}.html", workers=workers)
    one, three = ({p.name: p.read_bytes() for p in (tmp_path / f"{n}_files").iterdir()} for n in ("one", "three"))
    assert one == three
    with pytest.raises(ValueError, match="workers must be at least 1; received 0"):
        write_gallery(table, tmp_path / "none.html", workers=0)


def test_a_script_without_a_main_guard_can_write_the_page(tmp_path):
    n = 400
    write_images(tmp_path, 1)
    write_predictions(tmp_path / "predictions.csv", np.tile(FRACTIONS[:1], (n, 1)), [f"g{i}" for i in range(n)])
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nos.sched_getaffinity = lambda pid: {0, 1}\n"
        "from zoobot3d_tf.pages.gallery import write_gallery\nwrite_gallery('predictions.csv', 'page.html')\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    assert data_of(tmp_path / "page.html")["n_in_table"] == n


@pytest.mark.parametrize("picture", ["0.jpg", "0_spiral_mask.png", "data.js"])
def test_a_run_killed_while_it_replaces_a_page_keeps_the_old_page(table, tmp_path, picture):
    page = write_gallery(table, tmp_path / "page.html")
    before = {path: path.read_bytes() for path in [page, *(tmp_path / "page_files").iterdir()]}
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nreplace = Path.replace\n"
        "def killed(path, target):\n"
        f"    if Path(target).name == {picture!r}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return replace(path, target)\n"
        "Path.replace = killed\n"
        "from zoobot3d_tf.pages.gallery import write_gallery\nwrite_gallery(*sys.argv[1:])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, table, page], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert {path: path.read_bytes() for path in [page, *(tmp_path / "page_files").iterdir()]} == before
    assert (tmp_path / ".partial-page_files").is_dir()
    write_gallery(table, page, max_galaxies=2)
    assert data_of(page)["id_str"] == ["a", "b"]
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_keeps_the_old_page_and_names_the_picture(table, tmp_path, monkeypatch):
    page = write_gallery(table, tmp_path / "page.html")
    before = {path: path.read_bytes() for path in [page, *(tmp_path / "page_files").iterdir()]}

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*0\.jpg'"):
        write_gallery(table, page, workers=1)
    assert {path: path.read_bytes() for path in [page, *(tmp_path / "page_files").iterdir()]} == before
    assert not list(tmp_path.glob(".*"))


def test_two_runs_do_not_write_one_page(table, tmp_path):
    with (
        workspace(tmp_path / "page_files"),
        pytest.raises(BlockingIOError, match=rf"page_files: process {os.getpid()} on .* is writing it"),
    ):
        write_gallery(table, tmp_path / "page.html")


def test_no_text_of_the_table_is_in_a_file_name_or_in_the_html(tmp_path):
    write_images(tmp_path, 4)
    table = write_predictions(tmp_path / "predictions.csv", FRACTIONS, [HOSTILE, "../../b", "/c", "d"])
    page = write_gallery(table, tmp_path / "out" / "page.html")
    assert "struck" not in page.read_text("utf-8")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["page.html", "page_files"]
    assert {path.stem.split("_")[0] for path in (tmp_path / "out" / "page_files").glob("*.jpg")} == set("0123")
    assert data_of(page)["id_str"][0] == HOSTILE


def test_a_second_page_replaces_the_first(table, tmp_path):
    page = write_gallery(table, tmp_path / "page.html")
    before = page.read_bytes()
    assert write_gallery(table, page, max_galaxies=1).read_bytes() == before
    assert not (tmp_path / "page_files" / "1.jpg").exists()


def test_a_folder_of_other_files_is_not_changed(table, tmp_path):
    folder = tmp_path / "page_files"
    folder.mkdir()
    (folder / "README.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"page_files: already exists"):
        write_gallery(table, tmp_path / "page.html")
    assert [path.name for path in folder.iterdir()] == ["README.txt"]
    assert not (tmp_path / "page.html").exists()


def test_a_link_to_a_folder_is_not_followed(table, tmp_path):
    write_gallery(table, tmp_path / "other.html")
    (tmp_path / "page_files").symlink_to(tmp_path / "other_files")
    with pytest.raises(FileExistsError, match="page_files: already exists"):
        write_gallery(table, tmp_path / "page.html")
    assert (tmp_path / "other_files" / "0.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "predictions.csv"}, r"predictions\.csv: .* \.html or \.htm"),
        ({"out": "new/page.png"}, r"page\.png: .* \.html or \.htm"),
        ({"max_galaxies": 0}, r"max_galaxies\b.*\b1\b.* 0$"),
        ({"image_size": 0}, r"image_size\b.*\b1\b.* 0$"),
    ],
)
def test_impossible_arguments_are_refused_and_nothing_is_written(table, tmp_path, arguments, message):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        write_gallery(table, tmp_path / arguments.pop("out", "page.html"), **arguments)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# In a browser


@pytest.fixture
def visit(browser):
    """Open a page. At the end, no error and no request but for files must have occurred."""
    context = browser.new_context(viewport={"width": 1000, "height": 700}, accept_downloads=True)
    faults = []

    def visit(page_loc, address=""):
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith("file:") else faults.append(request.url))
        page.goto(page_loc.as_uri() + address)
        page.wait_for_selector(".card, #grid:empty")
        return page

    yield visit
    context.close()
    assert faults == []


def shown_ids(page):
    return page.locator(".card h3").all_text_contents()


def is_bluish(element):
    """Whether the element shows the colour of spiral arms in any pixel."""
    pixels = np.array(Image.open(io.BytesIO(element.screenshot())).convert("RGB")).astype(int)
    return bool((pixels[..., 2] - pixels[..., 0] > 50).any())


def test_cards_show_image_id_and_likely_answers(table, tmp_path, visit):
    page = visit(write_gallery(table, tmp_path / "page.html"))
    assert shown_ids(page) == ["a", "b", "c", "d"]
    assert page.locator(".likely").nth(1).text_content() == "disc · yes bar"
    assert page.locator("#count").text_content() == "4 of 4 galaxies"
    assert page.locator(".picture img:not(.mask)").count() == 4
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth === 40)")
    assert page.title() == "Predictions: predictions.csv"


def test_cards_show_the_predicted_label_first(table, tmp_path, visit):
    metadata = json.loads((tmp_path / "predictions_metadata.json").read_text())
    label = Label("type", "multiclass", ("ring", "shell"), counts=(1, 1))
    write_metadata(table, metadata | {"label": label.to_dict()})
    rewrite(table, type_ring=[0.9, 0.2, np.nan, 0.5], type_shell=[0.1, 0.8, np.nan, 0.5])
    page = visit(write_gallery(table, tmp_path / "page.html"))
    assert page.locator(".likely").nth(1).text_content() == "type shell 80% · disc · yes bar"
    assert page.locator(".likely").nth(2).text_content().startswith("type unknown")


@pytest.mark.parametrize("width", [360, 1000])
def test_no_text_of_a_card_is_cut(tmp_path, visit, width):
    write_images(tmp_path, 4)
    questions = {"a-question-of-so-many-words-that-no-telephone-shows-it-whole": ["_yes", "_no"], "b": ["_yes", "_no"]}
    schema = Schema(questions, dict.fromkeys(questions), "long")
    table = write_predictions(tmp_path / "predictions.csv", FRACTIONS, ["a" * 60, "b", "c c", "d"], schema=schema)
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.set_viewport_size({"width": width, "height": 700})
    page.select_option("#sort", "a-question-of-so-many-words-that-no-telephone-shows-it-whole_yes_fraction")
    page.wait_for_timeout(100)
    assert page.evaluate(
        "[...document.querySelectorAll('.card')].every((card) => card.scrollHeight <= card.clientHeight &&"
        " [...card.querySelectorAll('h3, p')].every((text) => text.scrollWidth <= text.clientWidth))"
    )


def test_masks_are_switched_for_all_and_for_one(table, tmp_path, visit):
    page = visit(write_gallery(table, tmp_path / "page.html"))
    a, b, c = (page.locator(".card .picture").nth(i) for i in range(3))
    assert [is_bluish(picture) for picture in (a, b, c)] == [True, True, False]
    page.locator("#looks .toggle", has_text="spiral arms").click()
    assert [is_bluish(picture) for picture in (a, b)] == [False, False]
    page.locator("#looks .toggle", has_text="spiral arms").click()
    page.locator(".card .flip").nth(0).click()
    page.mouse.move(0, 0)
    assert [is_bluish(picture) for picture in (a, b)] == [False, True]
    b.hover()
    assert not is_bluish(b), "the mask is hidden under the pointer"
    page.mouse.move(0, 0)
    page.locator("#looks .opacity").fill("0")
    assert not is_bluish(b)


def test_sorting_by_a_fraction_puts_the_largest_first_and_the_missing_last(table, tmp_path, visit):
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.select_option("#sort", "bar_yes_fraction")
    assert shown_ids(page) == ["d", "b", "a", "c"]
    assert page.locator(".value").nth(0).text_content() == "bar: yes 90%"
    page.click("#direction")
    assert shown_ids(page) == ["c", "a", "b", "d"]
    page.select_option("#sort", "bar_length_px")
    assert shown_ids(page) == ["d", "c", "b", "a"]
    page.click("#direction")
    assert shown_ids(page) == ["b", "c", "d", "a"], "a, which has no value, is last in both directions"


def test_filters_count_what_passes_all_of_them(table, tmp_path, visit):
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.click("#add-rule")
    rule = page.locator(".rule").nth(0)
    rule.locator("select").select_option("shape_disc_fraction")
    rule.locator("input[type=number]").fill("0.7")
    assert shown_ids(page) == ["b", "d"], "0.7 itself passes"
    page.click("#add-rule")
    rule = page.locator(".rule").nth(1)
    rule.locator("select").select_option("bar_yes_fraction")
    rule.locator("input[type=range]").fill("0.8")
    assert shown_ids(page) == ["d"]
    rule.locator("button").nth(0).click()
    assert shown_ids(page) == ["b"]
    assert page.locator("#count").text_content() == "1 of 4 galaxies"
    rule.locator("button").nth(1).click()
    page.fill("#search", "D")
    assert shown_ids(page) == ["d"]
    page.fill("#search", "none of them")
    assert shown_ids(page) == []


def test_the_address_restores_the_view(table, tmp_path, visit):
    page_loc = write_gallery(table, tmp_path / "page.html")
    page = visit(page_loc)
    page.select_option("#sort", "bar_yes_fraction")
    page.click("#add-rule")
    page.locator("#looks .toggle").nth(0).click()
    page.locator(".card .open").nth(1).click()
    page.wait_for_url("**galaxy=b")
    again = visit(page_loc, "#" + page.url.partition("#")[2])
    assert shown_ids(again) == shown_ids(page) == ["d", "b", "a"]
    assert again.locator("#panel-title").text_content() == "b"
    assert again.locator("#looks .toggle").nth(0).get_attribute("aria-pressed") == "false"
    assert again.locator("#sort").input_value() == "bar_yes_fraction"
    again.keyboard.press("Escape")
    again.wait_for_url(lambda url: "galaxy" not in url)


def test_unknown_parts_of_the_address_are_ignored(table, tmp_path, visit):
    page = visit(write_gallery(table, tmp_path / "page.html"), "#sort=gone&rule=gone>=1&rule=__proto__>=1&galaxy=x")
    assert shown_ids(page) == ["a", "b", "c", "d"]
    assert page.locator(".rule").count() == 0


def test_the_panel_draws_the_tree_with_bars_and_intervals(table, tmp_path, visit):
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.locator(".card .open").nth(1).click()
    written = pd.read_csv(table).iloc[1]
    for i, answer in enumerate(SCHEMA.label_cols):
        track = page.locator(".track").nth(i).bounding_box()
        predicted = page.locator(".predicted").nth(i).bounding_box()
        interval = page.locator(".interval").nth(i).bounding_box()
        assert predicted["width"] / track["width"] == pytest.approx(written[f"{answer}_fraction"], abs=0.005)
        left = (interval["x"] - track["x"]) / track["width"]
        assert left == pytest.approx(written[f"{answer}_low"], abs=0.005)
        assert left + interval["width"] / track["width"] == pytest.approx(written[f"{answer}_high"], abs=0.005)
    assert page.locator(".question h3").all_text_contents() == ["shape asked 100%", "bar after disc, asked 80%"]
    questions = page.locator(".question")
    assert questions.nth(1).bounding_box()["x"] > questions.nth(0).bounding_box()["x"], "later questions are indented"
    opacity = [float(questions.nth(i).evaluate("node => getComputedStyle(node).opacity")) for i in (0, 1)]
    assert opacity == pytest.approx([1, 0.9])
    assert "bar length px1" in page.locator("#measurements").text_content()


def test_a_survey_named_by_every_question_is_left_out_of_labels(tmp_path, visit):
    write_images(tmp_path, 4)
    questions = {"is-barred-dr5": ["_yes", "_no"], "is-round-dr5": ["_yes", "_no"]}
    schema = Schema(questions, dict.fromkeys(questions), "two")
    table = write_predictions(tmp_path / "predictions.csv", FRACTIONS, list("abcd"), schema=schema)
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.locator(".card .open").nth(0).click()
    assert page.locator(".question h3").all_text_contents() == ["is barred asked 100%", "is round asked 100%"]


def test_the_keyboard_controls_the_panel(table, tmp_path, visit):
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.locator(".card .open").nth(0).press("Enter")
    titles = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
        titles.append(page.locator("#panel-title").text_content())
    assert titles == ["b", "c", "b", "a", "a"]
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible()


def test_a_hostile_table_is_text_and_nothing_else(tmp_path, visit):
    write_images(tmp_path, 4)
    metadata = {"schema": SCHEMA.to_dict(), "command": HOSTILE, HOSTILE: 1}
    table = write_predictions(tmp_path / "predictions.csv", FRACTIONS, [HOSTILE, "b", "c", "d"], metadata=metadata)
    rewrite(table, **{HOSTILE: 1.0}, file_loc=[HOSTILE] * 4)
    page = visit(write_gallery(table, tmp_path / "<b>#&.html"))
    assert shown_ids(page)[0] == HOSTILE
    page.select_option("#sort", HOSTILE)
    page.click("#add-rule")
    page.click("summary")
    page.locator(".card .open").nth(0).click()
    assert page.locator("#panel-title").text_content() == HOSTILE
    page.wait_for_timeout(100)
    assert page.evaluate("window.struck") is None
    assert page.locator("script").count() == 4


def test_ids_in_view_are_downloaded(tmp_path, visit):
    write_images(tmp_path, 4)
    table = write_predictions(tmp_path / "predictions.csv", FRACTIONS, ["plain", 'a "b", c', "0012", "d"])
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.select_option("#sort", "bar_yes_fraction")
    with page.expect_download() as download:
        page.click("#download")
    ids = pd.read_csv(download.value.path(), dtype=str)
    assert ids["id_str"].tolist() == ["d", 'a "b", c', "plain", "0012"]


def test_many_galaxies_keep_the_document_small(tmp_path, visit):
    n = 1200
    write_images(tmp_path, 1)
    fractions = np.tile(FRACTIONS, (n // 4, 1))
    table = write_predictions(tmp_path / "predictions.csv", fractions, [f"galaxy {i}" for i in range(n)])
    page = visit(write_gallery(table, tmp_path / "page.html"))
    assert shown_ids(page)[0] == "galaxy 0"
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_text("galaxy 1199").wait_for()
    assert "galaxy 0" not in shown_ids(page)
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    last = page.locator(".card").last.bounding_box()
    assert last["y"] + last["height"] < 700, "the last card can be scrolled into the window"
    page.select_option("#sort", "bar_yes_fraction")
    assert shown_ids(page)[0] == "galaxy 3", "sorting goes back to the first card"


def test_a_narrow_window_has_two_columns_and_no_sideways_scrolling(tmp_path, visit):
    write_images(tmp_path, 4)
    questions = {"a-question-of-so-many-words-that-no-telephone-shows-it-whole": ["_yes", "_no"], "b": ["_yes", "_no"]}
    schema = Schema(questions, dict.fromkeys(questions), "long")
    table = write_predictions(tmp_path / "predictions.csv", FRACTIONS, list("abcd"), schema=schema)
    page = visit(write_gallery(table, tmp_path / "page.html"))
    page.click("#add-rule")
    page.locator(".rule input[type=number]").fill("0")
    page.set_viewport_size({"width": 360, "height": 700})
    page.wait_for_timeout(100)
    tops = [page.locator(".card").nth(i).bounding_box()["y"] for i in range(4)]
    assert tops[0] == tops[1] < tops[2] == tops[3]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

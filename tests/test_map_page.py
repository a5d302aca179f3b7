"""The map of galaxies: the data on the page, and its behaviour in a browser."""

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_gallery import HOSTILE
from vector_tables import write_vectors

from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.labels import Label
from zoobot3d_tf.pages import map_page
from zoobot3d_tf.pages.map_page import place_on_map, write_map

PLACES = np.array([[0, 0, 9], [10, 0, 9], [0, 5, 9]], float)
IDS = ["ash", "birch", HOSTILE]


@pytest.fixture
def table(tmp_path):
    """Three galaxies; the picture of the last is missing."""
    for name, colour in (("ash", (250, 0, 0)), ("birch", (0, 0, 250))):
        image = np.full((60, 60, 3), colour, np.uint8)
        image[0, 0] = 9  # an image of one colour counts as empty
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    file_locs = [str(tmp_path / f"{name}.png") for name in ("ash", "birch", "none")]
    return write_vectors(tmp_path / "c.parquet", "component", PLACES, IDS, file_locs, pca={"share": 0.953})


@pytest.fixture
def catalog(tmp_path):
    """Catalogue of two of the three galaxies and of another one."""
    path = tmp_path / "catalog.csv"
    names = ["birch", "oak", "ash"]
    pd.DataFrame(
        {"id_str": names, "size": [4.5, 9.0, 1.5], "kind": ["x", "y", "z"], "ring": [True, False, False]}
    ).to_csv(path, index=False)
    return path


def data_of(page):
    stored = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    return json.loads(stored[1])


def numbers(code):
    return np.frombuffer(base64.b64decode(code), "<f4")


def test_places_pictures_and_numbers_reach_the_page(table, catalog, tmp_path):
    page = write_map(table, tmp_path / "map.html", method="pca", catalog=catalog)
    data = data_of(page)
    assert data["id_str"] == IDS
    assert data["about"].startswith("3 galaxies.")
    assert "first two of 3 principal components, which keep 95.3 % of the variance" in data["about"]
    np.testing.assert_array_equal(numbers(data["x_y"]).reshape(3, 2), PLACES[:, :2])
    colours = {name: numbers(code) for name, code in data["colours"]}
    np.testing.assert_array_equal(colours["size"], [1.5, 4.5, np.nan])
    np.testing.assert_array_equal(colours["ring"], [0, 1, np.nan])
    assert "kind" not in colours
    assert data["has_picture"] == "110"
    assert len(data["atlases"]) == 1
    assert HOSTILE not in page.read_text("utf-8")


def test_the_menu_has_fractions_labels_and_masks_before_other_columns(table, tmp_path):
    columns = {"area": 1, "ring": 0.5, "bar_length_px": 3, "bar_yes_fraction": 0.1, "bar_no_fraction": 0.9}
    catalog = tmp_path / "predictions.csv"
    pd.DataFrame({"id_str": IDS, **columns}).to_csv(catalog, index=False)
    write_metadata(catalog, {"label": Label("ring", "binary", counts=(1, 1)).to_dict()})
    menu = data_of(write_map(table, tmp_path / "map.html", method="pca", catalog=catalog))["menu"]
    assert menu == [
        ["vote fractions", ["bar_yes_fraction", "bar_no_fraction"]],
        ["label", ["ring"]],
        ["masks", ["bar_length_px"]],
        ["other columns", ["area"]],
    ]


def test_a_large_table_is_sampled_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(map_page, "_ATLAS_SIDE", 2)
    places = np.random.default_rng(0).normal(size=(100, 2))
    table = write_vectors(tmp_path / "c.parquet", "component", places)
    data = data_of(write_map(table, tmp_path / "map.html", method="pca", max_galaxies=6))
    assert data["about"].startswith("6 of 100 galaxies, drawn at random.")
    shown = [int(name[1:]) for name in data["id_str"]]
    assert len(set(shown)) == 6
    np.testing.assert_allclose(numbers(data["x_y"]).reshape(6, 2), places[shown], rtol=1e-6)
    assert len(data["atlases"]) == 2


def test_if_the_metadata_have_another_form_only_the_share_is_missing(tmp_path):
    table = write_vectors(tmp_path / "c.parquet", "component", PLACES, pca=3)
    about = data_of(write_map(table, tmp_path / "map.html", method="pca"))["about"]
    assert about.startswith("3 galaxies.")
    assert about.endswith("first two of 3 principal components.")


def test_one_component_makes_a_line():
    np.testing.assert_array_equal(place_on_map(np.array([[1.0], [2.0]]), "pca"), [[1, 0], [2, 0]])


def test_if_umap_is_not_installed_the_map_shows_components_and_umap_is_refused(table, tmp_path, monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    monkeypatch.setattr(map_page, "_LEAST_FOR_UMAP", 3)
    assert "first two of" in data_of(write_map(table, tmp_path / "map.html"))["about"]
    with pytest.raises(ImportError, match=r"pip install 'zoobot3d_tf\[map\]'"):
        write_map(table, tmp_path / "map.html", method="umap")


@pytest.mark.slow
def test_umap_separates_groups_and_is_reproducible():
    pytest.importorskip("umap", reason="the extra [map] is not installed")
    crowds = np.random.default_rng(0).normal(size=(2, 60, 10)) + 20 * np.arange(2)[:, None, None]
    places = place_on_map(crowds.reshape(120, 10), "umap")
    centres = places.reshape(2, 60, 2).mean(axis=1)
    of = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(of, np.repeat([0, 1], 60))
    np.testing.assert_array_equal(place_on_map(crowds.reshape(120, 10), "umap"), places)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": "map.png"}, r"map\.png.* \.html or \.htm"),
        ({"method": "tsne"}, "method .*auto, umap, pca.* 'tsne'"),
        ({"max_galaxies": 0}, r"max_galaxies\b.*\b1\b.* 0$"),
        ({"catalog": "strangers.csv"}, r"strangers\.csv.*'ash'.* id_str"),
        ({"catalog": "words.csv"}, r"words\.csv.* numbers"),
        ({"catalog": "twice.csv"}, r"twice\.csv: id_str .*row 3"),
    ],
)
def test_impossible_arguments_are_named(table, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strangers.csv").write_text("id_str,size\noak,1\n")
    (tmp_path / "words.csv").write_text("id_str,kind\nash,x\n")
    (tmp_path / "twice.csv").write_text("id_str,size\nash,1\nash,2\n")
    with pytest.raises(ValueError, match=words):
        write_map(**({"components_loc": table, "out": "map.html", "method": "pca"} | options))
    assert not list(tmp_path.glob("map*"))


def test_umap_of_very_few_galaxies_is_refused(table, tmp_path, monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: True)
    with pytest.raises(ValueError, match=r"\bumap\b.*\b50\b.*\b3\b"):
        write_map(table, tmp_path / "map.html", method="umap")


# In a browser


@pytest.fixture
def page(browser, table, catalog, tmp_path):
    """The map in a browser. At the end, no error and no request to another address must have occurred."""
    context = browser.new_context(viewport={"width": 900, "height": 600})
    faults = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda request: faults.append(request.url) if request.url[:5] not in ("file:", "data:") else None
    )
    page.goto(write_map(table, tmp_path / "map.html", method="pca", catalog=catalog).as_uri())
    page.wait_for_selector("#map[data-pictures]")
    page.wait_for_function("atlases.every((atlas) => atlas.complete)")
    yield page
    assert page.evaluate("window.struck") is None
    context.close()
    assert faults == []


def place_of(page, i):
    """Position of a galaxy in the window."""
    box = page.locator("#map").bounding_box()
    x, y = page.evaluate(f"[xOf({i}), yOf({i})]")
    return box["x"] + x, box["y"] + y


def colour_at(page, x, y):
    """Colour of a pixel of the map, after it has been drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = page.locator("#map").bounding_box()
    return page.evaluate(f"[...context.getImageData({x - box['x']}, {y - box['y']}, 1, 1).data]")


def test_the_pointer_shows_a_galaxy_and_a_click_keeps_it(page):
    card = page.locator("#card")
    assert card.is_hidden()
    page.mouse.move(*place_of(page, 0))
    assert card.locator("h2").text_content() == "ash"
    page.mouse.click(*place_of(page, 1))
    page.mouse.move(*place_of(page, 0))
    assert card.locator("h2").text_content() == "birch"
    page.keyboard.press("Escape")
    assert card.locator("h2").text_content() == "ash"
    page.mouse.move(*place_of(page, 2))
    assert card.locator("h2").text_content() == HOSTILE
    assert page.locator("#picture").is_hidden()
    page.mouse.move(5, 5)
    assert card.is_hidden()


def test_the_map_has_x_to_the_right_and_y_up(page):
    (x0, y0), (x1, y1), (x2, y2) = (place_of(page, i) for i in range(3))
    assert x1 - x0 == pytest.approx(2 * (y0 - y2))
    assert (y1, x2) == pytest.approx((y0, x0))
    assert y2 < y0


def test_a_few_galaxies_are_shown_as_pictures_framed_by_their_number(page):
    x, y = place_of(page, 0)
    # JPEG changes colours by a few levels.
    red, green, blue, _ = colour_at(page, x, y)
    assert red > 200 > 60 > max(green, blue)
    page.select_option("#colour", "size")
    assert page.locator("#legend").is_visible()
    assert (page.locator("#low").text_content(), page.locator("#high").text_content()) == ("1.5", "4.5")
    assert colour_at(page, x + page.evaluate("side") / 2, y)[:3] == [68, 1, 84]
    page.mouse.move(x, y)
    assert page.locator("#card p").text_content() == "size: 1.5"
    page.mouse.move(*place_of(page, 2))
    assert page.locator("#card p").text_content() == "size: –"


def test_pictures_grow_as_fewer_galaxies_are_in_view(page):
    drawn = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(side))))"
    page.set_viewport_size({"width": 400, "height": 360})
    page.locator("#all").click()
    before = page.evaluate(drawn)
    page.evaluate("zoom(20, xOf(0), yOf(0))")
    assert 48 <= before < page.evaluate(drawn) <= 144


def test_wheel_and_drag_move_the_map_under_the_pointer(page):
    x, y = place_of(page, 1)
    page.mouse.move(x, y)
    before = page.evaluate("scale")
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"scale > {1.2 * before}")
    assert place_of(page, 1) == pytest.approx((x, y), abs=0.01)
    page.mouse.down()
    page.mouse.move(x - 100, y + 50, steps=3)
    page.mouse.up()
    assert place_of(page, 1) == pytest.approx((x - 100, y + 50), abs=0.01)
    page.locator("#all").click()
    assert page.evaluate("scale") == pytest.approx(before)
    assert place_of(page, 1) == pytest.approx((x, y), abs=0.01)


def test_an_id_is_found_and_the_others_fade(page):
    page.locator("#search").fill("BIR")
    assert page.locator("#count").text_content() == "1 found"
    assert page.locator("#card h2").text_content() == "birch"
    faded, found = (colour_at(page, *place_of(page, i))[3] for i in (0, 1))
    assert faded < 60 < 250 < found
    page.locator("#search").fill("nobody")
    assert page.locator("#count").text_content() == "0 found"
    page.locator("#search").fill("")
    assert page.locator("#count").text_content() == ""


def test_the_page_cannot_request_other_addresses(browser, table, tmp_path):
    page = browser.new_page()
    page.goto(write_map(table, tmp_path / "map.html", method="pca").as_uri())
    refused = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          document.body.append(Object.assign(document.createElement("img"), { src: "https://example.org/x.png" }));
        })"""
    )
    page.close()
    assert refused == "img-src"

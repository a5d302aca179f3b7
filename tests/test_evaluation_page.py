"""The page of an evaluation."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from scored_survey import SCHEMA, SIZE, rewrite, survey

from zoobot3d_tf.evaluation.evaluate import LabelledGalaxies, evaluate
from zoobot3d_tf.evaluation.pairs import read_pairs
from zoobot3d_tf.images.rgb import to_rgb
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.pages.evaluation_page import write_page
from zoobot3d_tf.schemas import Schema


class PageParser(HTMLParser):
    """Collects the sources and texts of a page, and checks that its tags are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def parse(path):
    parser = PageParser()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []
    return parser


def page_of(predictions, catalog, schema, folder, title="Evaluation", histories=None, n_galaxies=24):
    folder.mkdir(exist_ok=True)
    evaluation = evaluate(predictions, LabelledGalaxies(catalog, schema))
    return write_page(evaluation, folder, title, histories or {}, n_galaxies)


def names_of_cards(page):
    return re.findall(r"<h3>(\w+): (\w+), ([^<]*)</h3>", page.read_text())


def test_the_page_needs_no_other_file(tmp_path):
    page = page_of(*survey(tmp_path), SCHEMA, tmp_path / "report")
    parser = parse(page)
    # Galaxy 01 has no masks of volunteers, and therefore one picture less.
    assert len([source for source in parser.sources if source.startswith("data:image/jpeg;base64,")]) == 5 * 3 - 1
    markup = re.sub(r'"data:[^"]*"', "", page.read_text())
    markup = re.sub(r'(xmlns[:\w]*|rdf:\w+|xlink:href)="[^"]*"', "", markup)
    assert all(word not in markup for word in ("@import", "<script", "http"))
    assert "spiral arms IoU 0.33, bar IoU 0.33" in parser.texts
    assert "shape" in parser.texts
    assert "Unlikely to be asked: bar (25%)" in parser.texts
    assert {"coverage.pdf", "pit.pdf", "spiral_mask_reliability.pdf"} <= {
        path.name for path in (tmp_path / "report" / "figures").iterdir()
    }


def test_the_scores_are_said_in_words(tmp_path):
    text = page_of(*survey(tmp_path), SCHEMA, tmp_path / "report").read_text()
    assert "the model and the volunteers agree on 33% (33% to 33%) of the pixels" in text
    assert "always predicting the mean of the scored galaxies" in text
    assert re.search(r"90% intervals hold \d+% \(.*\) of the votes", text)


def test_best_and_worst_galaxies_are_shown_and_the_page_is_the_same_each_time(tmp_path):
    predictions, catalog = survey(tmp_path, n=9)
    rewrite(predictions, lambda t: t.assign(spiral_mask_loc=np.where(t["id_str"] == "05", "", t["spiral_mask_loc"])))
    pages = [page_of(predictions, catalog, SCHEMA, tmp_path / name, n_galaxies=6) for name in ("a", "b")]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    cards = names_of_cards(pages[0])
    assert [why for _, why, _ in cards][:2] == ["best", "random"]
    assert len({name for name, _, _ in cards}) == len(cards) <= 6
    errors = {float(what.split()[-1]): why for _, why, what in cards if "error" in what}
    assert errors[min(errors)] in ("best", "random")


def test_losses_of_the_runs_are_drawn(tmp_path):
    history = pd.DataFrame({"loss": [3.0, 2.0], "val_loss": [3.5, 2.5]})
    text = page_of(*survey(tmp_path), SCHEMA, tmp_path / "report", histories={"joint": history}).read_text()
    assert "joint: validation" in text
    assert (tmp_path / "report" / "figures" / "losses.pdf").is_file()


def test_without_masks_there_is_no_section_about_them(tmp_path):
    predictions, catalog = survey(tmp_path)
    rewrite(predictions, lambda table: table.drop(columns=["spiral_mask_loc", "bar_mask_loc"]))
    parser = parse(page_of(predictions, catalog, SCHEMA, tmp_path / "report"))
    assert len([source for source in parser.sources if source.startswith("data:")]) == 4  # with votes
    assert "Votes" in parser.texts
    assert "Masks" not in parser.texts


def test_tree_and_stretch_are_those_of_the_predictions(tmp_path):
    predictions, catalog = survey(tmp_path)
    fluxes = np.random.default_rng(0).normal(0.05, 0.05, (3, SIZE, SIZE)).astype(np.float32)
    fits.writeto(tmp_path / "03.fits", fluxes, fits.Header({"BANDS": "grz"}))
    rewrite(catalog, lambda t: t.assign(file_loc=t["file_loc"].replace("03.png", "03.fits")))
    with pytest.raises(ValueError, match=r"table\.csv: has votes, but no table_metadata\.json .*; give schema"):
        page_of(predictions, catalog, None, tmp_path / "report")
    pages = {}
    for stretch in ("galaxy-zoo", "lupton"):
        write_metadata(predictions, {"schema": SCHEMA.to_dict(), "stretch": stretch})
        pages[stretch] = page_of(predictions, catalog, None, tmp_path / stretch).read_text()
        pictures = read_pairs(predictions, catalog, None).read_pictures(2)
        np.testing.assert_array_equal(pictures.image, to_rgb(fluxes, stretch=stretch)[::-1])
    assert pages["galaxy-zoo"] != pages["lupton"]
    other = Schema({"shape": ["_smooth", "_disc"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": None}, "flat")
    with pytest.raises(ValueError, match=r"table\.csv: was predicted with .*small.* not .*flat.*omit schema"):
        page_of(predictions, catalog, other, tmp_path / "report")


def test_masks_are_scored_without_a_tree(tmp_path):
    predictions, catalog = survey(tmp_path)
    rewrite(predictions, lambda t: t[["id_str", "spiral_mask_loc", "bar_mask_loc"]])
    write_metadata(predictions, {"schema": None, "stretch": "galaxy-zoo"})
    texts = parse(page_of(predictions, catalog, None, tmp_path / "report")).texts
    assert "Masks" in texts
    assert "Votes" not in texts


def test_masks_are_scored_with_a_catalogue_without_votes(tmp_path):
    predictions, catalog = survey(tmp_path)
    write_metadata(predictions, {"schema": SCHEMA.to_dict(), "stretch": "galaxy-zoo"})
    rewrite(catalog, lambda t: t.drop(columns=SCHEMA.label_cols))
    assert "Votes" not in parse(page_of(predictions, catalog, None, tmp_path / "report")).texts


def test_the_page_escapes_what_it_is_given(tmp_path):
    predictions, catalog = survey(tmp_path)
    name = "<script>alert('&')</script>"
    for table in (predictions, catalog):
        rewrite(table, lambda t: t.assign(id_str=t["id_str"].replace("03", name)))
    page = page_of(predictions, catalog, SCHEMA, tmp_path / "report", title="a < b")
    assert "<script" not in page.read_text()
    texts = parse(page).texts
    assert any(text.startswith(f"{name}: ") for text in texts)
    assert texts.count("a < b") == 2


def test_the_page_does_not_load_tensorflow():
    code = "import sys, zoobot3d_tf.pages.evaluation_page; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unreadable_galaxy_is_counted_and_not_shown(tmp_path):
    tables = survey(tmp_path)
    (tmp_path / "03.png").write_bytes(b"not an image")
    page = page_of(*tables, SCHEMA, tmp_path / "report")
    assert "1 with an image or mask that cannot be read" in page.read_text()
    assert "03" not in {name for name, _, _ in names_of_cards(page)}

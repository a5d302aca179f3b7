"""The page that compares predictions with labels."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.io import fits
from scored_survey import SCHEMA, SIZE, rewrite, survey

from zoobot3d_tf.evaluation.pairs import read_pairs
from zoobot3d_tf.images.rgb import to_rgb
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.pages.report import write_report
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


def test_report_is_one_self_contained_page(tmp_path):
    page = write_report(*survey(tmp_path), SCHEMA, tmp_path / "new" / "report.html")
    parser = parse(page)
    # Galaxy 01 has no masks of volunteers, and therefore one picture less.
    assert len(parser.sources) == 5 * 3 - 1
    assert all(source.startswith("data:image/jpeg;base64,") for source in parser.sources)
    markup = re.sub(r'"data:[^"]*"', "", page.read_text())
    assert all(word not in markup for word in ("http", "@import", "url(", "<script"))
    assert "spiral arms IoU 0.33, bar IoU 0.33" in parser.texts
    assert "shape" in parser.texts
    assert "Unlikely to be asked: bar (25%)" in parser.texts


def test_report_shows_galaxies_with_masks_first_and_is_the_same_each_time(tmp_path):
    tables = survey(tmp_path)
    first, second = (write_report(*tables, SCHEMA, tmp_path / name, n_galaxies=4) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()
    cards = [text for text in parse(first).texts if text in {"01", "02", "03", "04", "05"}]
    assert cards == ["03", "04", "05", "02"]


def test_report_of_votes_without_masks_shows_only_images(tmp_path):
    predictions, catalog = survey(tmp_path)
    rewrite(predictions, lambda table: table.drop(columns=["spiral_mask_loc", "bar_mask_loc"]))
    parser = parse(write_report(predictions, catalog, SCHEMA, tmp_path / "report.html"))
    assert len(parser.sources) == 5
    assert "Votes" in parser.texts
    assert "Masks" not in parser.texts


def test_tree_and_stretch_are_those_of_the_predictions(tmp_path):
    predictions, catalog = survey(tmp_path)
    fluxes = np.random.default_rng(0).normal(0.05, 0.05, (3, SIZE, SIZE)).astype(np.float32)
    fits.writeto(tmp_path / "03.fits", fluxes, fits.Header({"BANDS": "grz"}))
    rewrite(catalog, lambda t: t.assign(file_loc=t["file_loc"].replace("03.png", "03.fits")))
    with pytest.raises(ValueError, match=r"table\.csv: has votes, but no table_metadata\.json .*; give schema"):
        write_report(predictions, catalog, None, tmp_path / "report.html")
    pages = {}
    for stretch in ("galaxy-zoo", "lupton"):
        write_metadata(predictions, {"schema": SCHEMA.to_dict(), "stretch": stretch})
        pages[stretch] = write_report(predictions, catalog, None, tmp_path / f"{stretch}.html").read_text()
        pictures = read_pairs(predictions, catalog, None).read_pictures(2)
        np.testing.assert_array_equal(pictures.image, to_rgb(fluxes, stretch=stretch)[::-1])
    assert pages["galaxy-zoo"] != pages["lupton"]
    other = Schema({"shape": ["_smooth", "_disc"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": None}, "flat")
    with pytest.raises(ValueError, match=r"table\.csv: was predicted with .*small.* not .*flat.*omit schema"):
        write_report(predictions, catalog, other, tmp_path / "report.html")


def test_masks_are_scored_without_a_tree(tmp_path):
    predictions, catalog = survey(tmp_path)
    rewrite(predictions, lambda t: t[["id_str", "spiral_mask_loc", "bar_mask_loc"]])
    write_metadata(predictions, {"schema": None, "stretch": "galaxy-zoo"})
    texts = parse(write_report(predictions, catalog, None, tmp_path / "report.html")).texts
    assert "Masks" in texts
    assert "Votes" not in texts


def test_report_escapes_what_it_is_given(tmp_path):
    predictions, catalog = survey(tmp_path)
    name = "<script>alert('&')</script>"
    for table in (predictions, catalog):
        rewrite(table, lambda t: t.assign(id_str=t["id_str"].replace("03", name)))
    page = write_report(predictions, catalog, SCHEMA, tmp_path / "report.html", title="a < b")
    assert "<script" not in page.read_text()
    texts = parse(page).texts
    assert name in texts
    assert texts.count("a < b") == 2


def test_the_report_does_not_load_tensorflow():
    code = "import sys, zoobot3d_tf.pages.report; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unreadable_galaxy_is_counted_and_not_shown(tmp_path):
    tables = survey(tmp_path)
    (tmp_path / "03.png").write_bytes(b"not an image")
    page = write_report(*tables, SCHEMA, tmp_path / "report.html").read_text()
    assert "1 with an image or mask that cannot be read" in page
    assert "<h3>03</h3>" not in page


def test_a_page_that_could_not_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=r"report\.pdf.* \.html or \.htm"):
        write_report("none.csv", "none.csv", SCHEMA, tmp_path / "new" / "report.pdf")
    with pytest.raises(IsADirectoryError, match=r"folder\.html"):
        write_report("none.csv", "none.csv", SCHEMA, tmp_path / "folder.html")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]

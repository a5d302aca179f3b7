"""The plot of a catalogue."""

import pandas as pd
import pytest
from PIL import Image

from zoobot3d_tf.schemas import get_schema

pytest.importorskip("matplotlib")

from zoobot3d_tf.catalogs.catalog_plot import _on_map, plot_catalog


def test_right_ascension_grows_to_the_left():
    x, y = _on_map(pd.DataFrame({"ra": [0.0, 90.0, 180.0, 360.0], "dec": [0.0, 90.0, -45.0, 0.0]}))
    assert list(x.round(3)) == [3.142, 1.571, 0, -3.142]
    assert list(y.round(3)) == [0, 1.571, -0.785, 0]


@pytest.mark.parametrize("columns", [{"ra": [10.0, 350.0], "dec": [-5.0, 80.0], "bar_mask_loc": ["b.png", ""]}, {}])
def test_galaxies_with_and_without_positions_are_drawn(tmp_path, columns):
    galaxies = {"id_str": ["a", "b"], "file_loc": "a.png", "ring_yes": [3, 0], "ring_no": [1, 0]}
    pd.DataFrame(galaxies | columns).to_csv(tmp_path / "c.csv", index=False)
    with Image.open(plot_catalog(tmp_path / "c.csv", get_schema("rings"), tmp_path / "c.png")) as image:
        colours = image.convert("RGB").getcolors(2**20)
    assert image.size == (1200, 1125)
    assert any(colour == (0x1F, 0x77, 0xB4) for _, colour in colours)  # the histogram
    assert any(colour == (0xE4, 0x57, 0x56) for _, colour in colours) == ("ra" in columns)  # the galaxy with a mask


def test_a_plot_is_a_png(tmp_path):
    with pytest.raises(ValueError, match=r"c\.pdf: .*\.png"):
        plot_catalog(tmp_path / "c.csv", get_schema("rings"), tmp_path / "c.pdf")

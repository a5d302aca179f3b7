"""DS9 regions of masks: the places of a bar that is known by hand, in pixels and on the sky."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from zoobot3d_tf.images.wcs import wcs_at
from zoobot3d_tf.predictions.mask_files import write_masks
from zoobot3d_tf.predictions.regions import outlines, write_regions

regions = pytest.importorskip("regions")


@pytest.fixture
def bar() -> np.ndarray:
    """A bar of 20 by 6 pixels: columns 10 to 29, rows 12 to 17 from the top."""
    mask = np.zeros((40, 50), np.uint8)
    mask[12:18, 10:30] = 255
    return mask


def test_an_outline_follows_the_outer_edges_of_the_pixels(bar):
    (outline,) = outlines(bar / np.float32(255))
    # With linear interpolation, the contour at 3/15 lies between the centres of the last pixel inside and the first
    # outside, 0.8 pixels from the former.
    np.testing.assert_allclose(outline.min(axis=0), [10 - 0.8, 12 - 0.8], atol=0.25)
    np.testing.assert_allclose(outline.max(axis=0), [29 + 0.8, 17 + 0.8], atol=0.25)
    assert outlines(np.zeros((40, 50), np.float32)) == []


def test_without_a_wcs_regions_count_from_the_bottom_left(bar, tmp_path):
    locs = write_masks(tmp_path, "g 1", {"bar_mask": bar, "spiral_mask": np.zeros_like(bar)})
    (tmp_path / "g.png").write_bytes(b"no FITS file")
    row = {"id_str": "g 1", "file_loc": str(tmp_path / "g.png"), "ra": np.nan, "dec": np.nan, "pixscale": 0.4}
    write_regions(tmp_path / "all.reg", [pd.DataFrame([row | {f"{name}_loc": loc for name, loc in locs.items()}])])
    polygon, line = regions.Regions.read(tmp_path / "all.reg")
    assert polygon.meta["tag"] == ["g 1", "bar_mask"]
    assert polygon.contains(regions.PixCoord(20, 40 - 1 - 14))
    assert not polygon.contains(regions.PixCoord(20, 14))
    ends = sorted([(line.start.x, line.start.y), (line.end.x, line.end.y)])
    np.testing.assert_allclose(ends, [(19.5 - 19.5 / 2, 24.5), (19.5 + 19.5 / 2, 24.5)], atol=1e-3)


@pytest.mark.parametrize("source", ["header", "catalogue"])
def test_on_the_sky_regions_lie_where_the_wcs_says(bar, tmp_path, source):
    wcs = wcs_at(150, 20, 0.4, bar.shape)
    image = tmp_path / "g.fits"
    fits.PrimaryHDU(np.zeros(bar.shape, np.float32), wcs.to_header() if source == "header" else None).writeto(image)
    locs = write_masks(tmp_path, "g", {"bar_mask": bar})
    place = (
        {"ra": 150.0, "dec": 20.0, "pixscale": 0.4}
        if source == "catalogue"
        else dict.fromkeys(("ra", "dec", "pixscale"), np.nan)
    )
    row = {"id_str": "g", "file_loc": str(image), **place, "bar_mask_loc": locs["bar_mask"]}
    write_regions(tmp_path / "all.reg", [pd.DataFrame([row])])
    polygon, line = regions.Regions.read(tmp_path / "all.reg")
    assert line.start.separation(line.end).arcsec == pytest.approx(19.5 * 0.4, abs=0.01)
    in_pixels = polygon.to_pixel(wcs)
    assert in_pixels.contains(regions.PixCoord(20, 40 - 1 - 14))
    assert not in_pixels.contains(regions.PixCoord(20, 14))

"""The commands from two archives to shards. In the end, real masks lie on the arms of a real galaxy."""

import contextlib
import io

import cv2
import numpy as np
import pandas as pd
import pytest
from archive_server import archive_server
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_pixel, proj_plane_pixel_area
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from zoobot3d_tf.cli import main, run_script
from zoobot3d_tf.images.stretch import BAND_SCALES, SeparateStretch
from zoobot3d_tf.schemas import get_schema

# Only two of the three axes of a cutout are on the sky. A warning about the third, 29,800 times, would hide all others.
pytestmark = pytest.mark.filterwarnings("error::astropy.wcs.FITSFixedWarning")

# Two real galaxies, and two invented ones at the same position: of one nobody was asked for marks, of the other nobody
# drew any.
SPIRAL, FAINT, UNASKED, BLANK = GALAXIES = (
    "1-304336_127_14724446",
    "1-379196_127_14728482",
    "1-999901_37_99999901",
    "1-999902_19_99999902",
)
SCHEMA = "decals_all_campaigns_ortho"
MASKS_PIXSCALE, SPIRAL_PIXSCALE = 0.099, 0.312892  # arcsec

# Rows of GZ DESI: the first one as published, the others and the votes invented.
DESI_COLUMNS = ["dr8_id", "ra", "dec", "est_dr5_pixscale"]
DESI = [
    ("402520_1718", 165.297135, 12.47475, SPIRAL_PIXSCALE),
    ("559613_77", 119.633812, 52.597965, 0.15),
    ("329413_5", 150.0, 2.5, 0.05),
]
VOTES = {
    "402520_1718": {"smooth-or-featured-dr5_featured-or-disk": 34, "has-spiral-arms-dr5_yes": 33, "bar-dr8_weak": 14},
    "329413_5": {"smooth-or-featured-dr5_smooth": 38},
}

ROAD = """
gz3d download --out gz3d --base-url {archive}
gz3d catalog gz3d --out gz3d.parquet --workers 1
gz3d marks gz3d --out marks --workers 1
crossmatch gz3d.parquet gz_desi.parquet --out matched.parquet --radius 3
cutouts download matched.parquet --out cutouts --center-on manga --pixscale-col est_dr5_pixscale --base-url {service}
masks draw --catalog cutouts/catalog.csv --marks marks --out masks --workers 1
catalog build --images masks/catalog.csv --votes columns=matched.parquet --schema {schema} --out catalog.csv
"""
SHARDS = """
--labelled-catalog catalog.csv --shard-dir shards --schema {schema} --img-size 212 --eval-size 1 --workers 1 --overwrite
"""


@pytest.fixture(scope="module")
def golden(reference):
    return reference / "reference" / "golden"


@pytest.fixture(scope="module")
def archive(golden):
    files = {path.name: path.read_bytes() for path in golden.glob("gz3d_fits/*.fits.gz")}
    with archive_server(files, sha1_list=True) as server:
        yield server


@pytest.fixture(scope="module")
def service(golden):
    paths = golden.glob("gz3d_fits/*.fits.gz")
    pictures = [(fits.getdata(path), WCS(fits.getheader(path), naxis=2)) for path in sorted(paths)]
    with archive_server(respond=lambda _, query: photograph(pictures, query)) as server:
        yield server


@pytest.fixture(scope="module")
def walk(archive, service, tmp_path_factory):
    """Function that runs all commands, and returns the folder."""
    folder = tmp_path_factory.mktemp("road")
    write_gz_desi(folder / "gz_desi.parquet")
    words = {"archive": archive.url, "service": service.url, "schema": SCHEMA}

    def run():
        with contextlib.chdir(folder):
            for command in ROAD.format(**words).strip().splitlines():
                assert main(command.split()) == 0, command
            assert run_script("shards", SHARDS.format(**words).split()) == 0
        return folder

    return run


@pytest.fixture(scope="module")
def road(walk):
    return walk()


@pytest.fixture(scope="module")
def records(road):
    """Records of the shards by galaxy."""
    from zoobot3d_tf.shards.read import iterate_records

    return {record["id_str"]: record for record in iterate_records(sorted(road.glob("shards/*/*.tfrecord")))}


def write_gz_desi(path):
    """Write 3000 galaxies at random positions and the galaxies of `DESI`, with votes in the columns of the schema."""
    rng = np.random.default_rng(0)
    anywhere = [(f"900000_{k}", rng.uniform(0, 360), rng.uniform(-20, 80), 0.262) for k in range(3000)]
    table = pd.DataFrame([*anywhere, *DESI], columns=DESI_COLUMNS)
    votes = pd.DataFrame([VOTES.get(name, {}) for name in table["dr8_id"]], columns=get_schema(SCHEMA).label_cols)
    pd.concat([table, votes.fillna(0)], axis=1).to_parquet(path)


def photograph(pictures, query):
    """Make the cutout that the service would send from the image that volunteers saw.

    The image is resampled to the grid of the cutout with both WCS, and its colours are converted back to fluxes. The
    sky outside the image is noise.
    """
    ra, dec, pixscale, size = (float(query[name]) for name in ("ra", "dec", "pixscale", "size"))
    middle, step = (size + 1) / 2, pixscale / 3600
    header = fits.Header({"BANDS": query["bands"], "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header.update({"CRVAL1": ra, "CRVAL2": dec, "CRPIX1": middle, "CRPIX2": middle})
    header.update({"CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step})

    picture, wcs = min(pictures, key=lambda each: np.hypot(*(each[1].wcs.crval - [ra, dec])))
    grid = pixel_to_pixel(WCS(header), wcs, *np.meshgrid(np.arange(size), np.arange(size)))
    blur = 0.4 * pixscale / MASKS_PIXSCALE
    smooth = gaussian_filter(picture / 255, (blur, blur, 0))
    shown = cv2.remap(smooth, *np.float32(grid), cv2.INTER_LINEAR, borderValue=(-1, -1, -1))
    shown = np.where(shown < 0, np.random.default_rng(0).uniform(0, 0.03, shown.shape), shown)

    low, high = np.arcsinh([SeparateStretch.faint, SeparateStretch.bright])
    zrg = np.sinh(low + (high - low) * shown) * [BAND_SCALES[band] for band in "zrg"]
    content = io.BytesIO()
    fits.PrimaryHDU(np.moveaxis(zrg[..., ::-1], -1, 0).astype(np.float32), header).writeto(content)
    return content.getvalue()


def read_pixels(path):
    return np.asarray(Image.open(path)).astype(float)


def test_each_galaxy_is_matched_to_its_own_row_of_gz_desi(road):
    matched = pd.read_parquet(road / "matched.parquet").set_index("id_str")
    assert list(matched.index) == list(GALAXIES)
    assert list(matched["dr8_id"]) == ["402520_1718", "559613_77", "329413_5", "329413_5"]
    assert list(matched["shared"]) == [False, False, True, True]
    # The offset is 0.0515 arcsec east and 0.0087 arcsec north.
    assert matched["separation_arcsec"][SPIRAL] == pytest.approx(0.0523, abs=2e-4)


def test_cutouts_have_the_scale_of_the_galaxy_and_the_centre_of_the_masks(road):
    catalog = pd.read_csv(road / "cutouts" / "catalog.csv").set_index("id_str")
    assert list(catalog["pixscale"]) == [0.312892, 0.15, 0.1, 0.1]
    np.testing.assert_allclose(catalog[["cutout_ra", "cutout_dec"]], catalog[["wcs_ra", "wcs_dec"]], atol=1e-7)


@pytest.mark.parametrize(("id_str", "name"), [(SPIRAL, "spiral"), (FAINT, "spiral"), (FAINT, "bar")])
def test_a_mask_lies_on_the_sky_where_volunteers_drew(road, golden, id_str, name):
    counts = np.load(golden / "masks" / f"gz3d_{id_str}_{name}_native525.npz")["counts_all"]
    mask = read_pixels(road / "masks" / f"{id_str}_{name}_mask.png")
    y, x = np.nonzero(counts)
    sky = WCS(fits.getheader(golden / "gz3d_fits" / f"gz3d_{id_str}.fits.gz", 3)).pixel_to_world(x, y)
    cutout = WCS(fits.getheader(road / "cutouts" / "fits" / f"{id_str}.fits"), naxis=2)
    column, row_from_south = cutout.world_to_pixel(sky)
    drawn = np.stack([len(mask) - 1 - row_from_south, column])

    found, weights = np.stack(np.nonzero(mask)), mask[mask > 0]
    centre, found_centre = np.average(drawn, 1, counts[y, x]), np.average(found, 1, weights)
    np.testing.assert_allclose(found_centre, centre, atol=0.1)
    # Second moments show errors of scale and orientation, and the sum shows lost volunteers.
    np.testing.assert_allclose(np.cov(found, aweights=weights), np.cov(drawn, aweights=counts[y, x]), rtol=0.03)
    pixel_area = proj_plane_pixel_area(cutout) * 3600**2
    assert mask.sum() * pixel_area == pytest.approx(counts.sum() * MASKS_PIXSCALE**2, rel=0.02)


def on_arms(image, mask):
    """Correlation of a mask with the light, after the mean at the same radius is subtracted from both."""
    y, x = np.indices(mask.shape) - (len(mask) - 1) / 2
    radius = np.hypot(x, y).astype(int)
    rings = radius[radius < 0.16 * len(mask)]  # the image ends at 0.18

    def residual(plane):
        values = plane[radius < 0.16 * len(mask)]
        return values - (np.bincount(rings, values) / np.bincount(rings))[rings]

    return np.corrcoef(residual(image.mean(-1)), residual(mask))[0, 1]


def placed(mask, matrix=((1, 0), (0, 1)), native_pixels=(0, 0)):
    """Rotate or scale a mask about its centre, and move it by (row, column) in pixels of the marks."""
    centre = (len(mask) - 1) / 2
    step = np.array(native_pixels) * MASKS_PIXSCALE / SPIRAL_PIXSCALE
    return affine_transform(mask, matrix, centre - np.array(matrix) @ (centre + step), order=1)


def test_the_mask_of_a_real_spiral_lies_on_its_arms(road):
    image = read_pixels(road / "cutouts" / "images" / f"{SPIRAL}.png")
    mask = read_pixels(road / "masks" / f"{SPIRAL}_spiral_mask.png")
    turns = [((-1, 0), (0, 1)), ((1, 0), (0, -1)), ((-1, 0), (0, -1)), ((0, 1), (1, 0)), ((0, 1), (-1, 0))]
    turned = [placed(mask, matrix) for matrix in turns]
    scaled = [placed(mask, np.eye(2) * scale) for scale in (0.9, 1.1)]
    moved = [placed(mask, native_pixels=move) for move in ((10, 0), (-10, 0), (0, 10), (0, -10))]
    agreement = on_arms(image, mask)
    assert agreement > 0.4
    assert max(on_arms(image, other) for other in turned) < 0.15
    assert max(on_arms(image, other) for other in scaled + moved) < agreement


@pytest.mark.parametrize(
    ("id_str", "has_votes", "has_masks", "votes"),
    [
        (SPIRAL, True, True, VOTES["402520_1718"]),
        (FAINT, False, True, {}),
        (UNASKED, True, False, VOTES["329413_5"]),
        (BLANK, True, True, VOTES["329413_5"]),
    ],
)
def test_shards_hold_the_labels_that_were_asked_for(records, id_str, has_votes, has_masks, votes):
    record, answers = records[id_str], get_schema(SCHEMA).label_cols
    assert (record["has_votes"], record["has_spiral_mask"], record["has_bar_mask"]) == (has_votes, has_masks, has_masks)
    assert dict(zip(answers, record["votes"], strict=True)) == dict.fromkeys(answers, 0) | votes


def test_shards_hold_masks_that_fit_their_images(records):
    assert on_arms(records[SPIRAL]["image"], records[SPIRAL]["spiral_mask"]) > 0.4
    assert records[BLANK]["spiral_mask"].max() == records[BLANK]["bar_mask"].max() == 0
    assert records[UNASKED]["spiral_mask"] is records[UNASKED]["bar_mask"] is None


def test_a_second_run_downloads_nothing_and_changes_nothing(road, walk, archive, service):
    def contents():
        return {path: path.read_bytes() for path in road.rglob("*") if path.is_file()}

    before = contents()
    walk()
    assert contents() == before
    assert [len(archive.asked(name)) for name in archive.files] == [1, 1, 1, 1]
    assert len(service.requests) == 4

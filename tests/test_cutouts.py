"""Cutouts from a local server in place of the cutout service: they match the request and the sky, or fail."""

import io
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from archive_server import PAGE, archive_server
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.surveys import download
from zoobot3d_tf.surveys.cutout_options import CutoutOptions
from zoobot3d_tf.surveys.cutouts import download_cutouts

# astropy warns about files that fail anyway.
pytestmark = pytest.mark.filterwarnings("ignore:File may have been truncated")

SIZE = 64
# Galaxy k is at declination k. Each galaxy has a star to the north-east.
RA = 150.0
STAR = {"east": 5.0, "north": 3.0}  # arcsec


def cutout(query, size=None, pixscale=None, bands=None, shift=(0, 0), turned=False, blank="", value=0.0):
    """Response of the service, FITS with a WCS. The other arguments are faults of the service."""
    ra, dec = float(query["ra"]) + shift[0], float(query["dec"]) + shift[1]
    size, bands = size or int(query["size"]), bands or query["bands"]
    step = (pixscale or float(query["pixscale"])) / 3600 * (-1 if turned else 1)
    header = fits.Header({"BANDS": bands, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec})
    header.update({"CRPIX1": (size + 1) / 2, "CRPIX2": (size + 1) / 2, "CD1_1": -step, "CD2_2": step})
    fluxes = np.random.default_rng(0).normal(0, 0.005, (len(bands), size, size)).astype(np.float32)
    x, y = WCS(header).world_to_pixel_values(
        ra + STAR["east"] / 3600 / np.cos(np.radians(dec)), dec + STAR["north"] / 3600
    )
    fluxes[:, int(np.rint(y)), int(np.rint(x))] = 10
    fluxes[[band in blank for band in bands]] = value
    return as_bytes(fluxes, header)


def as_bytes(fluxes, header=None):
    content = io.BytesIO()
    fits.PrimaryHDU(fluxes, header).writeto(content)
    return content.getvalue()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)


@pytest.fixture
def service():
    """The running service. `answers[k]` replaces `cutout` for galaxy k."""
    answers = {}
    with archive_server(respond=lambda _, query: answers.get(round(float(query["dec"])), cutout)(query)) as server:
        server.answers = answers
        yield server


@pytest.fixture
def make(service, tmp_path):
    """Function that downloads cutouts of the galaxies A, B, C, or of another table, and returns the catalogue."""

    def run(table=None, **options):
        if table is None:
            table = {"id_str": ["A", "B", "C"], "ra": RA, "dec": [0.0, 1.0, 2.0]}
        pd.DataFrame(table).to_csv(tmp_path / "galaxies.csv", index=False)
        limit = options.pop("limit", None)
        workers, max_failed = options.pop("workers", 4), options.pop("max_failed", 0.01)
        settings = CutoutOptions(**{"size": SIZE, **options})
        catalog, out, url = tmp_path / "galaxies.csv", tmp_path / "cutouts", f"{service.url}fits-cutout"
        path = download_cutouts(catalog, out, settings, workers, limit, url, max_failed)
        return pd.read_csv(path)

    return run


def failed(tmp_path):
    return pd.read_csv(tmp_path / "cutouts" / "failed.csv", keep_default_na=False).set_index("id_str")


def test_each_galaxy_has_a_fits_file_an_image_and_a_row(make, service, tmp_path):
    table = {"id_str": ["007", "B"], "ra": [RA, 359.9], "dec": [0.5, -1.0], "ring_yes": [3, 4], "file_loc": "old.png"}
    catalog = make(table, pixscale=0.5)
    assert catalog["id_str"].tolist() == ["007", "B"]
    assert catalog["ring_yes"].tolist() == [3, 4]
    assert catalog["file_loc"].tolist() == ["images/007.png", "images/B.png"]
    np.testing.assert_allclose(catalog["pixscale"], 0.5)
    np.testing.assert_allclose(catalog[["cutout_ra", "cutout_dec"]], catalog[["ra", "dec"]], atol=1e-9)
    for id_str in ("007", "B"):
        image = np.array(Image.open(tmp_path / "cutouts" / "images" / f"{id_str}.png"))
        np.testing.assert_array_equal(image, read_image(tmp_path / "cutouts" / "fits" / f"{id_str}.fits"))
    assert not (tmp_path / "cutouts" / "failed.csv").exists()
    query = {"layer": "ls-dr10", "pixscale": "0.5", "size": "64", "bands": "grz"}
    asked = sorted((request.query for request in service.requests), key=lambda query: query["ra"])
    assert asked == [{"ra": "150.0", "dec": "0.5", **query}, {"ra": "359.9", "dec": "-1.0", **query}]


@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_star_in_the_north_east_is_at_the_top_left_of_the_image(make, tmp_path, image_format):
    make(image_format=image_format)
    image = np.array(Image.open(tmp_path / "cutouts" / "images" / f"B.{image_format}").convert("L"))
    row, column = np.unravel_index(image.argmax(), image.shape)
    middle = (SIZE - 1) / 2
    assert row == np.rint(middle - STAR["north"] / 0.262)
    assert column == np.rint(middle - STAR["east"] / 0.262)


def test_other_bands_and_another_stretch(make, tmp_path):
    make(bands="griz", stretch="lupton", survey="ls-dr10-south")
    image = np.array(Image.open(tmp_path / "cutouts" / "images" / "A.png"))
    np.testing.assert_array_equal(image, read_image(tmp_path / "cutouts" / "fits" / "A.fits", "lupton"))


def test_each_galaxy_may_have_its_own_scale_but_none_below_a_tenth_of_an_arcsec(make, tmp_path):
    table = {"id_str": ["A", "B", "C", "D"], "ra": RA, "dec": [0, 1, 2, 3], "est_dr5_pixscale": [0.05, 0.3, None, -1]}
    catalog = make(table, pixscale_col="est_dr5_pixscale")
    assert catalog["id_str"].tolist() == ["A", "B"]
    np.testing.assert_allclose(catalog["pixscale"], [0.1, 0.3])
    reasons = failed(tmp_path)["reason"]
    assert reasons["C"].startswith("est_dr5_pixscale is empty;")
    assert reasons["D"].startswith("est_dr5_pixscale is -1;")


@pytest.mark.parametrize(
    ("center_on", "columns", "used"),
    [
        (None, ["ra", "wcs_ra", "ra_desi"], "ra"),
        ("manga", ["ra", "ra_manga", "wcs_ra"], "wcs_ra"),
        ("manga", ["ra", "ra_manga"], "ra_manga"),
        ("desi", ["ra", "ra_desi"], "ra_desi"),
    ],
)
def test_centre_is_the_position_chosen(make, service, center_on, columns, used):
    table = {"id_str": ["A"]}
    for k, name in enumerate(columns):
        table |= {name: [RA + k], name.replace("ra", "dec"): [10.0 + k]}
    catalog = make(table, center_on=center_on)
    assert service.requests[0].query["ra"] == str(table[used][0])
    assert catalog["cutout_dec"][0] == pytest.approx(table[used.replace("ra", "dec")][0])


@pytest.mark.parametrize(
    ("center_on", "needed"),
    [(None, "ra, dec"), ("manga", "wcs_ra, wcs_dec or ra_manga, dec_manga"), ("desi", "ra_desi")],
)
def test_missing_position_is_an_error_that_names_the_columns(make, center_on, needed):
    with pytest.raises(ValueError, match=f"galaxies.csv: lacks the columns {needed}"):
        make({"id_str": ["A"], "RAJ2000": [1.0], "DEJ2000": [2.0]}, center_on=center_on)


def test_galaxies_with_impossible_positions_fail_and_others_do_not(make, service, tmp_path):
    catalog = make({"id_str": ["A", "B", "C"], "ra": [None, RA, RA], "dec": [0.0, 91.0, 1.0]})
    assert catalog["id_str"].tolist() == ["C"]
    reasons = failed(tmp_path)["reason"]
    assert list(reasons.index) == ["A", "B"]
    assert re.search("^ra is empty; .* -360 to 720", reasons["A"])
    assert re.search("^dec is 91; .* -90 to 90", reasons["B"])
    assert len(service.requests) == 1


def test_right_ascension_of_another_turn_is_asked_for_between_0_and_360(make):
    catalog = make({"id_str": ["A"], "ra": [-10.0], "dec": [0.0]})
    assert catalog["cutout_ra"].tolist() == pytest.approx([350.0])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda query: cutout(query, size=50), r"\(3, 50, 50\).* \(3, 64, 64\)"),
        (lambda query: cutout(query, bands="gri"), "bands .* 'gri'.* 'grz'"),
        (lambda query: as_bytes(None), r"shape .* None.* \(3, 64, 64\)"),
        (lambda query: cutout(query, pixscale=0.27), "scale .* 0.27 .* 0.262"),
        (lambda query: cutout(query, turned=True), "north up and east left"),
        (lambda query: cutout(query, shift=(0, 0.4 / 3600)), r"centre .* 1\.5 pixels"),
        (lambda query: cutout(query, shift=(180, 0)), "centre .* nan pixels"),
        (lambda query: as_bytes(np.ones((3, SIZE, SIZE)), fits.Header({"BANDS": "grz"})), "no WCS"),
        (lambda query: cutout(query, blank="grz"), "blank: .*footprint"),
        (lambda query: cutout(query, blank="grz", value=np.nan), "blank: .*footprint"),
        (lambda query: cutout(query, blank="gz"), "blank in g, z:"),
        (
            lambda query: cutout(query).replace(b"BANDS   = '", b"BANDS   =  "),
            "cannot be read as FITS: Unparsable card",
        ),
        (lambda query: PAGE, "not a FITS file: it begins with b'<!DOCTYPE html>"),
        (lambda query: b'{"error": "no such layer"}', "not a FITS file: .*no such layer"),
        (lambda query: cutout(query)[:-5000], "cannot be read as FITS"),
        (lambda query: b"", "not a FITS file"),
        (lambda query: None, "HTTP status 404"),
    ],
)
def test_galaxy_fails_if_the_response_is_not_the_requested_cutout(make, service, tmp_path, answer, reason):
    service.answers[1] = answer
    assert make()["id_str"].tolist() == ["A", "C"]
    failure = failed(tmp_path).loc["B"]
    assert re.search(reason, failure["reason"])
    assert "dec=1.0" in failure["url"]
    assert sorted(path.name for path in (tmp_path / "cutouts").rglob("*B.*")) == []


def test_blank_cutout_is_requested_once(make, service):
    service.answers[1] = lambda query: cutout(query, blank="grz")
    make()
    assert len(service.requests) == 3


def test_too_many_blank_cutouts_stop_the_run_and_are_not_requested_again(make, service, tmp_path):
    table = {"id_str": list("ABCDEFGH"), "ra": RA, "dec": np.arange(8.0)}
    for number in range(6):
        service.answers[number] = lambda query: cutout(query, blank="grz")
    with pytest.raises(ValueError, match=r"6 of 8 galaxies .*max_failed 0\.01 .*blank.*run the same again"):
        make(table)
    assert failed(tmp_path).index.tolist() == list("ABCDEF")
    assert make(table, max_failed=0.8)["id_str"].tolist() == ["G", "H"]
    assert len(service.requests) == 8
    assert sorted(path.stem for path in (tmp_path / "cutouts" / "fits").iterdir()) == ["G", "H"]


def test_too_many_missing_cutouts_stop_the_run_early(make, service, tmp_path):
    service.faults["fits-cutout"] = itertools.repeat("404")
    with pytest.raises(ValueError, match=r"6 of 30 galaxies .*HTTP status 404"):
        make({"id_str": [f"g{i}" for i in range(30)], "ra": RA, "dec": np.arange(30.0)}, workers=1)
    assert len(service.requests) < 30


def test_a_server_that_is_down_stops_the_run_and_finished_cutouts_are_kept(make, service, tmp_path):
    table = {"id_str": [f"g{i:02d}" for i in range(20)], "ra": RA, "dec": np.arange(20.0)}
    service.faults["fits-cutout"] = itertools.chain([None] * 3, itertools.repeat("503"))
    with pytest.raises(OSError, match=r"^127\.0\.0\.1:\d+: .*not answered.*HTTP status 503.*run the same again"):
        make(table, workers=1, max_failed=1)
    assert len(service.requests) < 3 + 5 * 20
    service.faults.clear()
    n_before = len(service.requests)
    assert len(make(table)) == 20
    assert len(service.requests) == n_before + 17


def test_real_cutout_is_accepted(make, service, reference):
    real = (reference / "reference" / "golden" / "decals_rgb" / "example_b.fits").read_bytes()
    service.answers[1] = lambda query: real
    catalog = make({"id_str": ["b"], "ra": [0.004367], "dec": [0.541321]}, size=162)
    assert catalog["pixscale"][0] == 0.262
    assert catalog[["cutout_ra", "cutout_dec"]].to_numpy() == pytest.approx(np.array([[0.0043669, 0.54132083]]))


def test_correct_response_after_faulty_ones_is_accepted(make, service):
    service.faults["fits-cutout"] = iter(["500", "503 retry-after 0", "html", "truncate", "drop midway"])
    assert len(make(workers=2)) == 3


def test_catalogue_without_any_cutout_is_an_error(make, service, tmp_path):
    service.faults["fits-cutout"] = itertools.repeat("404")
    with pytest.raises(ValueError, match=r"cutouts/failed.csv: .* 3 galaxies .*HTTP status 404"):
        make()
    assert failed(tmp_path).index.tolist() == ["A", "B", "C"]
    assert not (tmp_path / "cutouts" / "catalog.csv").exists()


def test_second_run_makes_only_what_is_missing(make, service, tmp_path):
    first = make()
    out = tmp_path / "cutouts"
    (out / "images" / "A.png").unlink()
    (out / "fits" / "B.fits").unlink()
    (out / "fits" / "C.fits").write_bytes((out / "fits" / "C.fits").read_bytes()[:5000])
    kept = (out / "fits" / "A.fits").stat().st_mtime_ns
    service.requests.clear()
    pd.testing.assert_frame_equal(make(), first)
    assert sorted(request.query["dec"] for request in service.requests) == ["1.0", "2.0"]
    assert (out / "fits" / "A.fits").stat().st_mtime_ns == kept
    assert (out / "images" / "A.png").exists()


def test_galaxy_that_moved_in_the_catalogue_gets_another_cutout_and_image(make, tmp_path):
    make({"id_str": ["A"], "ra": [RA], "dec": [0.0]})
    image = tmp_path / "cutouts" / "images" / "A.png"
    before = image.stat().st_mtime_ns
    catalog = make({"id_str": ["A"], "ra": [RA], "dec": [0.01]})
    assert catalog["cutout_dec"][0] == pytest.approx(0.01)
    assert image.stat().st_mtime_ns > before


def test_list_of_failures_is_removed_when_no_galaxy_fails(make, service, tmp_path):
    service.answers[1] = lambda query: None
    make()
    service.answers.clear()
    assert len(make()) == 3
    assert not (tmp_path / "cutouts" / "failed.csv").exists()


def test_limit_takes_the_first_galaxies(make, service):
    assert make(limit=2)["id_str"].tolist() == ["A", "B"]
    assert len(service.requests) == 2


def test_other_paths_of_the_catalogue_become_relative_to_the_new_folder(make, tmp_path):
    table = {"id_str": ["A", "B"], "ra": RA, "dec": [0.0, 1.0], "gz3d_loc": ["gz3d/A.fits.gz", None]}
    paths = make(table)["gz3d_loc"]
    assert paths[0] == "../gz3d/A.fits.gz"
    assert pd.isna(paths[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"survey": "ls-dr9"}, "survey .*'ls-dr9'.*'ls-dr10'"),
        ({"size": 65}, "size .*65.*64"),
        ({"stretch": "lupton"}, "stretch .*'lupton'.*'galaxy-zoo'"),
    ],
)
def test_folder_made_with_other_settings_is_refused(make, service, tmp_path, change, words):
    make()
    assert json.loads((tmp_path / "cutouts" / "cutouts.json").read_text())["bands"] == "grz"
    service.requests.clear()
    with pytest.raises(ValueError, match=f"cutouts: .*{words}.*another folder"):
        make(**change)
    assert service.requests == []


@pytest.mark.parametrize("content", ["{", "[1]", "3", "[" * 1000 + "]" * 1000])
def test_damaged_options_of_a_folder_are_named(make, service, tmp_path, content):
    make()
    (tmp_path / "cutouts" / "cutouts.json").write_text(content)
    with pytest.raises(ValueError, match=r"cutouts\.json: .*JSON object"):
        make()


def test_folder_with_other_files_is_refused(make, service, tmp_path):
    (tmp_path / "cutouts").mkdir()
    (tmp_path / "cutouts" / "catalog.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"cutouts: .* no cutouts\.json"):
        make()
    assert (tmp_path / "cutouts" / "catalog.csv").read_text() == "mine"
    assert service.requests == []


@pytest.mark.parametrize("id_str", ["../evil", "A"])
def test_id_that_cannot_name_a_file_is_refused_before_any_download(make, service, id_str):
    with pytest.raises(ValueError, match=r"galaxies.csv: id_str is .* in row 3"):
        make({"id_str": ["A", id_str], "ra": RA, "dec": [0.0, 1.0]})
    assert service.requests == []


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": ["A"], "ra": [1.0], "dec": [2.0]}, "lacks the column id_str"),
        ({"id_str": [], "ra": [], "dec": []}, "the catalogue has no rows"),
        ({"id_str": ["A"], "ra": ["10h"], "dec": [2.0]}, r"ra is '10h' in row 2 \(A\); it must be a number"),
    ],
)
def test_faulty_catalogue_is_refused(make, table, words):
    with pytest.raises(ValueError, match=words):
        make(table)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"size": 600}, "size must be .*16.*512.*600"),
        ({"pixscale": 0}, "pixscale must be above 0 .* 0"),
        ({"pixscale_col": "scale"}, "column scale, .*pixscale_col"),
        ({"center_on": "sami"}, "center_on must be manga or desi.*'sami'"),
        ({"bands": "gr"}, "bands must be .*g, r, i, z.*'gr'"),
        ({"stretch": "log"}, "stretch must be .*galaxy-zoo"),
        ({"image_format": "gif"}, "image_format must be png or jpg.*'gif'"),
    ],
)
def test_impossible_settings_are_refused_before_any_download(make, service, option, words):
    with pytest.raises(ValueError, match=words):
        make(**option)
    assert service.requests == []

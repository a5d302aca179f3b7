"""The cross-match is right at the edges of the sky and for faulty catalogues, and the same from files as in memory."""

import shutil
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

from zoobot3d_tf.catalogs import crossmatch, sky_cells
from zoobot3d_tf.catalogs.crossmatch import match, match_files
from zoobot3d_tf.catalogs.sky_cells import cell_of, cells_near, files_near, partition
from zoobot3d_tf.tables.formats import read_table, write_table

ARCSEC = 1 / 3600
LONG_ID = 587722984435351615  # of SDSS: as a float it would end in 616


def table(*positions, **columns):
    return pd.DataFrame(positions, columns=["ra", "dec"]).assign(**columns)


def scatter(n, seed):
    """Make positions spread evenly over the sky, and some at its poles and at right ascension 0."""
    rng = np.random.default_rng(seed)
    sky = table(*zip(rng.uniform(-360, 720, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n))), strict=True))
    edges = table((0, 90), (123, 90), (200, -90), (360, 0), (0, 0), (-1e-17, 10), (120, 80), (359.9999, -80), (60, 0))
    return pd.concat([sky, edges], ignore_index=True)


def moved(positions, arcsec, seed):
    """Move each position by up to a distance in a random direction."""
    rng = np.random.default_rng(seed)
    distances, angles = rng.uniform(0, arcsec, len(positions)), rng.uniform(0, 360, len(positions))
    sky = SkyCoord(positions["ra"], positions["dec"], unit="deg")
    sky = sky.directional_offset_by(angles * units.deg, distances * units.arcsec)
    return table(*zip(sky.ra.deg, sky.dec.deg, strict=True))


def test_the_nearest_within_the_radius_is_joined():
    left = table((10, 20), (30, 40), (50, 60), id_str=["a", "b", "c"])
    right = table((30, 40 - 2 * ARCSEC), (50, 60 + 4 * ARCSEC), (30, 40 + 1 * ARCSEC), z=[1, 2, 3])
    joined = match(left, right)
    assert list(joined) == [
        "ra",
        "dec",
        "id_str",
        "ra_right",
        "dec_right",
        "z",
        "separation_arcsec",
        "n_within",
        "shared",
    ]
    assert joined["id_str"].item() == "b"
    assert joined["z"].item() == 3
    assert joined["separation_arcsec"].item() == pytest.approx(1)
    assert joined["n_within"].item() == 2
    assert not joined["shared"].item()
    assert list(match(left, right, radius_arcsec=5)["id_str"]) == ["b", "c"]


@pytest.mark.parametrize(
    ("left", "right", "separation"),
    [
        ((0, 0), (360 - ARCSEC, 0), 1),
        ((0.5 * ARCSEC, 60), (-1.5 * ARCSEC, 60), 1),  # cos 60 degrees
        ((370, 20), (10, 20), 0),
        ((0, 90), (270, 90 - 2 * ARCSEC), 2),
        ((45, 90 - ARCSEC), (225, 90 - ARCSEC), 2),  # across the pole
        ((45, -90 + ARCSEC), (225, -90 + ARCSEC), 2),
    ],
)
def test_the_sky_has_no_edge(left, right, separation):
    assert match(table(left), table(right))["separation_arcsec"].item() == pytest.approx(separation, abs=1e-6)


def test_rows_without_a_position_match_nothing():
    left = table((np.nan, 20), (10, np.nan), (10, 20), id_str=["a", "b", "c"])
    right = table((10, 20), (np.nan, 20), (10, np.nan), z=[1, 2, 3])
    assert list(match(left, right)["id_str"]) == ["c"]
    kept = match(left, right, keep_unmatched=True)
    assert list(kept["z"].fillna(-1)) == [-1, -1, 1]
    assert list(kept["n_within"]) == [0, 0, 1]
    np.testing.assert_allclose(kept["separation_arcsec"], [np.nan, np.nan, 0])
    assert not kept["shared"].any()


@pytest.mark.parametrize("keep_unmatched", [False, True])
@pytest.mark.parametrize(("n_left", "n_right"), [(0, 2), (2, 0), (0, 0)])
def test_empty_tables_match_nothing(n_left, n_right, keep_unmatched):
    both = table((10, 20), (30, 40), z=[1, 2])
    joined = match(both[:n_left], both[:n_right], keep_unmatched=keep_unmatched)
    assert len(joined) == (n_left if keep_unmatched else 0)
    assert joined["separation_arcsec"].isna().all()


def test_duplicates_are_reported_and_the_first_of_equals_taken():
    left = table((10, 20), (10, 20 + ARCSEC), (50, 60))
    right = table((10, 20), (50, 60), (50, 60), (10, 20), z=[1, 2, 3, 4])
    joined = match(left, right)
    assert list(joined["z"]) == [1, 1, 2]
    assert list(joined["shared"]) == [True, True, False]
    assert list(joined["n_within"]) == [2, 2, 2]


def test_of_two_as_near_the_western_is_taken_whatever_their_order():
    left, right = table((10, 0)), table((10 + ARCSEC, 0), (10 - ARCSEC, 0), z=["east", "west"])
    assert match(left, right)["z"].item() == match(left, right[::-1])["z"].item() == "west"


def test_one_to_one_keeps_the_closest_and_frees_the_others():
    left = table((10, 20 + 2 * ARCSEC), (10, 20 + ARCSEC), (50, 60), id_str=["far", "near", "other"])
    right = table((10, 20), (50, 60), objid=[LONG_ID, 2])
    joined = match(left, right, one_to_one=True)
    assert list(joined["id_str"]) == ["near", "other"]
    assert list(joined["shared"]) == [True, False]
    kept = match(left, right, one_to_one=True, keep_unmatched=True)
    assert list(kept["id_str"]) == ["far", "near", "other"]
    assert list(kept["objid"].isna()) == [True, False, False]
    assert kept["objid"][1] == LONG_ID


def test_a_match_can_be_matched_again():
    first = match(table((10, 20)), table((10, 20)))
    second = match(first, table((10, 20 + ARCSEC)))
    assert second.columns.is_unique
    assert second["separation_arcsec"].item() == 0
    assert second["separation_arcsec_right"].item() == pytest.approx(1)


def test_columns_have_the_names_given_and_rows_any_index():
    left = pd.DataFrame({"RA_OBJ": ["10", "30"], "DEC_OBJ": [20, 40]}, index=[7, 7])
    joined = match(left, table((30, 40)), left_position=("RA_OBJ", "DEC_OBJ"))
    assert joined["RA_OBJ"].item() == "30"


@pytest.mark.parametrize(
    ("left", "right", "radius", "message"),
    [
        (
            table((10, 20)),
            table((1, 2), (10, -999)),
            3,
            "right table: dec is -999 in row 3; .*from -90 to 90",
        ),
        (table((np.inf, 20)), table((1, 2)), 3, "left table: ra is inf in row 2; .*from -360 to 720"),
        (table(("10h30m", 20)), table((1, 2)), 3, "left table: ra is '10h30m' in row 2; it must be a number"),
        (table((10, 20)).drop(columns="dec"), table((1, 2)), 3, "left table: lacks the column dec"),
        (table((10, 20)), table((1, 2)), 0, "radius must be above 0 and at most 3600 arcsec; received 0"),
        (table((10, 20)), table((1, 2)), np.nan, "radius must be above 0 and at most 3600 arcsec; received nan"),
    ],
)
def test_impossible_input_is_refused(left, right, radius, message):
    with pytest.raises(ValueError, match=message):
        match(left, right, radius)


def test_a_position_is_two_columns():
    with pytest.raises(ValueError, match=r"a position is two columns, .* received ra$"):
        match(table((10, 20)), table((10, 20)), left_position=["ra"])


def test_it_agrees_with_astropy_and_does_not_depend_on_the_pieces(monkeypatch):
    right = scatter(3000, seed=0)
    left = pd.concat([moved(right[::3], 5, seed=1), scatter(200, seed=2)], ignore_index=True).assign(n=range(1212))
    whole = match(left, right, radius_arcsec=4)
    _, separation, _ = SkyCoord(left["ra"], left["dec"], unit="deg").match_to_catalog_sky(
        SkyCoord(right["ra"], right["dec"], unit="deg")
    )
    within = separation.arcsec <= 4
    assert list(whole["n"]) == list(np.flatnonzero(within))
    np.testing.assert_allclose(whole["separation_arcsec"], separation.arcsec[within], atol=1e-9)
    monkeypatch.setattr(crossmatch, "_PIECE_ROWS", 301)
    pd.testing.assert_frame_equal(match(left, right, radius_arcsec=4), whole)


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory):
    """Folder of tables that match across all borders of sky cells: `left.csv`, and the right table in several forms."""
    out = tmp_path_factory.mktemp("catalogs")
    corners = [(ra, dec) for dec in range(-90, 91, 10) for ra in np.arange(0, 360, 7.5)]
    left = pd.concat([table(*corners), scatter(500, seed=3), table((np.nan, 0))], ignore_index=True)
    right = pd.concat([moved(left[:-1], 2, seed) for seed in (4, 5, 6)] + [table((0, np.nan))] * 3, ignore_index=True)
    right = pd.concat([right, right[::9]], ignore_index=True)
    right["id_str"] = [f"{n:05d}" for n in range(len(right))]
    right["objid"] = pd.array([pd.NA, *range(LONG_ID, LONG_ID + len(right) - 1)], dtype="Int64")
    write_table(left.assign(id_str=range(len(left))), out / "left.csv")
    for suffix in ("parquet", "fits", "csv"):
        write_table(right, out / f"right.{suffix}")
    for start in range(0, len(right), 700):
        write_table(right[start : start + 700], out / "folder" / f"{start:05d}.parquet")
    partition(out / "folder", out / "cells")
    partition(out / "right.fits", out / "cells of fits")
    return out


@pytest.mark.parametrize("options", [{}, {"one_to_one": True}, {"keep_unmatched": True, "radius_arcsec": 0.5}])
def test_tables_larger_than_memory_match_as_those_in_memory(tmp_path, catalogs, options):
    left, right = (read_table(catalogs / name) for name in ("left.csv", "right.parquet"))
    expected = read_table(write_table(match(left, right, **options), tmp_path / "expected.parquet"))
    assert len(expected) > 1000
    for source in ("right.parquet", "folder", "cells", "cells of fits"):
        joined = read_table(
            match_files(catalogs / "left.csv", catalogs / source, tmp_path / "joined.parquet", **options)
        )
        pd.testing.assert_frame_equal(joined, expected)


def test_only_cells_near_the_first_table_are_read(tmp_path, catalogs):
    cells = shutil.copytree(catalogs / "cells", tmp_path / "cells")
    near = files_near(cells, ("ra", "dec"), SkyCoord([195.0], [10.0], unit="deg"), 3)
    assert len(near) < 20
    for file in set(cells.rglob("*.parquet")) - set(near):
        file.write_bytes(b"not to be read")
    left = write_table(table((195, 10)), tmp_path / "left.csv")
    assert len(read_table(match_files(left, cells, tmp_path / "joined.csv"))) == 1


def test_cells_near_a_position_hold_all_that_is_near():
    positions = scatter(200, seed=7)
    around = moved(positions, 3600, seed=8)
    cells = cell_of(around["ra"].to_numpy(), around["dec"].to_numpy())
    for position, cell in zip(positions.itertuples(), cells, strict=True):
        assert cell in cells_near(SkyCoord([position.ra], [position.dec], unit="deg"), 3600)


def test_cells_cover_the_sky_about_evenly():
    positions = scatter(10**5, seed=9)
    counts = np.bincount(cell_of(positions["ra"].to_numpy(), positions["dec"].to_numpy()))
    assert len(counts) == 412
    assert 100 < counts.min() < counts.max() < 400  # 243 on average


@pytest.mark.parametrize("right", ["right.csv", "right.parquet"])
def test_only_the_columns_wanted_are_kept(tmp_path, catalogs, right):
    left, right = catalogs / "left.csv", catalogs / right
    joined = read_table(match_files(left, right, tmp_path / "joined.csv", right_columns=["objid"]))
    assert list(joined)[:6] == ["ra", "dec", "id_str", "ra_right", "dec_right", "objid"]
    with pytest.raises(ValueError, match=r"lacks the column z$"):
        match_files(left, right, tmp_path / "joined.csv", right_columns=["z"])


@pytest.mark.parametrize("right", ["right.csv", "right.parquet"])
def test_paths_in_both_tables_still_lead_to_their_files(tmp_path, right):
    left = write_table(table((1, 2), file_loc=["a.png"]), tmp_path / "left" / "left.csv")
    right = write_table(table((1, 2), gz3d_loc=["../b.fits"]), tmp_path / "right" / right)
    joined = read_table(match_files(left, right, tmp_path / "joined.csv"))
    assert list(joined["file_loc"]) == ["left/a.png"]
    assert list(joined["gz3d_loc"]) == ["b.fits"]


def test_a_table_without_matches_still_has_the_columns(tmp_path, catalogs):
    left = write_table(table((np.nan, 10), id_str="a"), tmp_path / "left.csv")
    joined = match_files(left, catalogs / "cells", tmp_path / "joined.csv", keep_unmatched=True)
    assert read_table(joined)[["id_str_right", "objid"]].isin(["", np.nan]).all(axis=None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 no more", r"b.parquet: cannot be read as a PARQUET table"),
        (table((1, 2), (3, 400), z=1.5), r"folder: dec is 400 in row 5; .*from -90 to 90"),
        (table((1, 2)).drop(columns="dec"), r"b.parquet: lacks the columns dec, z"),
        (table((1, 2)).assign(z="high"), r"b.parquet: has columns of other types than the files before it"),
    ],
)
def test_faults_in_a_folder_are_named(tmp_path, content, message):
    left = write_table(table((1, 2)), tmp_path / "left.csv")
    write_table(table((1, 2), (3, 4), z=[1.5, 2.5]), tmp_path / "folder" / "a.parquet")
    if isinstance(content, bytes):
        (tmp_path / "folder" / "b.parquet").write_bytes(content)
    else:
        write_table(content, tmp_path / "folder" / "b.parquet")
    with pytest.raises(ValueError, match=message):
        match_files(left, tmp_path / "folder", tmp_path / "joined.csv")
    with pytest.raises(ValueError, match=message):
        partition(tmp_path / "folder", tmp_path / "cells")
    assert not (tmp_path / "cells").exists()
    assert not (tmp_path / "joined.csv").exists()


def test_an_interrupted_partition_is_not_taken_for_whole(tmp_path, catalogs, monkeypatch):
    monkeypatch.setattr(sky_cells.ds, "write_dataset", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        partition(catalogs / "folder", tmp_path / "cells")
    assert not (tmp_path / "cells").exists()
    monkeypatch.undo()
    partition(catalogs / "folder", tmp_path / "cells")
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_a_folder_sorted_otherwise_is_refused(tmp_path, catalogs):
    with pytest.raises(ValueError, match=r"cells: was sorted by \['ra', 'dec'\] .* to match by \['RA', 'dec'\]"):
        match_files(catalogs / "left.csv", catalogs / "cells", tmp_path / "joined.csv", right_position=("RA", "dec"))
    with pytest.raises(FileExistsError, match="cells: already exists"):
        partition(catalogs / "folder", catalogs / "cells")


@pytest.mark.parametrize(
    ("right", "out", "message"),
    [
        ("", "a.csv", r"no file \*.parquet in this folder"),
        ("none.parquet", "a.csv", r"none.parquet: no such catalogue"),
        ("none.csv", "a.csv", r"none.csv: no such catalogue"),
        ("none.csv", "a.vot", r"a.vot: .* must end in"),
    ],
)
def test_files_that_cannot_be_are_refused(tmp_path, right, out, message):
    left = write_table(table((1, 2)), tmp_path / "left.csv")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        match_files(left, tmp_path / right, tmp_path / out)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "pq"])
def test_positions_in_capitals_are_found(tmp_path, suffix):
    pd.DataFrame({"id_str": ["a"], "ra": 10.0, "dec": 1.0}).to_csv(tmp_path / "left.csv", index=False)
    right = pd.DataFrame({"RA": [50.0, 10.0], "Dec": [1.0, 1.0], "Name": ["x", "y"], "other": 1})
    path = tmp_path / f"right.{suffix}"
    right.to_csv(path, index=False) if suffix == "csv" else right.to_parquet(path)
    match_files(tmp_path / "left.csv", path, tmp_path / "out.csv", right_columns=["name"])
    assert read_table(tmp_path / "out.csv")["Name"].tolist() == ["y"]
    assert "other" not in read_table(tmp_path / "out.csv")


def test_a_folder_may_hold_files_of_both_suffixes(tmp_path):
    (tmp_path / "right").mkdir()
    for number, suffix in enumerate(("parquet", "pq")):
        table = pd.DataFrame({"ra": [10.0 + number], "dec": 1.0, "n": number})
        table.to_parquet(tmp_path / "right" / f"{number}.{suffix}")
    pd.DataFrame({"ra": [10.0, 11.0], "dec": 1.0}).to_csv(tmp_path / "left.csv", index=False)
    match_files(tmp_path / "left.csv", tmp_path / "right", tmp_path / "out.csv")
    assert read_table(tmp_path / "out.csv")["n"].tolist() == [0, 1]


@pytest.mark.parametrize("position", [("ra", "dec"), ("ALPHA", "DELTA")])
def test_positions_are_matched_in_their_units(tmp_path, position):
    right = Table(dict(zip(position, ([np.radians(10.0)], [60.0]), strict=True)))
    right[position[0]].unit, right[position[1]].unit = "rad", "arcmin"
    right.write(tmp_path / "right.fits")
    pd.DataFrame({"ra": [10.0], "dec": 1.0}).to_csv(tmp_path / "left.csv", index=False)
    match_files(tmp_path / "left.csv", tmp_path / "right.fits", tmp_path / "out.csv", right_position=position)
    assert len(read_table(tmp_path / "out.csv")) == 1

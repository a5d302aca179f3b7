"""The training catalogue: the form in which it is returned, and errors for each fault."""

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.schemas import get_schema

RINGS = get_schema("rings")


@pytest.fixture
def galaxies():
    return pd.DataFrame(
        {
            "id_str": ["0123", "J1", "J2"],
            "file_loc": ["images/a.png", "/data/b.png", "c.jpg"],
            "ring_yes": [3, 0, 1],
            "ring_no": [1, 0, 0],
        }
    )


@pytest.fixture
def write(tmp_path, galaxies):
    """Return a function that writes the three galaxies as CSV, with other columns, and returns the path."""

    def write(**columns):
        galaxies.assign(**columns).to_csv(tmp_path / "catalog.csv", index=False)
        return tmp_path / "catalog.csv"

    return write


def test_a_plain_catalogue_is_normalised(write, tmp_path):
    catalog = read_training_catalog(write(comment="ignored"), RINGS)
    assert list(catalog.columns) == [
        *("id_str", "file_loc", "ring_yes", "ring_no", "has_votes"),
        *("spiral_mask_loc", "bar_mask_loc", "marks_loc", "n_volunteers", "ra", "dec", "pixscale"),
    ]
    assert list(catalog["id_str"]) == ["0123", "J1", "J2"]
    assert list(catalog["file_loc"]) == [str(tmp_path / "images/a.png"), "/data/b.png", str(tmp_path / "c.jpg")]
    np.testing.assert_array_equal(catalog[["ring_yes", "ring_no"]], [[3, 1], [0, 0], [1, 0]])
    assert list(catalog["has_votes"]) == [True, False, True]
    assert (catalog[["spiral_mask_loc", "bar_mask_loc", "marks_loc"]] == "").all(axis=None)
    assert list(catalog["n_volunteers"]) == [15, 15, 15]
    assert catalog[["ra", "dec", "pixscale"]].isna().all(axis=None)


def test_optional_columns_are_read(write, tmp_path):
    path = write(
        spiral_mask_loc=["m.png", "", ""],
        marks_loc=["", "j.json", ""],
        n_volunteers=[12, np.nan, 30],
        ra=[10.5, np.nan, 0],
        dec=[-89, 1, 2],
        pixscale=[0.262, 0.1, np.nan],
    )
    catalog = read_training_catalog(path, RINGS, image_root=tmp_path / "root")
    assert list(catalog["spiral_mask_loc"]) == [str(tmp_path / "root/m.png"), "", ""]
    assert list(catalog["marks_loc"]) == ["", str(tmp_path / "root/j.json"), ""]
    assert list(catalog["n_volunteers"]) == [12, 15, 30]
    np.testing.assert_array_equal(catalog["ra"], [10.5, np.nan, 0])
    np.testing.assert_array_equal(catalog["pixscale"], [0.262, 0.1, np.nan])


def test_the_position_is_that_of_the_cutout(write):
    path = write(ra=[10, 20, None], dec=1, cutout_ra=[None, -20.5, None], cutout_dec=[2, 3, 4])
    catalog = read_training_catalog(path, RINGS)
    np.testing.assert_array_equal(catalog[["ra", "dec"]], [[10, 1], [339.5, 3], [np.nan, np.nan]])


def test_empty_votes_are_unasked(write):
    catalog = read_training_catalog(write(ring_yes=[3, np.nan, 1], ring_no=[1, np.nan, 0]), RINGS)
    np.testing.assert_array_equal(catalog[["ring_yes", "ring_no"]], [[3, 1], [0, 0], [1, 0]])
    assert catalog["ring_yes"].dtype == np.int64
    assert list(catalog["has_votes"]) == [True, False, True]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ring_yes": [3, 0, -1]}, r"ring_yes is -1 in row 4 \(J2\); votes must be whole numbers >= 0"),
        ({"ring_yes": [3, 0.5, 0.25]}, r"ring_yes is 0.5 in row 3 \(J1\) and 1 more; votes must be whole"),
        ({"ring_no": ["one", 0, 1]}, r"ring_no is 'one' in row 2 \(0123\); it must be a number"),
        ({"ring_no": [1, 0, np.inf]}, r"ring_no is inf in row 4 \(J2\)"),
        ({"ring_no": [np.nan, 0, 0]}, r"ring_no is empty in row 2 \(0123\); ring has votes"),
        ({"ring_yes": 0, "ring_no": 0}, "no galaxy has a vote or a mask"),
        ({"id_str": ["a", "b", "a"]}, r"id_str must be unique; 'a' is in rows 2 and 4 "),
        ({"id_str": ["a", "", "c"]}, "id_str is empty in row 3"),
        ({"id_str": ["a", " ", ""]}, "id_str is empty in row 3 and 1 more"),
        ({"file_loc": ["a", "b", ""]}, r"file_loc is empty in row 4 \(J2\)"),
        ({"file_loc": [0.5, 1.5, 2.5]}, "file_loc is stored as floating-point numbers"),
        ({"n_volunteers": [15, 0, 15]}, r"n_volunteers is 0 in row 3 \(J1\); it must be a whole number from 1 to 255"),
        ({"n_volunteers": [15, 15, 2.5]}, r"n_volunteers is 2.5 in row 4 \(J2\)"),
        ({"ra": [0, 800, 1], "dec": 0}, r"ra is 800 in row 3 \(J1\); it must be from -360 to 720"),
        ({"ra": 0, "dec": [0, 90, -91]}, r"dec is -91 in row 4 \(J2\); it must be from -90 to 90"),
        ({"cutout_ra": 0, "cutout_dec": [0, 0, 91]}, r"cutout_dec is 91 in row 4 \(J2\)"),
        ({"ra": 0}, "lacks the column dec"),
        ({"pixscale": [0.262, 0.262, 0]}, r"pixscale is 0.0 in row 4 \(J2\)"),
    ],
)
def test_impossible_values_are_refused_by_column_and_row(write, columns, message):
    with pytest.raises(ValueError, match=f"catalog.csv: {message}"):
        read_training_catalog(write(**columns), RINGS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("header.csv", b"id_str,file_loc,ring_yes,ring_no\n", "the catalogue has no rows"),
        ("no_loc.csv", b"id_str,ring_yes,ring_no\na,1,2\n", "lacks the column file_loc"),
        ("votes.csv", b"id_str,file_loc\na,b\n", "lacks the columns ring_yes, ring_no; .* missing_questions"),
        ("one.csv", b"id_str,file_loc,ring_yes\na,b,1\n", "lacks the column ring_no$"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        read_training_catalog(tmp_path / name, RINGS)


def test_questions_may_be_missing_only_whole_and_if_said_so(tmp_path):
    decals = get_schema("decals")
    path = tmp_path / "catalog.csv"
    header = "id_str,file_loc,smooth-or-featured_smooth,smooth-or-featured_featured-or-disk,smooth-or-featured_artifact"
    path.write_text(f"{header}\na,b,3,4,0\n")
    with pytest.raises(ValueError, match=r"lacks the columns .* missing_questions_unasked=True"):
        read_training_catalog(path, decals)
    catalog = read_training_catalog(path, decals, missing_questions_unasked=True)
    assert catalog[decals.label_cols].sum(axis=1).item() == 7
    assert catalog["smooth-or-featured_featured-or-disk"].item() == 4

    path.write_text(f"{header.removesuffix(',smooth-or-featured_artifact')}\na,b,3,4\n")
    with pytest.raises(ValueError, match="lacks the column smooth-or-featured_artifact"):
        read_training_catalog(path, decals, missing_questions_unasked=True)


def test_an_unlabelled_catalogue_needs_no_labels_and_shows_none(write, tmp_path):
    catalog = read_training_catalog(write(spiral_mask_loc="m.png"), RINGS, labels=())
    assert not catalog["has_votes"].any()
    assert not catalog[["ring_yes", "ring_no"]].any(axis=None)
    assert (catalog["spiral_mask_loc"] == "").all()
    (tmp_path / "plain.csv").write_text("id_str,file_loc\na,b\n")
    assert len(read_training_catalog(tmp_path / "plain.csv", RINGS, labels=())) == 1


def test_real_catalogues(reference):
    folder = reference / "data" / "decals"
    rings = read_training_catalog(folder / "ring_catalog.csv", RINGS)
    assert len(rings) == 300
    assert rings["has_votes"].all()
    assert (rings[["ring_yes", "ring_no"]].sum(axis=1) == 1).all()
    votes = read_training_catalog(folder / "vote_catalog.csv", get_schema("decals"), missing_questions_unasked=True)
    assert len(votes) == 42
    assert votes.loc[0, "smooth-or-featured_featured-or-disk"] == 22


def test_right_ascensions_of_another_turn_are_brought_to_0_to_360(write):
    catalog = read_training_catalog(write(ra=[-10.0, 370.0, 360.0], dec=[0.0, 0.0, 0.0]), RINGS)
    assert list(catalog["ra"]) == [350.0, 10.0, 0.0]
    with pytest.raises(ValueError, match=r"ra is 5400.0 in row 2 .*from -360 to 720"):
        read_training_catalog(write(ra=[5400.0, 1.0, 1.0], dec=[0.0, 0.0, 0.0]), RINGS)


def test_paths_of_masks_that_are_numbers_are_refused(write):
    with pytest.raises(ValueError, match="marks_loc is stored as floating-point numbers"):
        read_training_catalog(write(marks_loc=[0.5, 1.5, 2.5]), RINGS)

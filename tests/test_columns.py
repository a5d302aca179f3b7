"""Columns of tables: values are read correctly, and errors name the rows of wrong values."""

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.tables.columns import (
    check_file_names,
    check_ids,
    file_name_fault,
    find_columns,
    id_fault,
    move_paths,
    read_counts,
    read_numbers,
    read_pixscale,
    read_positions,
    read_ra,
    read_text,
    require_columns,
    wrap_ra,
)


def test_numbers_are_refused_by_row_where_they_are_text():
    galaxies = pd.DataFrame({"id_str": ["0123", "J1", "J2"], "ra": ["1", "", None]})
    np.testing.assert_array_equal(read_numbers("a.csv", galaxies, "ra"), [1, np.nan, np.nan])
    with pytest.raises(ValueError, match=r"a.csv: ra is '10h' in row 3 \(J1\) and 1 more; it must be a number"):
        read_numbers("a.csv", galaxies.assign(ra=["1", "10h", "11h"]), "ra")
    with pytest.raises(ValueError, match=r"a.csv: ra is '10h' in row 3; it must be a number"):
        read_numbers("a.csv", pd.DataFrame({"ra": ["1", "10h"]}), "ra")


def test_lists_in_the_place_of_numbers_are_refused_by_row():
    with pytest.raises(ValueError, match=r"a.csv: ra is \[1.0, 2.0\] in row 3; it must be a number"):
        read_numbers("a.csv", pd.DataFrame({"ra": [None, [1.0, 2.0]]}), "ra")


@pytest.mark.parametrize("count", [-1, 0.5, np.inf, 2**24 + 1, 1e9])
def test_votes_are_whole_numbers(count):
    np.testing.assert_array_equal(read_counts("a.csv", pd.DataFrame({"n": [0, None, 2**24]}), "n"), [0, np.nan, 2**24])
    with pytest.raises(ValueError, match=r"a.csv: n is .* in row 3; .*>= 0, at most 16777216"):
        read_counts("a.csv", pd.DataFrame({"n": [1, count]}), "n")


def test_right_ascensions_are_wrapped_and_those_in_range_do_not_change():
    np.testing.assert_array_equal(wrap_ra(pd.Series([-10, 370, 360, -360, 720, np.nan])), [350, 10, 0, 0, 0, np.nan])
    assert wrap_ra(pd.Series([-1e-17])).item() == 0  # its remainder is 360.0
    in_range = pd.Series([0.0, 1e-300, 0.1, 123.456789012345678, np.nextafter(360, 0)])
    assert wrap_ra(in_range).to_numpy().tobytes() == in_range.to_numpy().tobytes()


@pytest.mark.parametrize("ra", [-361, 721, 5400, np.inf])
def test_right_ascensions_of_more_than_one_turn_are_refused(ra):
    with pytest.raises(ValueError, match=rf"a.csv: ra is {ra}.* in row 2; it must be from -360 to 720 degrees"):
        read_ra("a.csv", pd.DataFrame({"ra": [ra, 1.0]}), "ra")


def test_positions_are_rows_with_both_coordinates():
    table = pd.DataFrame({"RA": [-10.0, None, 30.0, 40.0], "DEC": [-90.0, 1.0, None, 90.0]})
    expected = pd.DataFrame({"ra": [350.0, 40.0], "dec": [-90.0, 90.0]}, index=[0, 3])
    pd.testing.assert_frame_equal(read_positions("a.csv", table, ("RA", "DEC")), expected)
    with pytest.raises(ValueError, match=r"a.csv: DEC is 90.5 in row 3; it must be from -90 to 90 degrees"):
        read_positions("a.csv", table.assign(DEC=[1, 90.5, 2, 3]), ("RA", "DEC"))


def test_pixel_scales_are_above_zero():
    table = pd.DataFrame({"pixscale": [0.262, None]})
    np.testing.assert_array_equal(read_pixscale("a.csv", table, "pixscale"), [0.262, np.nan])
    with pytest.raises(ValueError, match=r"pixscale is 0.0 in row 3; it must be from 1e-06 .* arcsec per pixel"):
        read_pixscale("a.csv", table.fillna(0), "pixscale")


def test_text_is_stripped_and_floats_are_refused():
    table = pd.DataFrame({"name": [" a ", None], "number": [7, 8], "float": [0.5, np.nan], "empty": np.nan})
    assert list(read_text("a.csv", table, "name")) == ["a", ""]
    assert list(read_text("a.csv", table, "number")) == ["7", "8"]
    assert list(read_text("a.csv", table, "empty")) == ["", ""]
    with pytest.raises(ValueError, match=r"a.csv: float is stored as floating-point numbers"):
        read_text("a.csv", table, "float")


def test_missing_columns_are_named_up_to_five():
    require_columns("a.csv", ["a", "b"], ["b"])
    with pytest.raises(ValueError, match=r"a.csv: lacks the column b, see docs$"):
        require_columns("a.csv", ["a"], ["a", "b"], hint=", see docs")
    with pytest.raises(ValueError, match=r"a.csv: lacks the columns b, c, d, e, f and 1 more$"):
        require_columns("a.csv", ["a"], list("abcdefg"))


@pytest.mark.parametrize(
    ("columns", "missing", "suggestion"),
    [
        (["bar_yes", "bar_No"], "bar_no", "; did you mean bar_No\\?"),
        (["ID_STR"], "id_str", "; did you mean ID_STR\\?"),
        (["id str"], "id_str", "; did you mean id str\\?"),
        (["smooth-or-feature_smooth"], "smooth-or-featured_smooth", "; did you mean smooth-or-feature_smooth\\?"),
        (["a", 7], "file_loc", "$"),
    ],
)
def test_the_nearest_name_of_a_missing_column_is_suggested(columns, missing, suggestion):
    with pytest.raises(ValueError, match=f"a.csv: lacks the column {missing}{suggestion}"):
        require_columns("a.csv", columns, [missing])


def test_columns_are_found_in_another_case_of_letters_if_only_one_is_alike():
    assert find_columns("a.csv", ["RA", "Dec", "ra"], ["ra", "dec"]) == ["ra", "Dec"]
    with pytest.raises(ValueError, match=r"a.csv: lacks the column ra; did you mean"):
        find_columns("a.csv", ["RA", "Ra", "dec"], ["ra", "dec"])
    table = pd.DataFrame({"RAJ2000": [1.0], "DEJ2000": [2.0]})
    assert read_positions("a.csv", table, ("raj2000", "dej2000")).to_numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("id_str", "fault"),
    [
        *[(fit, "") for fit in ("J1", "1-22", "é +1", "-12", "a=b", "a/b", ".b", "1e5", "NA", "x" * 1000)],
        ("", "empty"),
        *[(f"a{letter}b", "control") for letter in "\n\t\r\0\x7f\x85\u2028\u202e"],
        *[(f"{sign}HYPERLINK(1)", "formula") for sign in "=+-@"],
        *[(name, "formula") for name in ("=", "-", "+1", "-1.5", "-1+2")],
        ("a\udce9", "UTF-8"),
    ],
)
def test_ids_follow_one_rule(id_str, fault):
    assert fault in id_fault(id_str)
    assert bool(id_fault(id_str)) == bool(fault)
    assert not fault or fault in file_name_fault(id_str)
    if fault:
        with pytest.raises(ValueError, match=rf"a.csv: id_str is .* in row 3.*{fault}"):
            check_ids("a.csv", pd.DataFrame({"id_str": ["J1", id_str]}, dtype=object))


@pytest.mark.parametrize("name", ["../b", "a/b", "a\\b", "C:b", ".b", "", "a\tb", "é" * 76, "a"])
def test_names_that_cannot_be_those_of_files_are_refused(name):
    check_file_names("a.csv", pd.DataFrame({"id_str": ["a", "J1-2 é+(3)", "é" * 75]}))
    with pytest.raises(ValueError, match=r"a.csv: id_str is .* in row 3"):
        check_file_names("a.csv", pd.DataFrame({"id_str": ["a", name]}))


def test_paths_lead_to_their_files_from_another_folder_too(tmp_path):
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.png").touch()
    table = pd.DataFrame({"file_loc": ["a.png", "", "/b.png"], "gz3d_loc": ["../c", None, None], "n_loc": np.nan})
    moved = move_paths(table, tmp_path / "cut", tmp_path / "link")
    assert (tmp_path / "link" / moved["file_loc"][0]).exists()
    assert list(moved["file_loc"][1:]) == ["", "/b.png"]
    assert moved["gz3d_loc"][0] == "../../c"
    assert moved["gz3d_loc"][1:].isna().all()
    assert moved["n_loc"].isna().all()
    pd.testing.assert_frame_equal(move_paths(moved, tmp_path / "link", tmp_path / "cut"), table)

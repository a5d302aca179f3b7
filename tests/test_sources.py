"""Votes in the forms that surveys publish, as whole numbers in the columns of the schema."""

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.surveys.sources import FORMS, read_votes

DECALS = get_schema("decals")
ALL_CAMPAIGNS = get_schema("decals_all_campaigns_ortho")

# Columns in the order of gz2_hart16.csv, without weights, fractions and flags.
GZ2_COLUMNS = [
    *("t01_smooth_or_features_a01_smooth", "t01_smooth_or_features_a02_features_or_disk"),
    *("t01_smooth_or_features_a03_star_or_artifact", "t02_edgeon_a04_yes", "t02_edgeon_a05_no", "t03_bar_a06_bar"),
    *("t03_bar_a07_no_bar", "t04_spiral_a08_spiral", "t04_spiral_a09_no_spiral", "t05_bulge_prominence_a10_no_bulge"),
    *("t05_bulge_prominence_a11_just_noticeable", "t05_bulge_prominence_a12_obvious"),
    *("t05_bulge_prominence_a13_dominant", "t06_odd_a14_yes", "t06_odd_a15_no", "t07_rounded_a16_completely_round"),
    *("t07_rounded_a17_in_between", "t07_rounded_a18_cigar_shaped", "t08_odd_feature_a19_ring"),
    *("t09_bulge_shape_a25_rounded", "t09_bulge_shape_a26_boxy", "t09_bulge_shape_a27_no_bulge"),
    *("t10_arms_winding_a28_tight", "t10_arms_winding_a29_medium", "t10_arms_winding_a30_loose"),
    *("t11_arms_number_a31_1", "t11_arms_number_a32_2", "t11_arms_number_a33_3", "t11_arms_number_a34_4"),
    *("t11_arms_number_a36_more_than_4", "t11_arms_number_a37_cant_tell"),
]


@pytest.fixture
def write(tmp_path):
    """Write a table as votes.csv and return the path."""

    def write(**columns):
        pd.DataFrame(columns).to_csv(tmp_path / "votes.csv", index=False)
        return tmp_path / "votes.csv"

    return write


def smooth_or_featured(suffix="", smooth=6, featured=32, artifact=2):
    question = f"smooth-or-featured{suffix}"
    return {f"{question}_smooth": smooth, f"{question}_featured-or-disk": featured, f"{question}_artifact": artifact}


def test_columns_of_the_schema_are_read_and_other_questions_are_unasked(write):
    votes = read_votes(
        write(id_str=["007", "J2"], file_loc="a.png", **smooth_or_featured("-dr8", smooth=[6.0, np.nan])),
        "columns",
        ALL_CAMPAIGNS,
    )
    assert list(votes.columns) == ["id_str", "ra", "dec", *ALL_CAMPAIGNS.label_cols]
    assert list(votes["id_str"]) == ["007", "J2"]
    assert votes[["ra", "dec"]].isna().all(axis=None)
    assert list(votes["smooth-or-featured-dr8_smooth"]) == [6, 0]
    assert (votes[ALL_CAMPAIGNS.label_cols].dtypes == np.int64).all()
    assert list(votes[ALL_CAMPAIGNS.label_cols].sum(axis=1)) == [40, 34]


def test_every_gz2_answer_is_read_into_its_column(write):
    row = {f"{column}_count": [place] for place, column in enumerate(GZ2_COLUMNS, start=1)}
    path = write(dr7objid=[587722981736579107], ra=160.1, dec=-1.2, **row)
    votes = read_votes(path, "gz2", get_schema("gz2_ortho")).iloc[0]
    assert votes["id_str"] == "587722981736579107"
    assert (votes["ra"], votes["dec"]) == (160.1, -1.2)
    # Order of the schema, written by hand: smooth or featured, edge-on, spiral, bar, bulge size, odd, rounded, bulge
    # shape, winding, arms. The nineteenth column, a ring, is not an answer of the schema.
    expected = [
        1,
        2,
        3,
        4,
        5,
        8,
        9,
        6,
        7,
        13,
        12,
        11,
        10,
        14,
        15,
        16,
        17,
        18,
        20,
        21,
        22,
        *range(23, 26),
        *range(26, 32),
    ]
    assert list(votes[get_schema("gz2_ortho").label_cols]) == expected

    older = read_votes(path, "gz2", get_schema("gz2")).iloc[0]
    assert older["spiral-count_cant-tell"] == 31
    assert "smooth-or-featured_artifact" not in older


def test_gz2_in_capitals_is_read_as_well(tmp_path):
    row = {f"{column}_count".upper(): [1] for column in GZ2_COLUMNS}
    pd.DataFrame({"DR7OBJID": [5], **row}).to_parquet(tmp_path / "gz2.parquet")
    votes = read_votes(tmp_path / "gz2.parquet", "gz2", get_schema("gz_evo_v2"))
    assert votes["spiral-arm-count-gz2_cant-tell"].item() == 1
    assert votes[get_schema("gz_evo_v2").label_cols].sum(axis=1).item() == 30


@pytest.mark.parametrize("campaign", ["-dr12", "-dr5", "-dr8"])
def test_a_decals_campaign_goes_to_its_own_columns(write, campaign):
    path = write(iauname=["J1"], **smooth_or_featured(), **{"smooth-or-featured_smooth_fraction": 0.15})
    votes = read_votes(path, f"decals{campaign}", ALL_CAMPAIGNS).iloc[0]
    assert votes[f"smooth-or-featured{campaign}_featured-or-disk"] == 32
    assert votes[ALL_CAMPAIGNS.label_cols].sum() == 40
    assert read_votes(path, f"decals{campaign}", DECALS)["smooth-or-featured_artifact"].item() == 2


def test_answers_of_another_campaign_are_refused(write):
    path = write(iauname=["J1"], bar_yes=3, bar_no=4)
    with pytest.raises(ValueError, match=r"votes.csv: lacks bar_strong, bar_weak, .*'decals'"):
        read_votes(path, "decals-dr12", DECALS)
    assert read_votes(path, "decals-dr12", ALL_CAMPAIGNS)["bar-dr12_yes"].item() == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (smooth_or_featured(smooth=[1, 6.5]), r"smooth-or-featured_smooth is 6.5 in row 3 \(b\)"),
        (smooth_or_featured(artifact=[-1, 2]), r"smooth-or-featured_artifact is -1 in row 2 \(a\)"),
        (smooth_or_featured(artifact=[np.inf, 2]), "smooth-or-featured_artifact is inf in row 2"),
        (smooth_or_featured(artifact=["x", 2]), "smooth-or-featured_artifact is 'x' in row 2 .*number"),
        (smooth_or_featured(artifact=[1e9, 2]), "smooth-or-featured_artifact is 1000000000.* at most 16777216"),
        ({"smooth": 1}, ".*'decals'.*gz2"),
        ({"bar_Strong": 1, "bar_Weak": 1, "bar_No": 1}, ".*did you mean bar_Strong"),
        ({"bar_strong": 1, "bar_weak": 1, "bar_No": 1}, "lacks bar_no, .*did you mean bar_No"),
        ({"id_str": ["a", "=1"]} | smooth_or_featured(), "id_str is '=1' in row 3 .*formula"),
        ({"id_str": ["a", "b\nc"]} | smooth_or_featured(), "id_str is .* in row 3 .*control"),
        ({"id_str": ["a", "a"]} | smooth_or_featured(), "id_str is 'a' in row 3"),
        ({"id_str": ["a", " "]} | smooth_or_featured(), "id_str is '' in row 3"),
    ],
)
def test_impossible_votes_are_refused_by_column_and_row(write, columns, message):
    with pytest.raises(ValueError, match=f"votes.csv: {message}"):
        read_votes(write(**({"id_str": ["a", "b"]} | columns)), "columns", DECALS)


def test_ids_that_lost_digits_are_refused(write):
    with pytest.raises(ValueError, match="dr7objid is stored as floating-point numbers"):
        read_votes(write(dr7objid=[5.877e17], t02_edgeon_a04_yes_count=1), "gz2", get_schema("gz2"))


def test_unknown_forms_are_refused_with_the_list_of_forms(write):
    with pytest.raises(ValueError, match=f"{', '.join(FORMS)}.*'gz1'"):
        read_votes(write(id_str=["a"]), "gz1", DECALS)


def test_classes_count_as_votes_of_a_stated_number(write):
    tree = get_schema("galaxy_zoo")
    path = write(id_str=["a", "b", "c"], **{"class": ["spiral-clockwise", "Elliptical", ""]})
    votes = read_votes(path, "classes", tree, class_votes=7).set_index("id_str")[tree.label_cols]
    given = {name: row[row > 0].to_dict() for name, row in votes.iterrows()}
    assert given["a"] == {"smooth-or-featured_featured-or-disk": 7, "disk-edge-on_no": 7, "has-spiral-arms_yes": 7}
    assert given["b"] == {"smooth-or-featured_smooth": 7}
    assert given["c"] == {}


def test_classes_that_mean_nothing_are_refused(write):
    tree = get_schema("galaxy_zoo")
    path = write(id_str=["a", "b"], **{"class": ["spiral", "quasar"]})
    with pytest.raises(ValueError, match=r"class is 'quasar' in row 3 \(b\); it must be one of elliptical, spiral"):
        read_votes(path, "classes", tree)
    with pytest.raises(ValueError, match=r"class_votes must be from 1 to \d+; received 0"):
        read_votes(path, "classes", tree, class_votes=0)
    with pytest.raises(ValueError, match="no class answers a question of the schema 'rings'; use galaxy_zoo"):
        read_votes(write(id_str=["a"], **{"class": ["spiral"]}), "classes", get_schema("rings"))


def test_real_votes_of_the_first_campaign(reference):
    path = reference / "data" / "decals" / "panoptes_votes.csv"
    votes = read_votes(path, "columns", DECALS)
    assert len(votes) == 5324
    first = votes.set_index("id_str").loc["J000007.82-000226.0"]
    assert list(first[["smooth-or-featured_smooth", "smooth-or-featured_featured-or-disk"]]) == [6, 32]
    assert first["ra"] == pytest.approx(0.03259317206325524, rel=1e-15)
    assert votes["bar_strong"].sum() == 0
    total = pd.read_csv(path).filter(like="smooth-or-featured").to_numpy().sum()
    assert votes[DECALS.label_cols].to_numpy().sum() == total

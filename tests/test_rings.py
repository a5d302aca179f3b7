"""Ring labels from votes and from tags."""

import pandas as pd
import pytest

from zoobot3d_tf.catalogs.rings import ring_catalog
from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.tables.formats import read_table

SHARES = [0.26, 0.25, 0.05, 0.04, None, 1.0]  # ring, between, between, not, nobody asked, ring


@pytest.fixture
def write(tmp_path):
    """Return a function that writes six galaxies, J0 to J5, with further columns, and returns the path."""

    def write(name="from.csv", **columns):
        galaxies = {"iauname": [f"J{n}" for n in range(6)], "file_loc": [f"images/J{n}.png" for n in range(6)]}
        (tmp_path / "in").mkdir(exist_ok=True)
        pd.DataFrame(galaxies | columns).to_csv(tmp_path / "in" / name, index=False)
        return tmp_path / "in" / name

    return write


def labels(path):
    table = read_table(path)
    return dict(zip(table["id_str"], table["ring"], strict=True))


def test_shares_between_the_limits_are_dropped(write, tmp_path):
    out = ring_catalog(write(**{"rare-features_ring_fraction": SHARES}), tmp_path / "rings.csv")
    assert labels(out) == {"J0": 1, "J3": 0, "J5": 1}
    assert list(read_table(out).columns) == ["id_str", "file_loc", "ring_yes", "ring_no", "ring"]
    catalog = read_training_catalog(out, get_schema("rings"))
    assert catalog[["ring_yes", "ring_no"]].to_numpy().tolist() == [[1, 0], [0, 1], [1, 0]]
    assert catalog["file_loc"][0] == str(tmp_path / "in/images/J0.png")


@pytest.mark.parametrize("campaign", ["", "-dr5"])
def test_counts_become_shares_of_all_volunteers(write, tmp_path, campaign):
    counts = {f"rare-features{campaign}_ring": [11, 10, 2, 1, 0, 5], f"rare-features{campaign}_lens-or-arc": 40}
    path = write(**counts, **{f"rare-features{campaign}_total-votes": [40, 40, 40, 40, 0, 5]})
    assert labels(ring_catalog(path, tmp_path / "rings.csv")) == {"J0": 1, "J3": 0, "J5": 1}


def test_limits_may_be_moved(write, tmp_path):
    path = write(**{"rare-features_ring_fraction": SHARES})
    assert labels(ring_catalog(path, tmp_path / "rings.csv", high=0.2, low=0.06)) == {
        **{"J0": 1, "J1": 1, "J2": 0, "J3": 0, "J5": 1}
    }


def test_tags_are_a_column_or_a_list_of_galaxies(write, tmp_path):
    expected = {"J0": 1, "J1": 0, "J2": 0, "J3": 1, "J4": 0, "J5": 0}
    assert labels(ring_catalog(write(ring=list(expected.values())), tmp_path / "rings.csv")) == expected
    (tmp_path / "tagged.csv").write_text("id_str,tag\nJ3,ring\nJ0,ring\nJ77,ring\n")
    out = ring_catalog(write(), tmp_path / "rings.csv", tagged_loc=tmp_path / "tagged.csv")
    assert labels(out) == expected


def test_cuts_drop_galaxies(write, tmp_path):
    path = write(
        ring=[1, 0, 0, 0, 0, 1],
        **{
            "smooth-or-featured_featured-or-disk_fraction": [0.25, 0.2, 0.5, 0.9, None, 1.0],
            "disk-edge-on_no_fraction": [0.75, 0.9, 0.7, 0.8, 0.9, 1.0],
            "has-spiral-arms_no_fraction": [0.6, 0.9, 0.9, 0.6, 0.9, 0.1],
        },
    )
    cuts = {"min_featured": 0.25, "min_face_on": 0.75}
    assert labels(ring_catalog(path, tmp_path / "rings.csv", **cuts)) == {"J0": 1, "J3": 0, "J5": 1}
    out = ring_catalog(path, tmp_path / "rings.csv", **cuts, min_not_spiral=0.5)
    assert labels(out) == {"J0": 1, "J3": 0}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {}, "needs one column rare-features_ring_fraction, .* found none"),
        ({"rare-features_ring": 3}, {}, "rare-features_total-votes, or ring; found rare-features_ring"),
        ({"ring": [0, 1, 2, 0, 0, 0]}, {}, "ring is 2 in row 4; .* from 0 to 1"),
        ({"ring": 0}, {}, "0 galaxies are rings and 6 are not"),
        ({"ring": 1}, {"min_featured": 0.5}, "min_featured 0.5 needs one column .* found none"),
        ({"ring": 1}, {"min_featured": 5}, "min_featured must be .* from 0 to 1; received 5"),
        ({"ring": 1}, {"low": 0.3}, "received low 0.3 and high 0.25"),
        ({"iauname": "J1", "ring": 1}, {}, "iauname is 'J1' in row 3 and 4 more"),
    ],
)
def test_faults_are_named(write, tmp_path, columns, options, message):
    with pytest.raises(ValueError, match=message):
        ring_catalog(write(**columns), tmp_path / "rings.csv", **options)


def test_the_published_example_passes_its_own_cuts(reference, tmp_path):
    path = reference / "data" / "decals" / "ring_catalog.csv"
    out = ring_catalog(path, tmp_path / "rings.csv", min_featured=0.6, min_face_on=0.75, min_not_spiral=0.5)
    published = read_table(path).set_index("id_str")
    assert labels(out) == published["ring"].to_dict()
    assert len(read_training_catalog(out, get_schema("rings"))) == 300

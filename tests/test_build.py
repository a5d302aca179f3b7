"""Images, votes and masks are joined into a catalogue that the next stage reads."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.catalogs.build import build_catalog, summarise
from zoobot3d_tf.catalogs.selection import split_of
from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.tables.formats import read_table

SCHEMA = get_schema("decals_all_campaigns_ortho")
ARCSEC = 1 / 3600


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a table to a file in the test's folder and returns its path."""

    def write(name, **columns):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(columns).to_csv(path, index=False)
        return path

    return write


@pytest.fixture
def images(write):
    """Table of four cutouts, 1 degree apart."""
    return write(
        "cut/catalog.csv",
        id_str=["J1", "J2", "J3", "J4"],
        file_loc=[f"images/J{n}.png" for n in range(1, 5)],
        ra=[359.9999, 1.0, 2.0, 3.0],
        dec=[10.0] * 4,
        pixscale=0.262,
    )


def volunteers(write, name, ids, smooth, **columns):
    """Write a catalogue of votes as DECaLS campaigns publish it, and return its path."""
    question = "smooth-or-featured"
    answers = {f"{question}_smooth": smooth, f"{question}_featured-or-disk": 5, f"{question}_artifact": 0}
    return write(name, iauname=ids, **answers, **columns)


@pytest.fixture
def masks(write):
    """Table of two GZ3D galaxies, under other names: one is J2, 1 arcsec away, the other is not among the cutouts."""
    return write(
        "masks/catalog.csv",
        id_str=["1-22_127_5", "1-99_19_6"],
        file_loc=["../gz3d/a.png", "../gz3d/b.png"],
        ra=[1.0, 50.0],
        dec=[10.0 + ARCSEC, 0.0],
        pixscale=0.1,
        spiral_mask_loc=["a_spiral_mask.png", ""],
        bar_mask_loc=["a_bar_mask.png", "b_bar_mask.png"],
        n_volunteers=[12, 15],
    )


def test_votes_beside_the_images_do_not_count_whatever_they_are(write, tmp_path):
    matched = {"smooth-or-featured-dr5_smooth": [None, 4], "smooth-or-featured-dr5_featured-or-disk": [3, "many"]}
    images = write("cut/catalog.csv", id_str=["J1", "J2"], file_loc=["J1.png", "J2.png"], **matched)
    dr8 = volunteers(write, "dr8.csv", ["J2"], [7])
    catalog = read_training_catalog(
        build_catalog(images, tmp_path / "train.csv", SCHEMA, votes=[("decals-dr8", dr8)]), SCHEMA
    )
    assert list(catalog["id_str"]) == ["J2"]
    assert list(catalog["smooth-or-featured-dr5_smooth"]) == [0]
    assert list(catalog["smooth-or-featured-dr8_smooth"]) == [7]


def test_campaigns_are_joined_by_id_and_keep_their_columns(write, images, tmp_path):
    dr5 = volunteers(write, "dr5.csv", ["J2", "J9", "J1"], [20, 30, 10])
    dr8 = volunteers(write, "dr8.csv", ["J3", "J1"], [3, 1])
    out = build_catalog(images, tmp_path / "out/train.csv", SCHEMA, votes=[("decals-dr5", dr5), ("decals-dr8", dr8)])
    catalog = read_training_catalog(out, SCHEMA).set_index("id_str")
    assert list(catalog.index) == ["J1", "J2", "J3"]  # nobody voted on J4
    assert list(catalog["smooth-or-featured-dr5_smooth"]) == [10, 20, 0]
    assert list(catalog["smooth-or-featured-dr8_smooth"]) == [1, 0, 3]
    assert list(catalog[SCHEMA.label_cols].sum(axis=1)) == [21, 25, 8]
    assert read_table(out)["file_loc"][0] == "../cut/images/J1.png"
    assert read_table(out)["spiral_mask_loc"].eq("").all()
    assert (catalog["pixscale"] == 0.262).all()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits", "ecsv"])
def test_masks_bring_their_images_by_position(write, images, masks, tmp_path, suffix):
    dr5 = volunteers(write, "dr5.csv", ["a", "b"], [10, 20], ra=[1.0, 0.0], dec=[10.0, 10.0])
    out = tmp_path / f"out/train.{suffix}"
    build_catalog(images, out, SCHEMA, [("decals-dr5", dr5)], masks_loc=masks, match_radius_arcsec=3)
    catalog = read_training_catalog(out, SCHEMA)
    assert list(catalog["id_str"]) == ["J1", "J2", "1-99_19_6"]
    assert list(catalog["smooth-or-featured-dr5_smooth"]) == [20, 10, 0]  # J1 lies across RA 0
    folder = str(tmp_path)
    assert [read.replace("/out/..", "") for read in catalog["file_loc"]] == [
        *(f"{folder}/cut/images/J1.png", f"{folder}/gz3d/a.png", f"{folder}/gz3d/b.png")
    ]
    spirals = [location.replace("/out/..", "") for location in catalog["spiral_mask_loc"]]
    assert spirals == ["", f"{folder}/masks/a_spiral_mask.png", ""]
    assert list(catalog["n_volunteers"]) == [15, 12, 15]
    assert list(catalog["pixscale"]) == [0.262, 0.1, 0.1]
    np.testing.assert_allclose(catalog["dec"], [10, 10 + ARCSEC, 0], rtol=1e-14)


@pytest.mark.parametrize(
    ("images_have", "masks_have", "expected"),
    [
        ({"ra": 10.0, "dec": 1.0}, {"ra": 20.0, "dec": 2.0}, (20, 2)),
        ({"ra": 10.0, "dec": 1.0}, {}, (10, 1)),
        ({}, {"ra": 20.0, "dec": 2.0}, (20, 2)),
        ({"ra": 10.0, "dec": 1.0}, {"ra": 20.0, "dec": 2.0, "cutout_ra": 21.0, "cutout_dec": -2.0}, (21, -2)),
        ({"cutout_ra": 11.0, "cutout_dec": 1.5}, {}, (11, 1.5)),
        ({"ra": 10.0, "dec": 1.0, "cutout_ra": 11.0, "cutout_dec": 1.5}, {}, (10, 1)),
    ],
)
def test_the_position_is_that_of_the_image(write, tmp_path, images_have, masks_have, expected):
    images = write("images.csv", id_str=["J1"], file_loc="J1.png", pixscale=0.262, **images_have)
    masks = write("masks.csv", id_str=["J1"], file_loc="gz3d.png", bar_mask_loc="b.png", **masks_have)
    out = build_catalog(images, tmp_path / "t.csv", SCHEMA, masks_loc=masks)
    galaxy = read_training_catalog(out, SCHEMA).iloc[0]
    assert galaxy["file_loc"].endswith("gz3d.png")
    np.testing.assert_array_equal([galaxy["ra"], galaxy["dec"]], expected)
    assert np.isnan(galaxy["pixscale"])
    assert not {"cutout_ra", "image_ra"} & set(read_table(out))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, [(350, 5), (1, -5)]),
        ({"ra": [10.0, None], "dec": [1.0, None]}, [(10, 1), (1, -5)]),
        ({"ra": [10.0, None], "dec": [1.0, 2.0]}, [(10, 1), (1, -5)]),
        ({"cutout_ra": [None, 30.0], "cutout_dec": [None, 3.0]}, [(350, 5), (30, 3)]),
    ],
)
def test_images_without_a_position_receive_that_of_their_votes(write, tmp_path, columns, expected):
    images = write("images.csv", id_str=["J1", "J2"], file_loc="J.png", **columns)
    dr5 = volunteers(write, "dr5.csv", ["J2", "J1"], 1, ra=[1.0, -10.0], dec=[-5.0, 5.0])
    dr8 = volunteers(write, "dr8.csv", ["J2", "J1"], 1, ra=[2.0, 2.0], dec=[7.0, 7.0])
    votes = [("decals-dr5", dr5), ("decals-dr8", dr8)]
    catalog = read_training_catalog(build_catalog(images, tmp_path / "t.csv", SCHEMA, votes), SCHEMA)
    np.testing.assert_array_equal(catalog[["ra", "dec"]], expected)


def test_tables_are_joined_by_the_position_of_the_galaxy_not_of_the_cutout(write, tmp_path):
    centre = {"cutout_ra": 10.0, "cutout_dec": 1 + 20 * ARCSEC}
    images = write("images.csv", id_str=["J1"], file_loc="J1.png", ra=10.0, dec=1.0, **centre)
    dr5 = volunteers(write, "dr5.csv", ["x"], [7], ra=10.0, dec=1.0)
    out = build_catalog(images, tmp_path / "t.csv", SCHEMA, [("decals-dr5", dr5)], match_radius_arcsec=3)
    assert read_table(out)["dec"].item() == 1 + 20 * ARCSEC


def test_paths_are_right_through_symbolic_links(images, tmp_path):
    (tmp_path / "disk/masks").mkdir(parents=True)
    (tmp_path / "disk/J1.png").touch()
    (tmp_path / "link").symlink_to(tmp_path / "disk/masks")
    table = pd.read_csv(images).assign(file_loc="../J1.png", bar_mask_loc="../J1.png")
    table.to_csv(tmp_path / "link/images.csv", index=False)
    plain = build_catalog(tmp_path / "link/images.csv", tmp_path / "plain.csv", SCHEMA)
    linked = build_catalog(plain, tmp_path / "link/linked.csv", SCHEMA)
    for catalog in (plain, linked):
        assert Path(read_training_catalog(catalog, SCHEMA)["file_loc"][0]).exists()


def test_without_a_radius_only_names_count(images, masks, tmp_path):
    out = build_catalog(images, tmp_path / "train.csv", SCHEMA, masks_loc=masks)
    assert list(read_training_catalog(out, SCHEMA)["id_str"]) == ["1-22_127_5", "1-99_19_6"]


def test_masks_in_the_table_of_images_count(masks, tmp_path):
    out = build_catalog(masks, tmp_path / "train.csv", SCHEMA)
    catalog = read_training_catalog(out, SCHEMA)
    assert (catalog["bar_mask_loc"] != "").all()
    assert list(catalog["n_volunteers"]) == [12, 15]


def test_one_galaxy_of_a_source_serves_one_image(write, tmp_path):
    images = write("cut.csv", id_str=["far", "near"], file_loc="a.png", ra=[1.0, 1.0], dec=[2 * ARCSEC, ARCSEC])
    dr5 = volunteers(write, "dr5.csv", ["x"], [7], ra=1.0, dec=0.0)
    out = build_catalog(images, tmp_path / "t.csv", SCHEMA, [("decals-dr5", dr5)], match_radius_arcsec=3)
    assert list(read_table(out)["id_str"]) == ["near"]


def test_galaxies_are_cut_by_predicted_fractions(write, images, tmp_path):
    dr5 = volunteers(write, "dr5.csv", ["J1", "J2", "J3", "J4"], 1)
    predicted = write(
        "predicted.csv",
        iauname=["J4", "J3", "J2"],
        **{
            "smooth-or-featured_featured-or-disk_fraction": [0.9, 0.6, 0.59],
            "disk-edge-on_no_fraction": [0.7, 0.9, 0.9],
        },
    )
    options = {"votes": [("decals-dr5", dr5)], "predicted_loc": predicted}
    out = build_catalog(images, tmp_path / "t.csv", SCHEMA, **options, min_featured=0.6)
    assert list(read_table(out)["id_str"]) == ["J3", "J4"]
    build_catalog(images, out, SCHEMA, **options, min_featured=0.6, min_face_on=0.75)
    assert list(read_table(out)["id_str"]) == ["J3"]
    with pytest.raises(ValueError, match="min_featured and min_face_on need predicted_loc"):
        build_catalog(images, out, SCHEMA, **options)


def test_the_summary_counts_by_hand(write, images, masks, tmp_path, caplog):
    dr5 = volunteers(write, "dr5.csv", ["J1", "J2", "J3"], 1, ra=[0.0, 1.0, 2.0], dec=10.0)
    with caplog.at_level(logging.INFO):
        out = build_catalog(
            *(images, tmp_path / "t.csv", SCHEMA, [("decals-dr5", dr5)]),
            masks_loc=masks,
            match_radius_arcsec=3,
            split=True,
        )
    table = read_table(out)
    assert list(table["split"]) == [split_of(id_str) for id_str in table["id_str"]]
    counts = summarise(table, SCHEMA)
    assert counts.to_string() in caplog.text
    assert counts.drop(["in train", "in val", "in test"]).to_dict() == {
        "galaxies": 4,
        "with votes": 3,
        "with spiral mask": 1,
        "with bar mask": 2,
        "with marks": 0,
        "with both masks": 1,
        "with votes and a mask": 1,
    }
    assert counts[["in train", "in val", "in test"]].sum() == 4


def test_two_sources_may_not_ask_one_question(write, images, tmp_path):
    dr5 = volunteers(write, "dr5.csv", ["J1"], 1)
    with pytest.raises(ValueError, match=r"dr5\.csv: has votes on smooth-or-featured-dr5 of J1, .* earlier"):
        build_catalog(images, tmp_path / "t.csv", SCHEMA, [("decals-dr5", dr5), ("decals-dr5", dr5)])
    assert not (tmp_path / "t.csv").exists()


def test_galaxies_without_any_label_are_an_error(write, images, tmp_path):
    dr5 = volunteers(write, "dr5.csv", ["elsewhere"], 1)
    with pytest.raises(ValueError, match=r"catalog.csv: none of its 4 galaxies"):
        build_catalog(images, tmp_path / "t.csv", SCHEMA, [("decals-dr5", dr5)])


def test_one_name_for_two_galaxies_is_refused(write, images, tmp_path):
    masks = write("m.csv", id_str=["J1"], file_loc="a.png", ra=90.0, dec=0.0, bar_mask_loc="b.png")
    with pytest.raises(ValueError, match=r"m.csv: J1 .* not the position"):
        build_catalog(images, tmp_path / "t.csv", SCHEMA, masks_loc=masks, match_radius_arcsec=3)


def test_impossible_positions_of_a_source_are_named(write, images, tmp_path):
    dr5 = volunteers(write, "dr5.csv", ["x"], 1, ra=1.0, dec=95.0)
    with pytest.raises(ValueError, match=r"dr5.csv: dec is 95.0 in row 2 \(x\)"):
        build_catalog(images, tmp_path / "t.csv", SCHEMA, [("decals-dr5", dr5)], match_radius_arcsec=3)


def test_unfit_ids_are_refused_by_row(write, tmp_path):
    images = write("images.csv", id_str=["J1", "@SUM(1)"], file_loc="a.png", bar_mask_loc="b.png")
    with pytest.raises(ValueError, match=r"images.csv: id_str is '@SUM\(1\)' in row 3 .*formula"):
        build_catalog(images, tmp_path / "t.csv", SCHEMA)


def test_a_name_that_cannot_be_written_is_refused_first(tmp_path):
    with pytest.raises(ValueError, match=r"t.txt: .* must end in .csv"):
        build_catalog(tmp_path / "none.csv", tmp_path / "t.txt", SCHEMA)

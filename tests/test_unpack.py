"""Tests of shards turned back into a catalogue."""

import numpy as np
from PIL import Image

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.images.read import read_known_masks
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.shards.unpack import unpack


def test_the_catalogue_holds_what_the_shards_hold(shards, tmp_path):
    manifest = read_manifest(shards)
    paths = manifest.paths("eval")
    catalog = read_training_catalog(unpack(paths, tmp_path / "unpacked"), manifest.schema)
    galaxies = list(iterate_records(paths))
    assert catalog["id_str"].tolist() == [galaxy["id_str"] for galaxy in galaxies]
    for row, galaxy in zip(catalog.to_dict("records"), galaxies, strict=True):
        assert [row[answer] for answer in manifest.schema.label_cols] == galaxy["votes"].tolist()
        image = np.asarray(Image.open(row["file_loc"]))
        np.testing.assert_array_equal(image, galaxy["image"])
        locations = {mask: row[f"{mask}_loc"] for mask in MASKS}
        masks = read_known_masks(locations, row["marks_loc"], image.shape[:2], row["n_volunteers"])
        assert set(masks) == {mask for mask in MASKS if galaxy[mask] is not None}
        for mask, counts in masks.items():
            np.testing.assert_array_equal(counts, galaxy[mask])
    assert any(galaxy["spiral_mask"] is not None for galaxy in galaxies)

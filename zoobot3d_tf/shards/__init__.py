"""Shards: TFRecord files of galaxies with a manifest that describes them, and how to write and read them."""

"""Galaxies stored as TFRecords that describe themselves: the record, writing and reading."""

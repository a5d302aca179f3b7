"""Galaxies and volunteers whose truth is known: the demo's data set and the source of test data."""

"""Simulated galaxies and volunteers, whose truth is known: the data of the demo and of many tests."""

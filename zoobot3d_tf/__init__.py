"""Votes and masks of galaxies, learned at once: Galaxy Zoo morphology and segmentation in TensorFlow and Keras."""

__version__ = "0.1.0"

"""Predict the votes, with their uncertainties, the labels and the masks of galaxies."""

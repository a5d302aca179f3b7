"""Scores of predictions, with baselines and noise floors to compare them with."""

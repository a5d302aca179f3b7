"""Searching hyperparameters: many trainings, of which the best is found by their scores."""

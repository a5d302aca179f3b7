"""Runs: run folders, initial weights of encoders, and trained models in other formats and on the hub."""

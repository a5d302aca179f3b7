"""Batches for training and evaluation, read from shards, cropped and augmented."""

"""Shards in, augmented batches for Keras out."""

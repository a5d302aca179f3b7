"""Active learning: which galaxies to ask volunteers about next."""

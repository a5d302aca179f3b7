"""Training: losses, metrics, the run folder, and the loop."""

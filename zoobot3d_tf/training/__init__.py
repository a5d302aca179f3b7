"""Training: configuration, losses, metrics, checkpoints and the training loop."""

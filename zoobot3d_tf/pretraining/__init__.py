"""Self-supervised pretraining: an encoder learns from images without labels."""

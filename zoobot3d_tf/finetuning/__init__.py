"""Fine-tuning: a trained network learns a new task from a few labelled galaxies."""

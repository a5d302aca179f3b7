"""Fine-tuning: a new task, learned from a few labelled galaxies."""

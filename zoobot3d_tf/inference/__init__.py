"""Run a trained network on many galaxies: list the inputs, keep the job on disk, run the engine."""

"""A trained network over many galaxies: the inputs, the job on disk, and the engine."""

"""Active learning: choose the galaxies that volunteers are asked about next."""

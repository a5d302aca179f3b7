"""Features that the network extracts from galaxies: compute and compress them, find neighbours and anomalies."""

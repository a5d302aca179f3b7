"""What the network sees in galaxies: features, compressed, and what they are good for."""

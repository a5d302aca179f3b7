"""Tables of galaxies: their file formats, their columns, and Parquet tables larger than memory."""

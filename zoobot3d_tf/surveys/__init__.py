"""Survey archives and their formats: Galaxy Zoo: 3D, Legacy Survey cutouts, SAMI, Zooniverse."""

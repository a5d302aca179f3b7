"""HTML pages and pictures of galaxies: gallery, map, report, thumbnails."""

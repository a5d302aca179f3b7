"""HTML pages and sheets of pictures: gallery of predictions, map of galaxies, report, thumbnails."""

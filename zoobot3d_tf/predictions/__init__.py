"""A trained model over folders of images: votes, their uncertainties, and masks."""

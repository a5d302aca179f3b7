"""The run folder: what training leaves behind, what an encoder starts from, and how a trained model is passed on."""

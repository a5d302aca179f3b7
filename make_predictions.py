"""Predict votes and masks of galaxies: `python make_predictions.py --help`."""

import sys

from zoobot3d_tf.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("predict"))

"""The prediction job of Galaxy Zoo's production: `python predict_catalog_with_model.py --help`."""

import sys

from zoobot3d_tf.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("production predict"))

"""Train a model of votes and masks on shards: `python train_model.py --help`."""

import sys

from zoobot3d_tf.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("train"))

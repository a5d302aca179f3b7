"""The training job of Galaxy Zoo's production: `python train_model_finetune_on_catalog.py --help`."""

import sys

from zoobot3d_tf.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("production train"))

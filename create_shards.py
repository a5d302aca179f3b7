"""Encode a catalogue of galaxies as TFRecord shards: `python create_shards.py --help`."""

import sys

from zoobot3d_tf.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("shards"))

"""Run one command of zoobot3d with the tiny encoder: python fault_command.py predict --folder images"""

import sys

from zoobot3d_tf.cli import main

WITH_NETWORK = {"train", "finetune", "predict", "representations", "export", "pack"}

if __name__ == "__main__":
    if WITH_NETWORK & set(sys.argv[1:2]):
        from tiny_network import tiny_encoder

        from zoobot3d_tf.models import build

        build.build_encoder = tiny_encoder
    sys.exit(main(sys.argv[1:]))

"""`python -m zoobot3d_tf`."""

import sys

from zoobot3d_tf.cli import main

sys.exit(main())

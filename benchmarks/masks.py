"""From the outlines of volunteers to masks of 525 x 525 pixels: masks per second on one core, compared with matplotlib.

taskset --cpu-list 0 python benchmarks/masks.py
"""

import json
import os
import time

from peers import REFERENCE, compare, peer

from zoobot3d_tf.images.masks import counts_from_marks

MARKS = REFERENCE / "reference" / "golden" / "gz3d_marks" / "gz3d_1-304336_127_14724446_marks.json"
REPEATS = 100


def main() -> None:
    core = str(min(os.sched_getaffinity(0)))
    os.sched_setaffinity(0, {int(core)})
    marks = json.loads(MARKS.read_text())["spiral_mask"]

    def ours() -> float:
        start = time.perf_counter()
        for _ in range(REPEATS):
            counts_from_marks(marks)
        return REPEATS / (time.perf_counter() - start)

    compare("masks", ours, lambda: peer("masks", str(MARKS), cores=core), aim=100, unit="masks")


if __name__ == "__main__":
    main()

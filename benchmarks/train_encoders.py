"""Speed and memory of joint training steps with each encoder (224 px, batches of 16), relative to the first.

    python benchmarks/train_encoders.py                        all encoders
    python benchmarks/train_encoders.py EfficientNetB0 convnext_tiny

Each encoder is trained in a process of its own. The memory is the peak of the process. The time of the first step
includes tracing.
"""

import json
import subprocess
import sys
from pathlib import Path

ENCODERS = (
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetV2B0",
    "tf_efficientnet_lite0",
    "convnext_pico",
    "convnext_nano",
)

ONE = """
import json, resource, sys, time
from train_step import BATCH, joint_step
step, model = joint_step(sys.argv[1])
start = time.perf_counter()
step()
first = time.perf_counter() - start
start = time.perf_counter()
for _ in range(5):
    step()
rate = 5 * BATCH / (time.perf_counter() - start)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([model.count_params() / 1e6, rate, first, peak]))
"""


def main() -> None:
    reference = None
    for encoder in sys.argv[1:] or ENCODERS:
        command = [sys.executable, "-c", ONE, encoder]
        run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        millions, rate, first, megabytes = json.loads(run.stdout.splitlines()[-1])
        reference = reference or rate
        print(
            f"{encoder}: {millions:.1f} million parameters, {rate:.1f} images/s, ratio {rate / reference:.2f}, "
            f"first step {first:.0f} s, {megabytes:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()

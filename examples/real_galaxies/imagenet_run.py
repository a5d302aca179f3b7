"""Write a run folder whose encoder has only seen photographs: ImageNet weights of EfficientNet-Lite0.

python examples/real_galaxies/imagenet_run.py imagenet
zoobot3d representations imagenet gz2/images --out features/gz2.csv

`linear.py` fits linear models to these features. A network that was trained on galaxies must be better than they are.
The framing is that of the shipped weights.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.models.weights_file import save_weights
from zoobot3d_tf.runs.encoder_weights import find_encoder_weights
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, SHIPPED, WEIGHTS_NAME, read_run


def main() -> None:
    """Parse the arguments and write the run folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="Run folder to write")
    out = parser.parse_args().out
    weights = find_encoder_weights("imagenet-lite0", {})
    shipped = read_run(SHIPPED)
    model_config = replace(shipped.model, **weights.settings, color=True)

    from zoobot3d_tf.models.build import build_model

    model = build_model(model_config)
    weights.load(model, model_config)
    out.mkdir(parents=True, exist_ok=True)
    save_weights(model, out / WEIGHTS_NAME)
    config = json.loads((shipped.folder / CONFIG_NAME).read_text(encoding="utf-8"))
    changed = asdict(model_config) | {"schema": config["model"]["schema"], "tasks": list(model_config.tasks)}
    write_atomically(out / CONFIG_NAME, json.dumps(config | {"model": changed}, indent=2) + "\n")


if __name__ == "__main__":
    main()

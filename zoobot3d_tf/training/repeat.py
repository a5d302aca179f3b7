"""The options of `zoobot3d train` that repeat a run, from its `config.json`."""

from collections.abc import Mapping
from typing import Any

_FRAMING = {"shard_img_size": "initial_size", "crop_size": "crop_size", "resize_size": "final_size"}
_MODEL = ("encoder", "color", "tasks", "dropout", "decoder_widths")
_TRAINING = (
    "epochs",
    "batch_size",
    "mask_loss",
    "loss_weights",
    "learning_rate",
    "weight_decay",
    "patience",
    "seed",
    "mixed_precision",
    "galaxies_per_epoch",
    "masked_times",
    "photometry",
    "alternating",
)


def is_run(content: Mapping[str, Any]) -> bool:
    """Whether the content of a file is that of the `config.json` of a run folder."""
    return {"format_version", "model", "framing", "training"} <= content.keys()


def options_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Find the options of `zoobot3d train` that repeat a run, except for the run folder.

    Settings that the run does not name, since it is older than they are, are left out: it had their defaults.

    Args:
        content: content of `config.json`, as `RunConfig.to_dict` makes it.

    Returns:
        Values by the names of the arguments of `config_from_folders`.

    Raises:
        ValueError: `zoobot3d train` did not make the run, or a setting is missing.
    """
    model, training = content["model"], content["training"]
    try:
        if "base" in training or "method" in training:
            raise ValueError("is of a run of another command, such as `zoobot3d finetune`; repeat that command")
        options = {name: content["framing"][field] for name, field in _FRAMING.items()}
        weights = training.get("encoder_weights")
        options["encoder_weights"] = weights and weights["source"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"is not the configuration of a run: it lacks {error}") from None
    options |= {name: model[name] for name in _MODEL if name in model}
    options |= {name: training[name] for name in _TRAINING if name in training}
    folders = {"train_dir": "train_dirs", "eval_dir": "eval_dirs"}
    return options | {name: training[field] for name, field in folders.items() if field in training}

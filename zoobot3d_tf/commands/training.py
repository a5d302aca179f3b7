"""The commands that train a model on shards, or fine-tune a trained model."""

import argparse

from zoobot3d_tf.commands.stage import (
    IMAGE_ROOT,
    LABEL_COLUMN,
    LABEL_VALUES,
    RUN,
    Stage,
    add_color,
    add_resize_size,
    add_split,
    at_least,
    counts,
    given,
    names,
)
from zoobot3d_tf.files import path_of
from zoobot3d_tf.machine import available_cores


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.models.config import TASKS, ModelConfig
    from zoobot3d_tf.models.timm_files import PIXEL_RANGES
    from zoobot3d_tf.training.run_config import DEFAULT_LOSS_WEIGHTS, MASK_LOSS_NAMES, RunConfig

    weights = ",".join(f"{task}={weight:g}" for task, weight in DEFAULT_LOSS_WEIGHTS.items())
    add = parser.add_argument
    add("--experiment-dir", type=path_of, required=True, help="Run folder to fill, or to continue")
    add(
        "--train-dir",
        type=path_of,
        nargs="+",
        required=True,
        metavar="DIR",
        help="Folder of .tfrecord files to train on, or several folders, such as one per survey. If they have several "
        "decision trees, the model learns their common tree (docs/training.md)",
    )
    add(
        "--eval-dir",
        type=path_of,
        nargs="+",
        required=True,
        metavar="DIR",
        help="Folder of .tfrecord files to validate on, or several folders",
    )
    add(
        "--galaxies-per-epoch",
        type=counts,
        metavar="N,...",
        help="Number of galaxies per epoch of each --train-dir, separated by commas (default: each galaxy once)",
    )
    add(
        "--masked-times",
        type=at_least(1),
        default=RunConfig.masked_times,
        help="Use a galaxy that has a mask this often for each use of a galaxy without one",
    )
    add(
        "--alternating",
        action="store_true",
        help="Fill each batch from one --train-dir, in turn, instead of mixing them; --galaxies-per-epoch must be "
        "multiples of --batch-size",
    )
    add(
        "--photometry",
        action="store_true",
        help="Augment brightness, colour, sharpness and noise too, so that the model can be used for other surveys",
    )
    add(
        "--shard-img-size",
        type=at_least(16),
        help="Expected size of the images in the shards, in pixels; another size is an error (default: any)",
    )
    add(
        "--crop-size",
        type=at_least(16),
        help="Size of the central part of the images in the shards that the network sees, in pixels (default: 3/4 of "
        "the size of the images)",
    )
    add_resize_size(parser)
    add("--epochs", type=at_least(1), default=50, help="Largest number of epochs")
    add("--batch-size", type=at_least(1), default=64, help="Number of galaxies per step")
    add_color(parser)
    add(
        "--encoder",
        help="Keras encoders: EfficientNetB0..B7 or EfficientNetV2B0..B3. timm encoders: efficientnet_b0..b7, "
        "tf_efficientnet_b0..b7, tf_efficientnetv2_b0..b3, s, m, l, xl, efficientnet_lite0, "
        "tf_efficientnet_lite0..lite4, or convnext_atto, femto, pico, nano, tiny, small, base, large, xlarge "
        f"(default: the encoder of --encoder-weights, or {ModelConfig.encoder})",
    )
    add(
        "--encoder-weights",
        metavar="SOURCE",
        help="Initial weights of the encoder: a folder with weights of Zoobot or timm, a run folder, hf://owner/name "
        "for the Hugging Face hub, shipped for the model that comes with the package, imagenet, or imagenet-lite0 "
        "of the extra [lite] (default: random)",
    )
    add(
        "--encoder-pixels",
        choices=PIXEL_RANGES,
        help="Range of pixels that weights of Zoobot or timm expect: config for mean and std of their config.json, "
        "zoobot for 0 to 1 (default: zoobot if the name of the folder is that of weights of Zoobot, or else config)",
    )
    add(
        "--tasks",
        type=names,
        help=f"Tasks to learn, separated by commas: {', '.join(TASKS)} (default: all for which the shards have data)",
    )
    add("--mask-loss", default=RunConfig.mask_loss, choices=MASK_LOSS_NAMES, help="Loss of masks (docs/training.md)")
    add(
        "--loss-weights",
        type=_weights,
        metavar="TASK=WEIGHT,...",
        help=f"Factor of the loss of each task (default: {weights})",
    )
    add(
        "--decoder-widths",
        type=counts,
        metavar="N,N,N,N",
        help="Number of channels of the decoder of masks at 1/16, 1/8, 1/4 and 1/2 of the input size (default: "
        f"{','.join(map(str, ModelConfig.decoder_widths))})",
    )
    add("--dropout", type=float, default=ModelConfig.dropout, help="Dropout rate before the vote head")
    add(
        "--learning-rate",
        type=float,
        default=RunConfig.learning_rate,
        help="Initial learning rate of the optimiser AdamW",
    )
    add("--weight-decay", type=float, default=RunConfig.weight_decay, help="Weight decay of AdamW")
    add(
        "--patience",
        type=at_least(1),
        default=RunConfig.patience,
        help="Stop after this number of epochs without a lower validation loss",
    )
    add(
        "--seed",
        type=at_least(0),
        default=RunConfig.seed,
        help="Random seed of initial weights, order of galaxies, and augmentation",
    )
    add(
        "--checkpoint-minutes",
        type=float,
        default=RunConfig.checkpoint_minutes,
        help="Time between two checkpoints within an epoch. An interrupted run continues after the last one",
    )
    add("--mixed-precision", action="store_true", help="Compute in bfloat16: faster on GPUs, slower on CPUs")
    add(
        "--distributed",
        action="store_true",
        help="Use all GPUs of this machine or, in a cluster, of several machines (docs/training.md)",
    )
    add("--wandb", action="store_true", help="Also log to Weights & Biases (extra [wandb])")


def _train(args: argparse.Namespace) -> None:
    from zoobot3d_tf.training.training_config import config_from_folders

    config_from_folders(**given(args)).run_estimator()
    print(args.experiment_dir)


def _finetune_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.finetuning.recipe import FINETUNE_TASKS, Recipe
    from zoobot3d_tf.runs.run_folder import SHIPPED

    add = parser.add_argument
    add("--catalog", type=path_of, required=True, help="Catalogue: CSV, Parquet, FITS or ECSV, one row per galaxy")
    add("--label-col", metavar="COLUMN", help=f"Column to learn, {LABEL_COLUMN}")
    add("--label-values", type=names, metavar="VALUE,...", help=LABEL_VALUES)
    add("--schema", help="To learn votes instead of --label-col: decision tree, a name or a .yaml or .json file")
    add(
        "--task",
        choices=FINETUNE_TASKS,
        help="What to learn (default: with --label-col, guessed from the column; with --schema, counts; else masks)",
    )
    add("--save-dir", type=path_of, required=True, help="Run folder to fill, or to continue")
    add("--base", default=SHIPPED, metavar="RUN", help=f"{RUN}. Training begins with its weights")
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add_split(parser)
    add(
        "--n-blocks",
        type=at_least(0),
        default=Recipe.n_blocks,
        help="Number of blocks of the encoder, counted from the last, to train in a second stage; 0: no second stage",
    )
    add(
        "--layer-decay",
        type=float,
        default=Recipe.layer_decay,
        help="In the second stage, factor of the learning rate from each block to the block before it",
    )
    add("--learning-rate", type=float, default=Recipe.learning_rate, help="Initial learning rate of the new head")
    add(
        "--blocks-learning-rate",
        type=float,
        default=Recipe.blocks_learning_rate,
        help="Initial learning rate of the second stage",
    )
    add("--epochs", type=at_least(1), default=Recipe.epochs, help="Largest number of epochs per stage")
    add(
        "--patience",
        type=at_least(1),
        default=Recipe.patience,
        help="End a stage after this number of epochs without a lower validation loss",
    )
    add("--batch-size", type=at_least(1), default=Recipe.batch_size, help="Number of galaxies per step")
    add(
        "--crop-size",
        type=at_least(16),
        help="Size of the central part of the images that the network sees, in pixels (default: as for --base)",
    )
    add(
        "--resize-size",
        type=at_least(32),
        help="Size of the input of the network, in pixels, a multiple of 32 (default: as for --base)",
    )
    add(
        "--seed",
        type=at_least(0),
        default=Recipe.seed,
        help="Random seed of initial weights, order of galaxies, and augmentation",
    )


def _finetune(args: argparse.Namespace) -> None:
    from zoobot3d_tf.finetuning.finetune import finetune

    finetune(**given(args), workers=available_cores())
    print(args.save_dir)


def _weights(text: str) -> dict[str, float]:
    try:
        return {name.strip(): float(value) for name, value in (part.split("=") for part in names(text))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected task=weight,...; received {text!r}") from None


STAGES = {
    "train": Stage(
        "Train a model of votes and masks on shards.",
        "Writes config.json, model.keras, model.weights.h5, checkpoints/, history.csv and tensorboard/ to the run "
        "folder. To continue an interrupted run, repeat the command.",
        "zoobot3d train --experiment-dir run --train-dir shards/train_shards --eval-dir shards/eval_shards "
        "--shard-img-size 300 --resize-size 224 --epochs 50 --batch-size 64",
        _train_arguments,
        _train,
        from_file=True,
    ),
    "finetune": Stage(
        "Fine-tune a trained model: train it on a new task, with a catalogue of labelled galaxies.",
        "Fills a run folder, for use with `zoobot3d predict`, with scores (validation.json) and plots. To continue an "
        "interrupted run, repeat the command.",
        "zoobot3d finetune --catalog rings.csv --label-col ring --save-dir run",
        _finetune_arguments,
        _finetune,
    ),
}

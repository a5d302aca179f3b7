"""The command that pretrains an encoder on images without labels."""

import argparse

from zoobot3d_tf.commands.stage import Stage, add_color, add_max_failed, add_resize_size, add_stretch, at_least, given
from zoobot3d_tf.files import path_of


def _pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.images.stretch import DEFAULT_STRETCH
    from zoobot3d_tf.models.timm_files import PIXEL_RANGES
    from zoobot3d_tf.pretraining.recipe import DEFAULT_ENCODER, Recipe

    add = parser.add_argument
    add(
        "folders",
        nargs="+",
        type=path_of,
        metavar="FOLDER",
        help="Folder of images (PNG, JPEG, TIFF or FITS), or an image",
    )
    add("--save-dir", type=path_of, required=True, metavar="OUT", help="Folder to fill, or to continue")
    add("--recursive", action="store_true", help="Include the sub-folders")
    add(
        "--encoder",
        help="Encoder of timm: efficientnet_b0..b7, tf_efficientnet_b0..b7, tf_efficientnetv2_b0..b3, s, m, l, xl, "
        "efficientnet_lite0, tf_efficientnet_lite0..lite4, or convnext_atto, femto, pico, nano, tiny, small, base, "
        f"large, xlarge (default: the encoder of --encoder-weights, or {DEFAULT_ENCODER})",
    )
    add(
        "--encoder-weights",
        metavar="SOURCE",
        help="Initial weights of the encoder: a folder with weights of Zoobot or timm, a run folder, or "
        "hf://owner/name for the Hugging Face hub (default: random)",
    )
    add(
        "--encoder-pixels",
        choices=PIXEL_RANGES,
        help="Range of pixels that these weights expect, as in `zoobot3d train`",
    )
    add("--epochs", type=at_least(1), default=Recipe.epochs, help="Number of epochs")
    add("--batch-size", type=at_least(2), default=Recipe.batch_size, help="Number of galaxies per step")
    add(
        "--img-size",
        type=at_least(16),
        help="Size to which the central square of each image is resized once, in pixels (default: 1.5 times "
        "--resize-size)",
    )
    add(
        "--crop-size",
        type=at_least(16),
        help="Size of the central part that the network sees, in pixels of the resized images (default: 3/4 of "
        "--img-size)",
    )
    add_resize_size(parser)
    add_color(parser)
    add_stretch(parser, DEFAULT_STRETCH)
    add("--learning-rate", type=float, default=Recipe.learning_rate, help="Initial learning rate of AdamW")
    add(
        "--seed",
        type=at_least(0),
        default=Recipe.seed,
        help="Random seed of initial weights, order of galaxies, and views",
    )
    add_max_failed(parser)


def _pretrain(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pretraining.pretrain import pretrain

    print(pretrain(**given(args)))


STAGES = {
    "pretrain": Stage(
        "Pretrain an encoder on folders of images without labels.",
        "Writes config.json and model.safetensors, which `zoobot3d train --encoder-weights` and timm read, "
        "history.csv, checkpoints/ and failed.csv. To continue an interrupted pretraining, repeat the command.",
        "zoobot3d pretrain images --save-dir encoder --resize-size 128 --epochs 50",
        _pretrain_arguments,
        _pretrain,
    ),
}

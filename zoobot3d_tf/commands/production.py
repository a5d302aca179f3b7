"""The jobs of Galaxy Zoo's production, with the arguments that its scheduler gives; `deploy/` holds their scripts."""

import argparse
import logging
import os

from zoobot3d_tf.commands.stage import Stage, at_least
from zoobot3d_tf.files import path_of
from zoobot3d_tf.machine import available_cores

DEBUG_GALAXIES = 5000
"""Number of galaxies that a training job uses with `--debug`."""
_FIXED_CROP = (
    "Rectangle of the original images that the network sees, in pixels: a JSON object with lower_left_x, lower_left_y, "
    "upper_right_x and upper_right_y. y is counted from the top row"
)
_CHECKPOINT = "a file epoch-<n>-val_loss-<loss>.ckpt, a run folder, hf://owner/name, or shipped"

log = logging.getLogger(__name__)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.finetuning.recipe import Recipe

    add = parser.add_argument
    add("--save-dir", type=path_of, required=True, help="Folder of results to fill, or to continue")
    add("--catalog", type=path_of, required=True, help="Training CSV of KaDE: id_str, file_loc, one column per answer")
    add(
        "--checkpoint",
        required=True,
        help=f"Model to begin with: {_CHECKPOINT}; or weights of timm or Zoobot: a folder, hf_hub:owner/name, imagenet",
    )
    add(
        "--schema",
        default="cosmic_dawn",
        help="Decision tree: cosmic_dawn, euclid, jwst_cosmos or decals, as production names them; or another name "
        "that `zoobot3d schemas` lists; or a .yaml or .json file",
    )
    add("--num-epochs", type=at_least(1), default=100, help="Largest number of epochs per stage")
    add("--patience", type=at_least(1), default=15, help="End a stage after this number of epochs without improvement")
    add("--batch-size", type=at_least(1), default=Recipe.batch_size, help="Number of galaxies per step")
    add("--num-workers", type=at_least(1), default=available_cores(), help="Number of processes that read images")
    add(
        "--n-blocks",
        type=at_least(0),
        default=Recipe.n_blocks,
        help="Number of blocks of the encoder, counted from the last, to train in a second stage; 0: no second stage",
    )
    add("--fixed-crop", metavar="JSON", help=f"{_FIXED_CROP} (default: the central part, as for --checkpoint)")
    add("--erase-iterations", type=at_least(0), default=0, help="Accepted, but has no effect: nothing is erased")
    _add_device(parser)
    add("--wandb", action="store_true", help="Also log to Weights & Biases (extra [wandb])")
    add("--progress-bar", action="store_true", help="Accepted, but has no effect: each epoch is one line")


def _train(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.extractors import production_tree
    from zoobot3d_tf.active_learning.fixed_crop import FixedCrop
    from zoobot3d_tf.active_learning.train_on_catalog import WandbRun, train_on_catalog

    fixed_crop = FixedCrop.from_json(args.fixed_crop) if args.fixed_crop else None
    schema = production_tree(args.schema)
    logger = None
    if args.wandb:
        job = os.environ.get("AZ_BATCH_JOB_ID", args.save_dir.absolute().name)
        logger = WandbRun(os.environ.get("WANDB_PROJECT_NAME") or "zoobot3d_tf", job)
        logger.check()
    if args.erase_iterations:
        log.warning("--erase-iterations %d has no effect: nothing is erased", args.erase_iterations)
    _choose_device(args)
    if shared := os.environ.get("AZ_BATCH_NODE_SHARED_DIR"):  # the home folder of a node may be read-only
        os.environ.setdefault("HF_HOME", os.path.join(shared, ".cache", "huggingface"))
    checkpoint = train_on_catalog(
        args.catalog,
        args.save_dir,
        args.checkpoint,
        schema,
        image_size=_image_size(),
        fixed_crop=fixed_crop,
        limit=DEBUG_GALAXIES if args.debug else None,
        workers=args.num_workers,
        n_blocks=args.n_blocks,
        epochs=args.num_epochs,
        patience=args.patience,
        batch_size=args.batch_size,
    )
    if logger:
        logger.log(args.save_dir)
    print(checkpoint)


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.active_learning.predict_manifest import ManifestOptions

    add = parser.add_argument
    add("--checkpoint-path", required=True, help=f"Trained model: {_CHECKPOINT}")
    add("--catalog-url", required=True, help="Address of the manifest: a JSON list of [address of the image, subject]")
    add("--save-path", type=path_of, required=True, help="File to write: predictions.json")
    add("--num-samples", type=at_least(1), default=ManifestOptions.num_samples, help="Number of dropout samples")
    add("--fixed-crop", metavar="JSON", help=f"{_FIXED_CROP} (default: as the checkpoint was trained)")
    add("--num-workers", type=at_least(1), default=ManifestOptions.num_workers, help="Number of simultaneous downloads")
    add(
        "--prefetch-factor",
        type=at_least(1),
        default=ManifestOptions.prefetch_factor,
        help="Number of batches whose images are downloaded together, while others are predicted",
    )
    add("--batch-size", type=at_least(1), default=ManifestOptions.batch_size, help="Number of images per step on a GPU")
    _add_device(parser)


def _predict(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.fixed_crop import FixedCrop
    from zoobot3d_tf.active_learning.predict_manifest import ManifestOptions, predict_manifest
    from zoobot3d_tf.active_learning.predictions_json import featured_bound

    options = ManifestOptions(
        num_samples=args.num_samples,
        fixed_crop=FixedCrop.from_json(args.fixed_crop) if args.fixed_crop else None,
        num_workers=args.num_workers,
        prefetch_factor=args.prefetch_factor,
        batch_size=args.batch_size,
        bound=featured_bound(),
    )
    _choose_device(args)
    print(predict_manifest(args.checkpoint_path, args.catalog_url, args.save_path, options))


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accelerator", choices=("gpu", "cpu"), default="gpu", help="gpu: a GPU if there is one; cpu: never a GPU"
    )
    parser.add_argument("--devices", type=at_least(1), default=1, help="Accepted, but one device is used")


def _choose_device(args: argparse.Namespace) -> None:
    if args.accelerator == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # read by TensorFlow, which is not imported yet
    if args.devices > 1:
        log.warning("--devices %d: one device is used", args.devices)


def _image_size() -> int:
    from zoobot3d_tf.models.config import ModelConfig

    text = os.environ.get("IMAGE_SIZE") or str(ModelConfig.image_size)
    if not text.isdecimal():
        raise ValueError(f"the variable IMAGE_SIZE must be a number of pixels, a multiple of 32; received {text!r}")
    return int(text)


STAGES = {
    "production train": Stage(
        "Fine-tune a checkpoint on the training catalogue of Galaxy Zoo's production (KaDE).",
        "Writes run/, a run folder, and checkpoints/epoch-<n>-val_loss-<loss>.ckpt. The variable IMAGE_SIZE is the "
        "size of the input of the network, by default 224. With --debug, only the first "
        f"{DEBUG_GALAXIES} galaxies are used. To continue an interrupted job, repeat the command.",
        "zoobot3d production train --save-dir results --catalog workflow-123.csv --checkpoint zoobot.ckpt "
        "--schema euclid",
        _train_arguments,
        _train,
    ),
    "production predict": Stage(
        "Predict the subjects of a manifest of Galaxy Zoo's production (KaDE).",
        "Images are fetched by URL while others are predicted. An image that cannot be used is left out, and listed in "
        "<save-path>_failed.csv. The variable GZ_FEATURED_UPPER_BOUND is the bound of the featured fraction, by "
        "default 0.2.",
        "zoobot3d production predict --checkpoint-path zoobot.ckpt --catalog-url https://example.org/manifest.json "
        "--save-path predictions.json",
        _predict_arguments,
        _predict,
    ),
}

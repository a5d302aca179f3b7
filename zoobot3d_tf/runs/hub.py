"""Run folders on the Hugging Face hub: published with a card about the model, and fetched by the name `hf://owner/name`.

    push_to_hub("run", "owner/name")
    folder = from_hub("hf://owner/name")   # as read_run does, and with it every command that takes a run folder

What is fetched is data: `config.json`, read as JSON and checked, and numbers for a model that this package builds. No
stranger's code runs. `model.keras` goes up for those who use plain Keras, whose safe mode opens it, and is not fetched.
"""

from pathlib import Path

import pandas as pd

from zoobot3d_tf.files import PathLike, sha256_of
from zoobot3d_tf.hub_files import hub_errors, repository_name, require_hub
from zoobot3d_tf.images.masks import MASK_TITLES
from zoobot3d_tf.labels import Label
from zoobot3d_tf.runs.run_folder import (
    CONFIG_NAME,
    HISTORY_NAME,
    MODEL_NAME,
    WEIGHTS_NAME,
    TrainedRun,
    framing_in_words,
    read_run,
)
from zoobot3d_tf.schemas import tree_text

CARD_NAME = "README.md"
_PAPERS = {
    "Walmsley et al. 2023, Zoobot": "10.21105/joss.05312",
    "Walmsley et al. 2022, Galaxy Zoo DECaLS": "10.1093/mnras/stab2093",
    "Masters et al. 2021, Galaxy Zoo: 3D": "10.1093/mnras/stab2282",
    "Walmsley et al. 2020, Bayesian networks for Galaxy Zoo": "10.1093/mnras/stz2816",
}


def push_to_hub(run: PathLike, repository: str) -> str:
    """Publishes a run folder: its configuration, weights, model file, history and card, in one commit.

    Checkpoints and TensorBoard's files stay here. The card is `README.md` of the folder, where there is one, as it
    stands; otherwise `model_card` makes it.

    Args:
        run: the folder of a finished run.
        repository: `owner/name`, with or without `hf://`. It is made, and public, if there is none; `hf auth login`
            says who you are.

    Returns:
        The address of the repository's page.

    Raises:
        ValueError: the run is unfinished or damaged, or this is no name of a repository.
        OSError: there is no run folder, or the hub refuses or cannot be reached.
        ImportError: huggingface_hub is not installed.
    """
    repository = repository_name(repository)
    trained = read_run(run)
    require_hub()
    from huggingface_hub import CommitOperationAdd, HfApi

    content: dict[str, str | bytes] = {CARD_NAME: model_card(trained, repository).encode()}
    for name in (CONFIG_NAME, WEIGHTS_NAME, MODEL_NAME, HISTORY_NAME, CARD_NAME):
        if (trained.folder / name).is_file():
            content[name] = str(trained.folder / name)
    with hub_errors(repository, "such branch"):
        api = HfApi()
        page = api.create_repo(repository, exist_ok=True)
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=what) for name, what in content.items()]
        api.create_commit(repository, operations, commit_message="Publish a run of zoobot3d_tf")
    return str(page)


def from_hub(name: PathLike) -> Path:
    """Fetches what rebuilds a model: `config.json`, which must be that of a run, and then the weights.

    Both are of one commit. What was fetched before is not fetched again, and serves without a network.

    Args:
        name: `hf://owner/name`, or as `Path` shortens it, or `owner/name`.

    Returns:
        A run folder in the cache of huggingface_hub, not to be written to. Its own name is the commit.

    Raises:
        ValueError: this is no name of a repository, or it holds no run that can be read here.
        OSError: there is no such repository or file, or it cannot be reached.
        ImportError: huggingface_hub is not installed.
    """
    return read_run(f"hf://{repository_name(name)}").folder


def model_card(run: TrainedRun, repository: str) -> str:
    """The hub's page about a model, Markdown with the hub's YAML before it, as far as the run folder knows.

    It does not know whose galaxies it learned from. Written to `README.md` of the run folder and completed, it is
    published as it stands there.

    Args:
        run: a finished run.
        repository: `owner/name`.
    """
    config, size = run.model, run.framing.final_size
    predicts = [f"votes on the {len(config.label_cols)} answers below"] if config.vote_schema else []
    predicts += [f"masks of the {' and the '.join(MASK_TITLES[name] for name in config.masks)}"] if config.masks else []
    predicted = [f"what Galaxy Zoo volunteers would say: {', and '.join(predicts)}"] if predicts else []
    predicted += [f"the {config.label.kind} label `{config.label.column}`"] if config.label else []
    pipeline = "image-segmentation" if config.tasks == config.masks else "image-classification"
    masks_option = " --masks-dir masks" if config.masks else ""
    tree = f"```\n{tree_text(config.vote_schema)}\n```\n" if config.vote_schema else "It answers no questions.\n"
    papers = "\n".join(f"- {paper}: [{doi}](https://doi.org/{doi})" for paper, doi in _PAPERS.items())
    return f"""---
license: gpl-3.0
library_name: zoobot3d_tf
pipeline_tag: {pipeline}
tags: [astronomy, galaxies, galaxy-zoo, keras, tensorflow]
---

# {repository}

From an image of a galaxy this model predicts {"; and ".join(predicted)}. It is an
{config.encoder} that sees {size} x {size} pixels {"in colour" if config.color else "in greyscale"}, a run of
zoobot3d_tf {run.versions.get("zoobot3d_tf", "of unknown version")}.

## Predict

    pip install 'zoobot3d_tf[hub]'
    zoobot3d predict --checkpoint-dir hf://{repository} --folder images --save-loc predictions.csv{masks_option}

In plain Keras, `keras.saving.load_model("model.keras")` takes `image`, float32 (galaxies, {size}, {size}, 3): red,
green, blue in 0..255, row 0 at the top. To make one, {framing_in_words(run.framing)}.

Fluxes of FITS cutouts become colours by the stretch `{run.stretch}`. SHA-256 of `{WEIGHTS_NAME}`, as predictions record
it: `{sha256_of(run.weights_loc)}`.

## Questions: {config.schema.name if config.schema else "none"}

{tree}
## Data

The run does not record which survey its galaxies are from, nor who labelled them. Whoever publishes the model should
say so here.

## Scores

{_scores(run.folder / HISTORY_NAME, config.label)}
## Intended use

Morphology of many galaxies, in images like those that it learned from. Where depth, resolution, colours or the size of
galaxies in the image differ, compare with labels of your own first, or fine-tune. Vote fractions are what volunteers
would answer, with their habits and errors, and masks what they would draw; neither is a measurement of light.

## Licence and citation

GPL-3.0-or-later. Please cite the papers whose method and data these are:

{papers}
"""


def _scores(history_loc: Path, label: Label | None) -> str:
    """The validation scores of the epoch with the lowest validation loss, whose weights are kept."""
    if not history_loc.is_file():
        return "Not recorded.\n"
    history = pd.read_csv(history_loc)
    if "val_loss" not in history or history["val_loss"].isna().all():
        return "Not recorded.\n"
    best = history.to_dict("records")[int(history["val_loss"].argmin())]
    scores = {str(name).removeprefix("val_"): value for name, value in best.items() if str(name).startswith("val_")}
    of_stage = ""
    if "stage" in best:  # a fine-tuning counts the epochs of each
        history = history[history["stage"] == best["stage"]]
        of_stage = f" of the stage {best['stage']}"
    # The history is that of the network before it was given the shares of the classes back.
    alike = " The loss and `accuracy` take all classes for equally common." if label and label.counts else ""
    rows = "".join(f"| `{name}` | {value:.4g} |\n" for name, value in scores.items())
    return (
        f"On the validation galaxies, after epoch {best['epoch']:.0f} of {len(history)}{of_stage}, whose weights these "
        "are. `mae` is a mean absolute error, `iou` the overlap of masks over their union, and a question's loss is "
        f"the negative logarithm of its votes' probability.{alike}\n\n| score | value |\n|---|---|\n{rows}"
    )

"""Publication of run folders on the Hugging Face hub, with a model card.

Usage:
    push_to_hub("run", "owner/name")
    folder = from_hub("hf://owner/name")  # read_run, and each command that takes a run folder, accept this name too

Only data are downloaded: `config.json` and `calibration.json`, which are read as JSON and checked, the table of the
galaxies that the run has seen, and the weights of a model that this package builds. No code of others is executed.
`model.keras` is published for users of plain Keras, and never downloaded.
"""

from pathlib import Path

import pandas as pd

from zoobot3d_tf.files import PathLike, sha256_of
from zoobot3d_tf.hub_files import hub_errors, repository_of, require_hub
from zoobot3d_tf.images.masks import MASK_TITLES
from zoobot3d_tf.labels import Label
from zoobot3d_tf.runs.calibration import read_calibration
from zoobot3d_tf.runs.run_folder import (
    CALIBRATION_NAME,
    CONFIG_NAME,
    HISTORY_NAME,
    MODEL_NAME,
    SEEN_NAME,
    WEIGHTS_NAME,
    TrainedRun,
    config_for_others,
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


def push_to_hub(run: PathLike, repository: str, private: bool = False) -> str:
    """Publish a run in one commit: configuration, weights, calibration, galaxies seen, model file, history, model card.

    Checkpoints and files of TensorBoard are not published. If the run folder has a `README.md`, it is the model card;
    otherwise `model_card` makes one.

    Args:
        run: run folder of a finished run.
        repository: name of the repository, `owner/name`, with or without `hf://`. It is made if it does not exist.
            Log in with `hf auth login` first.
        private: whether only the owner, and those whom the owner allows, can see the repository.

    Returns:
        Address of the page of the repository.

    Raises:
        ValueError: the run is unfinished or damaged, its calibration is damaged or of other weights, `repository` is
            not the name of a repository, or it is to be private and exists already in public.
        OSError: `run` is not a run folder, or the hub refuses the upload or cannot be reached.
        ImportError: huggingface_hub is not installed.
    """
    repository, revision = repository_of(repository)
    if revision is not None:
        raise ValueError(f"a run is published as the newest commit of a repository; omit @{revision} of {repository}")
    trained = read_run(run)
    read_calibration(trained)  # raises an error if it is damaged, or of other weights
    require_hub()
    from huggingface_hub import CommitOperationAdd, HfApi

    content: dict[str, str | bytes] = {
        CARD_NAME: model_card(trained, repository).encode(),
        CONFIG_NAME: config_for_others(trained).encode(),
    }
    for name in (WEIGHTS_NAME, CALIBRATION_NAME, SEEN_NAME, MODEL_NAME, HISTORY_NAME, CARD_NAME):
        if (trained.folder / name).is_file():
            content[name] = str(trained.folder / name)
    with hub_errors(repository, "such branch"):
        api = HfApi()
        page = api.create_repo(repository, private=private, exist_ok=True)
        is_public = not api.model_info(repository).private
    if private and is_public:  # it existed before, and nothing has been uploaded
        raise ValueError(f"hf://{repository} is public; make it private on {page}, or give a new repository")
    with hub_errors(repository, "such branch"):
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=what) for name, what in content.items()]
        api.create_commit(repository, operations, commit_message="Publish a run of zoobot3d_tf")
    return str(page)


def from_hub(name: PathLike) -> Path:
    """Download configuration, weights, and (if they are there) calibration and galaxies seen of a run, of one commit.

    Files in the cache of huggingface_hub are not downloaded again, and can be used without a network.

    Args:
        name: name of the repository, `hf://owner/name` or `owner/name`, with or without `@revision`: a commit, a branch
            or a tag.

    Returns:
        Path of the run folder in the cache. Do not write to it. Its name is the commit.

    Raises:
        ValueError: `name` is not the name of a repository, or the repository holds no run that this version reads.
        OSError: the repository or a file does not exist, or the hub cannot be reached.
        ImportError: huggingface_hub is not installed.
    """
    repository, revision = repository_of(name)
    return read_run(f"hf://{repository}{f'@{revision}' if revision else ''}").folder


def model_card(run: TrainedRun, repository: str) -> str:
    """Write the text of a model card from the information in a run folder.

    The run folder does not know from which survey the galaxies are. Save the card as `README.md` of the run folder and
    complete it; `push_to_hub` then publishes that file.

    Args:
        run: finished run.
        repository: name of the repository, `owner/name`.

    Returns:
        Markdown, after the YAML that the hub reads.
    """
    config, size = run.model, run.framing.final_size
    predicts = [f"votes on the {len(config.label_cols)} answers below"] if config.vote_schema else []
    predicts += [f"masks of the {' and the '.join(MASK_TITLES[name] for name in config.masks)}"] if config.masks else []
    predicted = [f"the answers of Galaxy Zoo volunteers: {', and '.join(predicts)}"] if predicts else []
    predicted += [f"the {config.label.kind} label `{config.label.column}`"] if config.label else []
    pipeline = "image-segmentation" if config.tasks == config.masks else "image-classification"
    masks_option = " --masks-dir masks" if config.masks else ""
    tree = f"```\n{tree_text(config.vote_schema)}\n```\n" if config.vote_schema else "The model has no votes.\n"
    papers = "\n".join(f"- {paper}: [{doi}](https://doi.org/{doi})" for paper, doi in _PAPERS.items())
    return f"""---
license: gpl-3.0
library_name: zoobot3d_tf
pipeline_tag: {pipeline}
tags: [astronomy, galaxies, galaxy-zoo, keras, tensorflow]
---

# {repository}

This model predicts {"; and ".join(predicted)}. Its input is an image of one galaxy. The encoder is
{config.encoder}, with {size} x {size} pixels {"in colour" if config.color else "in greyscale"}. The model was trained
with zoobot3d_tf {run.versions.get("zoobot3d_tf", "of unknown version")}.

## Predict

    pip install 'zoobot3d_tf[hub]'
    zoobot3d predict --checkpoint-dir hf://{repository} --folder images --save-loc predictions.csv{masks_option}

In plain Keras, load the model with `keras.saving.load_model("model.keras")`. Its input is `image`, float32 (galaxies,
{size}, {size}, 3): red, green, blue in 0..255, row 0 at the top. To make the input, {run.framing_in_words}.

Fluxes of FITS cutouts are turned into colours with the stretch `{run.stretch}`. Tables of predictions record the
SHA-256 of `{WEIGHTS_NAME}`: `{sha256_of(run.weights_loc)}`.

## Questions: {config.vote_schema.name if config.vote_schema else "none"}

{tree}
## Data

The run folder does not record from which survey the galaxies are, and who labelled them. Please add this here before
you publish the model.

## Scores

{_scores(run.folder / HISTORY_NAME, config.label)}
## Intended use

Morphology of many galaxies, in images similar to the training images. If depth, resolution, colours or the size of
galaxies in the image differ, compare predictions with your own labels first, or fine-tune the model. Vote fractions and
masks predict what volunteers would answer and draw, with their biases and errors. They are not measurements of light.

## Licence and citation

GPL-3.0-or-later. Please cite the papers on the method and the data:

{papers}
"""


def _scores(history_loc: Path, label: Label | None) -> str:
    """Text of the validation scores of the best epoch, whose weights the run keeps."""
    if not history_loc.is_file():
        return "Not recorded.\n"
    history = pd.read_csv(history_loc)
    if "val_loss" not in history or history["val_loss"].isna().all():
        return "Not recorded.\n"
    best = history.to_dict("records")[int(history["val_loss"].argmin())]
    scores = {str(name).removeprefix("val_"): value for name, value in best.items() if str(name).startswith("val_")}
    stage = ""
    if "stage" in best:  # a fine-tuning counts the epochs of each stage
        history = history[history["stage"] == best["stage"]]
        stage = f" of the stage {best['stage']}"
    # The history was written before the class weighting was undone.
    weighting = " The loss and `accuracy` weight all classes equally." if label and label.counts else ""
    rows = "".join(f"| `{name}` | {value:.4g} |\n" for name, value in scores.items())
    return (
        f"Scores of the validation galaxies, with the weights of epoch {best['epoch']:.0f} of {len(history)}{stage}. "
        "`mae` is a mean absolute error, `iou` the intersection of masks over their union, and the loss of a question "
        f"the negative logarithm of the probability of its votes.{weighting}\n\n| score | value |\n|---|---|\n{rows}"
    )

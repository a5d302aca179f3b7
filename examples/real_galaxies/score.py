"""Measure how good predictions are on real galaxies that nothing was tuned on, in one table.

python examples/real_galaxies/score.py data/real predictions/my_model predictions/linear \\
  --test catalogs/test_ids.txt --builder catalogs/builder.csv --out scores.md

The data folder holds the labels: `gz2/vote_catalog.csv`, `gz1/class_catalog.csv` and `examples/labels.csv`; DECaLS has
a folder of its own. Each folder of predictions holds tables of `zoobot3d predict` named `gz2.csv`, `gz1.csv`,
`examples.csv`, `decals.csv` and `galaxy_builder.csv`, all of them or some. Their `id_str` are those of the labels, so
predict with `--catalog` where there is a catalogue, and with `--folder` for the examples. Figures without labels or
predictions are left out, with a line that says so.

The table has one row per figure: the score of each model with its 90 % bootstrap interval over galaxies, the score of a
baseline, and the score of the volunteers. The functions in `real_figures.py` define the figures.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from real_figures import (
    Figure,
    class_figures,
    clear_figures,
    decals_ring_figures,
    decals_vote_figures,
    example_figures,
    gz2_ring_figures,
    mask_figures,
    vote_figures,
)

from zoobot3d_tf.predictions.results import INTERVAL_LEVEL
from zoobot3d_tf.tables.columns import require_columns
from zoobot3d_tf.tables.formats import read_table

SUFFIXES = (".csv", ".parquet")
"""Formats of the tables of predictions."""


def main() -> None:
    """Read the arguments, score, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the labels of gz2, gz1 and examples")
    parser.add_argument("predictions", type=Path, nargs="+", help="folder with the predictions of a model")
    parser.add_argument(
        "--test",
        type=Path,
        help="test galaxies: a text file with one id_str per line, a table with the column id_str, or a catalogue "
        "whose column split says test (default: all galaxies, with their own mean as baseline)",
    )
    parser.add_argument("--decals", type=Path, help="folder with the labels of DECaLS (default: decals beside DATA)")
    parser.add_argument(
        "--builder",
        type=Path,
        help="catalogue of Galaxy Builder, with second_group.csv in the same folder: builder.csv of catalogs.py, or "
        "catalog.csv of examples/galaxy_builder.py",
    )
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    try:
        figures, notes = score(
            args.data,
            args.predictions,
            args.decals or args.data.parent / "decals",
            args.builder,
            read_test_ids(args.test) if args.test else None,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"score.py: {error}")
    text = markdown(figures, [folder.name for folder in args.predictions], notes)
    args.out.write_text(text)
    print(text)


def score(
    data: Path, folders: Sequence[Path], decals: Path, builder: Path | None, test_ids: set[str] | None
) -> tuple[dict[str, list[Figure]], list[str]]:
    """Score the predictions of several models on all sets of real galaxies.

    Args:
        data: folder with the labels of gz2, gz1 and examples.
        folders: one folder of predictions per model, with different names.
        decals: folder with the labels of DECaLS.
        builder: catalogue of masks, with `second_group.csv` in the same folder; None if there is none.
        test_ids: galaxies to score; None for all.

    Returns:
        Figures by the title of the set; and lines on what was left out.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: two folders have one name, a table cannot be read, or nothing can be scored.
    """
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise ValueError(
            f"the folders of predictions need different names, which title their columns; received {names}"
        )
    for folder in (data, *folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
    notes: list[str] = []
    figures: dict[str, list[Figure]] = {}
    for part in _parts(data, decals):
        figures.setdefault(part.title, []).extend(_part_figures(part, folders, test_ids, notes))
    figures["Galaxy Builder"] = _builder_figures(folders, builder, test_ids, notes)
    figures = {title: found for title, found in figures.items() if found}
    if not figures:
        raise ValueError("nothing can be scored. " + " ".join(notes))
    return figures, notes


def read_test_ids(path: Path) -> set[str]:
    """Read the ids of the test galaxies.

    Args:
        path: text file (`.txt`) with one id per line; or a table with the column `id_str`, of which only the rows count
            where the column `split` is "test", if there is one.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the table cannot be read or lacks the column `id_str`, or no galaxy is a test galaxy.
    """
    if path.suffix == ".txt":
        ids = {line.strip() for line in path.read_text().splitlines()} - {""}
    else:
        table = read_table(path)
        require_columns(path, table.columns, ["id_str"])
        ids = set(table["id_str"] if "split" not in table else table.loc[table["split"] == "test", "id_str"])
    if not ids:
        raise ValueError(f"{path}: names no test galaxy")
    return ids


def read_labels(path: Path) -> pd.DataFrame:
    """Read a table of labels, indexed by `id_str`, or by the name of the image without its suffix.

    Missing numbers of votes become zero: nobody was asked.
    """
    labels = read_table(path)
    ids = labels["id_str"] if "id_str" in labels else labels["image"].map(lambda name: Path(name).stem)
    labels = labels.set_index(ids.astype(str).to_numpy())
    numbers = labels.select_dtypes("number").columns
    return labels.assign(**{column: labels[column].fillna(0) for column in numbers})


def prediction_locs(folders: Sequence[Path], name: str) -> dict[str, Path]:
    """Find the tables of predictions of one set of galaxies, by the name of the model."""
    locs = {
        folder.name: next((folder / (name + s) for s in SUFFIXES if (folder / (name + s)).is_file()), None)
        for folder in folders
    }
    return {model: loc for model, loc in locs.items() if loc is not None}


def join(labels: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Join labels and predictions by the id of the galaxy, so that all models are scored on the same galaxies.

    Args:
        labels: labels indexed by id. An id may repeat.
        predictions: tables of predictions with `id_str`, by model.

    Returns:
        The labels of the galaxies that all models predict; and the predictions, indexed by id, one row per id in the
        order of the labels.
    """
    tables = {model: table.set_index(table["id_str"].astype(str)) for model, table in predictions.items()}
    for table in tables.values():
        labels = labels[labels.index.isin(table.index)]
    return labels, {model: table.loc[labels.index.unique()] for model, table in tables.items()}


def markdown(figures: Mapping[str, Sequence[Figure]], models: Sequence[str], notes: Sequence[str]) -> str:
    """Write the figures as one Markdown table, with the notes below it."""
    lines = [
        "| | galaxies | " + " | ".join(models) + " | baseline | volunteers |",
        "|---" * (len(models) + 4) + "|",
    ]
    for title, rows in figures.items():
        for figure in rows:
            cells = [_cell(figure, model) for model in models]
            baseline = _number(figure, figure.baseline, figure.baseline_name)
            human = _number(figure, figure.human, figure.human_name)
            lines.append(f"| {title}, {figure.name} | {figure.n_galaxies} | {' | '.join([*cells, baseline, human])} |")
    explained = (
        f"Scores of models have their {INTERVAL_LEVEL:.0%} intervals over galaxies in parentheses. The true fractions "
        "do not reach 100 %, or an error of 0, because the fractions of few volunteers scatter (noise floor)."
    )
    text = "\n".join([*lines, "", explained, ""])
    return text + "".join(f"- {note}\n" for note in notes)


@dataclass(frozen=True)
class _Part:
    """A set of galaxies whose labels are a table.

    Attributes:
        title: title of its figures.
        predicted: name of its tables of predictions, without the suffix.
        labels_loc: table of labels.
        figures: makes the figures from the labels of test galaxies, those of training galaxies, and the predictions.
        needs_training: whether the figures need the labels of training galaxies, for the baseline.
    """

    title: str
    predicted: str
    labels_loc: Path
    figures: Callable[..., list[Figure]]
    needs_training: bool = True


def _parts(data: Path, decals: Path) -> list[_Part]:
    gz2 = data / "gz2" / "vote_catalog.csv"
    return [
        _Part("Galaxy Zoo 2", "gz2", gz2, vote_figures),
        _Part("Galaxy Zoo 2", "gz2", gz2, clear_figures),
        _Part("Galaxy Zoo 2", "gz2", gz2, gz2_ring_figures, needs_training=False),
        _Part("Examples", "examples", data / "examples" / "labels.csv", example_figures, needs_training=False),
        _Part("Galaxy Zoo 1", "gz1", data / "gz1" / "class_catalog.csv", class_figures, needs_training=False),
        _Part("DECaLS", "decals", decals / "vote_catalog.csv", decals_vote_figures),
        _Part("DECaLS", "decals", decals / "ring_catalog.csv", decals_ring_figures, needs_training=False),
    ]


def _part_figures(part: _Part, folders: Sequence[Path], test_ids: set[str] | None, notes: list[str]) -> list[Figure]:
    """Make the figures of one set; add to the notes what is left out."""

    def note(text: str) -> None:
        line = f"{part.title}: {text}"
        if line not in notes:
            notes.append(line)

    locs = prediction_locs(folders, part.predicted)
    if not locs or not part.labels_loc.is_file():
        note(f"not scored; there is no {part.labels_loc if locs else part.predicted + '.csv'}.")
        return []
    labels = read_labels(part.labels_loc)
    is_test = labels.index.isin(list(test_ids)) if test_ids is not None else np.ones(len(labels), bool)
    test, tables = join(labels[is_test], {model: _read_predictions(loc) for model, loc in locs.items()})
    if len(test) < is_test.sum():
        note(f"{is_test.sum() - len(test)} of {is_test.sum()} test galaxies are not predicted by all models.")
    if test.empty:
        note("not scored; it has no test galaxy that all models predict.")
        return []
    if not part.needs_training:
        return part.figures(test, tables)
    training = labels[~is_test]
    if training.empty:
        note("all galaxies are test galaxies, so the baseline knows their own mean.")
        training = test
    return part.figures(test, training, tables)


def _read_predictions(path: Path) -> pd.DataFrame:
    table = read_table(path)
    require_columns(path, table.columns, ["id_str"])
    return table


def _builder_figures(
    folders: Sequence[Path], catalog: Path | None, test_ids: set[str] | None, notes: list[str]
) -> list[Figure]:
    locs = prediction_locs(folders, "galaxy_builder")
    if not locs or catalog is None or not catalog.is_file():
        notes.append(
            "Galaxy Builder: not scored, there are no predictions galaxy_builder.csv or no catalogue (--builder)."
        )
        return []
    second = catalog.with_name("second_group.csv")
    figures = mask_figures(
        locs,
        catalog,
        second if second.is_file() else None,
        lambda id_str: test_ids is None or id_str in test_ids,
    )
    if not figures:
        notes.append("Galaxy Builder: not scored; no test galaxy has masks that all models predict.")
    return figures


def _cell(figure: Figure, model: str) -> str:
    score = figure.scores.get(model)
    if score is None or np.isnan(score.value):
        return "–"
    value, low, high = (_format(figure, number) for number in (score.value, score.low, score.high))
    return f"{value} ({low} to {high})"


def _number(figure: Figure, value: float, name: str) -> str:
    return f"{_format(figure, value)} {name}" if not np.isnan(value) else "–"


def _format(figure: Figure, value: float) -> str:
    return f"{100 * value:.0f} %" if figure.percent else f"{value:.3f}"


if __name__ == "__main__":
    main()

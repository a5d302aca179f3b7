"""Predictions in memory: the table, the masks and their measurements, and what a notebook shows of them."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import cv2
import numpy as np

from zoobot3d_tf.images.overlay import draw_masks
from zoobot3d_tf.inference.job import Failure
from zoobot3d_tf.labels import Label
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.schemas import Schema

if TYPE_CHECKING:
    from astropy.table import QTable

MAX_SHOWN = 12
"""Largest number of galaxies that a notebook shows."""
_THUMBNAIL_SIZE = 160
_MAX_ANSWERS = 4  # of those on the way down the tree


@dataclass(frozen=True, repr=False, eq=False)
class PredictedImages:
    """Predictions of images, one per galaxy, in the order of the images.

    Attributes:
        table: vote fractions with intervals and probabilities, label, and measurements on masks, with units and
            descriptions; the columns of `results.vote_values` without those of single samples, and of
            `measurements.COLUMNS`. Images in files have their path in `file_loc`.
        concentrations: concentrations of the Dirichlet distributions, float32 (N, answers, samples), with the answers
            in the order of `schema.label_cols`; None if the run does not predict votes.
        masks: fractions of volunteers who would enclose each pixel, by the name of the mask, on the pixel grid of the
            images, 0 outside the part that the network sees: float32 (N, H, W), or a list of (H, W) if the sizes
            differ. Empty if the run does not predict masks.
        schema: decision tree; None if the run does not predict votes.
        label: label of a fine-tuned run; None if there is none.
        failures: images that cannot be used, and why. They have no row and no masks.
        run_name: name of the run folder.
        thumbnails: the first images, uint8 (H, W, 3), at most `MAX_SHOWN`.
    """

    table: "QTable"
    concentrations: np.ndarray | None
    masks: Mapping[str, np.ndarray | Sequence[np.ndarray]]
    schema: Schema | None
    label: Label | None
    failures: Sequence[Failure]
    run_name: str
    thumbnails: Sequence[np.ndarray]

    @property
    def measurements(self) -> "QTable":
        """Ids, and measurements on the masks; see `measurements.COLUMNS`. Only ids if no masks are predicted."""
        return self.table[["id_str", *(name for name in COLUMNS if name in self.table.colnames)]]

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        parts = [f"votes of {len(self.schema.label_cols)} answers"] if self.schema is not None else []
        parts += [self.label.column] if self.label is not None else []
        parts += list(self.masks)
        failed = f"; {len(self.failures)} failed" if self.failures else ""
        return f"<PredictedImages: {len(self)} by {self.run_name!r}: {', '.join(parts)}{failed}>"

    def _repr_html_(self) -> str:
        """Thumbnails with the outlines of arms and bar, and the fractions of the likeliest answers, for notebooks."""
        cards = "".join(self._card(number) for number in range(len(self.thumbnails)))
        more = len(self) - len(self.thumbnails)
        rest = f"<p>and {more} more</p>" if more else ""
        return (
            f"<p>{escape(repr(self))}</p>"
            f'<div style="display:flex;flex-wrap:wrap;gap:8px;font-size:12px">{cards}</div>{rest}'
        )

    def _card(self, number: int) -> str:
        image = self.thumbnails[number]
        height, width = (max(1, round(side * _THUMBNAIL_SIZE / max(image.shape[:2]))) for side in image.shape[:2])
        # Shrunk before the outlines are drawn, which would vanish otherwise.
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        masks = {
            name: cv2.resize(masks[number], (width, height), interpolation=cv2.INTER_AREA)
            for name, masks in self.masks.items()
        }
        drawn = draw_masks(small, masks.get("spiral_mask"), masks.get("bar_mask"))
        picture = base64.b64encode(cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()).decode()
        row = self.table[number]
        answers = row["most_likely"].split(";")[:_MAX_ANSWERS] if self.schema is not None else []
        words = "<br>".join(escape(f"{answer}: {row[f'{answer}_fraction']:.0%}") for answer in answers)
        id_str = escape(row["id_str"])
        return (
            f'<figure style="margin:0;width:{_THUMBNAIL_SIZE}px;overflow-wrap:anywhere">'
            f'<img alt="{id_str}" src="data:image/png;base64,{picture}">'
            f"<figcaption><b>{id_str}</b><br>{words}</figcaption></figure>"
        )

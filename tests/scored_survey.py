"""A small labelled catalogue and its predictions, shared by the tests of scores and of the report."""

import numpy as np
import pandas as pd
from PIL import Image

from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"shape": ["_smooth", "_disc"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_disc"}, "small")
SIZE = 32


def survey(folder, n=6):
    """Write a labelled catalogue and predictions: galaxy 00 has no prediction, 01 no masks, 02 no votes.

    Volunteers enclosed a square of 10 x 10 pixels. The predicted square is 5 columns further right.
    """
    (folder / "predicted").mkdir()
    rng = np.random.default_rng(0)
    catalog, predictions = [], []
    true, predicted = np.zeros((2, SIZE, SIZE), np.uint8)
    true[10:20, 10:20] = 15
    predicted[10:20, 15:25] = 255
    Image.fromarray(true).save(folder / "true.png")
    Image.fromarray(predicted).save(folder / "predicted" / "mask.png")
    for i in range(n):
        image = rng.integers(0, 100, (SIZE, SIZE, 3), dtype=np.uint8)
        image[10:20, 10:20] += 155
        Image.fromarray(image).save(folder / f"{i:02}.png")
        disc, bar = (int(rng.integers(5, 35)), 2) if i != 2 else (0, 0)
        votes = [40 - disc, disc, bar, disc - bar] if i != 2 else [None] * 4
        masks = {"spiral_mask_loc": "true.png", "bar_mask_loc": "true.png"} if i != 1 else {}
        votes = dict(zip(SCHEMA.label_cols, votes, strict=True))
        catalog.append({"id_str": f"{i:02}", "file_loc": f"{i:02}.png"} | votes | masks)
        row = {"id_str": f"{i:02}", "shape_asked_p": 1.0, "bar_asked_p": 0.25}
        for answer, fraction in zip(SCHEMA.label_cols, (0.75, 0.25, 0.2, 0.8), strict=True):
            row |= {f"{answer}_concentration_{k}": 10 * fraction + k for k in range(2)}
            row |= {f"{answer}_fraction": fraction, f"{answer}_low": fraction - 0.1, f"{answer}_high": fraction + 0.1}
        row |= {"spiral_mask_loc": "mask.png", "bar_mask_loc": str(folder / "predicted" / "mask.png")}
        predictions.append(row)
    pd.DataFrame(catalog).to_csv(folder / "catalog.csv", index=False)
    pd.DataFrame(predictions[1:]).to_csv(folder / "predicted" / "table.csv", index=False)
    return folder / "predicted" / "table.csv", folder / "catalog.csv"


def rewrite(path, change):
    table = pd.read_csv(path, dtype={"id_str": str})
    change(table).to_csv(path, index=False)

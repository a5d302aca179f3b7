"""Make a catalogue of simulated galaxies with and without rings, for `finetune_rings.py`. All labels are correct.

zoobot3d simulate --n 2000 --seed 2 --out galaxies
python examples/simulated_rings.py galaxies
python examples/finetune_rings.py galaxies/ring_catalog.csv --out simulated_rings
"""

import argparse
from pathlib import Path

import pandas as pd

N_OF_EACH = 145


def main() -> None:
    """Write `ring_catalog.csv` into the folder of a simulated survey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("galaxies", type=Path, help="folder written by `zoobot3d simulate`")
    folder = parser.parse_args().galaxies
    table = pd.read_csv(folder / "catalog.csv").merge(pd.read_csv(folder / "truth.csv"), on="id_str")
    # Only kinds of galaxies that may have a ring. Rings must be clearly visible. Other galaxies must be featured.
    table = table[table["kind"].isin(["spiral", "disc", "irregular", "merger"])]
    total = table.filter(regex="^smooth-or-featured_").sum(axis=1)
    featured = table["smooth-or-featured_featured-or-disk"] > 0.5 * total
    ringed, others = table[table["ring_visibility"] > 0.5], table[featured & (table["ring_visibility"] < 0.05)]
    galaxies = pd.concat([ringed.head(N_OF_EACH).assign(ring=1), others.head(N_OF_EACH).assign(ring=0)])
    galaxies[["id_str", "file_loc", "ring"]].sort_values("id_str").to_csv(folder / "ring_catalog.csv", index=False)
    print(galaxies["ring"].value_counts().to_string())


if __name__ == "__main__":
    main()

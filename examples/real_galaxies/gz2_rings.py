"""Make a catalogue of galaxies with and without rings from votes of Galaxy Zoo 2, for `finetune_rings.py`.

python examples/real_galaxies/gz2_rings.py real/gz2 --out gz2_rings.csv
python examples/finetune_rings.py gz2_rings.csv --out gz2_rings

A galaxy has a ring if at least `RING_VOTES` volunteers saw an odd feature, and at least the share `RING_SHARE` of them
a ring. As many galaxies without a ring are drawn, by a hash of their names, from those that most volunteers called
featured and not edge-on.
"""

import argparse
from pathlib import Path

import pandas as pd

from zoobot3d_tf.catalogs.selection import hash_share

RING_VOTES = 3
RING_SHARE = 0.3
NO_RING_SHARE = 0.1


def main() -> None:
    """Write the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of Galaxy Zoo 2, with vote_catalog.csv and the images")
    parser.add_argument("--out", type=Path, required=True, help="table to write: .csv")
    args = parser.parse_args()
    votes = pd.read_csv(args.folder / "vote_catalog.csv", dtype={"id_str": str})
    votes["file_loc"] = [str((args.folder / name).absolute()) for name in votes["file_loc"]]
    share = votes["odd_ring_fraction"].fillna(0)
    ringed = votes[(votes["odd_yes_votes"] >= RING_VOTES) & (share >= RING_SHARE)]
    featured = votes["smooth-or-featured-gz2_featured-or-disk"] > votes["smooth-or-featured-gz2_smooth"]
    face_on = votes["disk-edge-on-gz2_no"] > votes["disk-edge-on-gz2_yes"]
    others = votes[featured & face_on & (share < NO_RING_SHARE)].sort_values("id_str", key=_by_hash)
    galaxies = pd.concat([ringed.assign(ring=1), others.head(len(ringed)).assign(ring=0)])
    galaxies[["id_str", "file_loc", "ring"]].to_csv(args.out, index=False)
    print(f"{len(ringed)} galaxies with a ring, {min(len(ringed), len(others))} without")


def _by_hash(ids: pd.Series) -> pd.Series:
    return ids.map(lambda id_str: hash_share(f"ring {id_str}"))


if __name__ == "__main__":
    main()

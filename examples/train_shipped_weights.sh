#!/usr/bin/env bash
# Make the weights that come with the package: catalogues of real galaxies, simulated galaxies, shards, training, packing.
# To continue an interrupted run, repeat the command.
#   examples/train_shipped_weights.sh REAL DECALS FOLDER        # writes the packed run to FOLDER/shipped
# REAL and DECALS are the folders of real galaxies that docs/real_galaxies.md describes. Galaxies of the part "test" of
# their catalogues are not used. On two cores the preparation takes 15 minutes, the training an hour.
set -euo pipefail
REAL=$1
DECALS=$2
FOLDER=$3
EPOCHS=${EPOCHS:-24}
HERE=$(cd "$(dirname "$0")" && pwd)
CATALOGS=$FOLDER/catalogs
SHARDS=$FOLDER/shards

python "$HERE/galaxy_builder.py" "$REAL/galaxy_builder" --out "$FOLDER/builder"
python "$HERE/real_galaxies/catalogs.py" "$REAL" "$DECALS" --builder "$FOLDER/builder" --out "$CATALOGS"

shards() {  # CATALOGUE NAME SCHEMA [OPTION ...]
  zoobot3d shards --labelled-catalog "$1" --shard-dir "$SHARDS/$2" --schema "$3" --img-size 304 --resume "${@:4}"
}
shards "$CATALOGS/gz2.csv" gz2 gz2_ortho
shards "$CATALOGS/classes.csv" classes galaxy_zoo
shards "$CATALOGS/examples.csv" examples galaxy_zoo
shards "$CATALOGS/decals.csv" decals galaxy_zoo --missing-questions-unasked
shards "$CATALOGS/arms.csv" arms none

simulated() {  # SURVEY NUMBER SEED
  local galaxies=$FOLDER/simulated_$1
  zoobot3d simulate --survey "$1" --n "$2" --seed "$3" --out "$galaxies"
  # Only galaxies with masks: the votes of the others are simulated too, and there are real ones.
  python -c "
import pandas
catalog = pandas.read_csv('$galaxies/catalog.csv')
catalog[catalog.spiral_mask_loc.notna()].to_csv('$galaxies/drawn.csv', index=False)
"
  shards "$galaxies/drawn.csv" "simulated_$1" decals_rings --eval-size 60
}
simulated mixed 1500 11
simulated decals 8000 13

validation=("$SHARDS"/{gz2,classes,decals,arms,simulated_mixed,simulated_decals}/eval_shards)
training=("$SHARDS"/{gz2,classes,examples,decals,arms,simulated_mixed,simulated_decals}/train_shards)
zoobot3d train --config "$HERE/../configs/train_shipped_weights.yaml" --experiment-dir "$FOLDER/run" \
  --train-dir "${training[@]}" --eval-dir "${validation[@]}" --epochs "$EPOCHS" --patience "$EPOCHS"
# Classes are no votes of volunteers, and the masks of simulated galaxies differ from those of real ones: neither is used.
zoobot3d calibrate "$FOLDER/run" "$SHARDS"/{gz2,decals,simulated_mixed,simulated_decals}/eval_shards --tasks votes
zoobot3d pack "$FOLDER/run" --out "$FOLDER/shipped"

#!/usr/bin/env bash
# Make the weights that come with the package: simulate, write shards, train, pack. To continue an interrupted run,
# repeat the command.
#   examples/train_shipped_weights.sh FOLDER        # writes the packed run to FOLDER/shipped
# On two cores the simulation takes 15 minutes, the training 75 minutes.
set -euo pipefail
FOLDER=$1
N_GALAXIES=${N_GALAXIES:-20000}
EPOCHS=${EPOCHS:-20}

if [ ! -f "$FOLDER/galaxies/catalog.csv" ]; then
  zoobot3d simulate --n "$N_GALAXIES" --seed 0 --out "$FOLDER/galaxies"
fi
# Use only galaxies with masks. Galaxies without masks would take the same time, but the masks would not learn from them.
python -c "
import pandas
catalog = pandas.read_csv('$FOLDER/galaxies/catalog.csv')
catalog[catalog.spiral_mask_loc.notna()].to_csv('$FOLDER/galaxies/drawn.csv', index=False)
"
zoobot3d shards --labelled-catalog "$FOLDER/galaxies/drawn.csv" --shard-dir "$FOLDER/shards" --schema decals_rings \
  --img-size 212 --eval-size 400 --resume
zoobot3d train --experiment-dir "$FOLDER/run" --train-dir "$FOLDER/shards/train_shards" \
  --eval-dir "$FOLDER/shards/eval_shards" --crop-size 112 --resize-size 96 --epochs "$EPOCHS" --batch-size 16 \
  --encoder EfficientNetB0 --color --mask-loss cross-entropy --loss-weights votes=1,spiral_mask=300,bar_mask=600 --seed 0
zoobot3d pack "$FOLDER/run" --out "$FOLDER/shipped"

#!/usr/bin/env bash
# How the weights that come with the package are made: simulate, shard, train, pack. An interrupted one goes on.
#   examples/train_shipped_weights.sh FOLDER        # leaves the packed run in FOLDER/shipped
set -euo pipefail
FOLDER=$1
N_GALAXIES=${N_GALAXIES:-4000}
EPOCHS=${EPOCHS:-30}

if [ ! -f "$FOLDER/galaxies/catalog.csv" ]; then
  zoobot3d simulate --n "$N_GALAXIES" --seed 0 --out "$FOLDER/galaxies"
fi
zoobot3d shards --labelled-catalog "$FOLDER/galaxies/catalog.csv" --shard-dir "$FOLDER/shards" --schema decals \
  --img-size 160 --eval-size 0.1 --resume
zoobot3d train --experiment-dir "$FOLDER/run" --train-dir "$FOLDER/shards/train_shards" \
  --eval-dir "$FOLDER/shards/eval_shards" --crop-size 120 --resize-size 128 --epochs "$EPOCHS" --batch-size 32 \
  --encoder EfficientNetV2B0 --color --mask-loss cross-entropy --seed 0
zoobot3d pack "$FOLDER/run" --out "$FOLDER/shipped"

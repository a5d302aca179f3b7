#!/bin/sh
# Promote the checkpoint with the lowest validation loss: keep it with the results of its job, and make it the model
# that prediction jobs load.
#
#     promote_best_checkpoint_to_model.sh RESULTS_FOLDER
#
# Variables: AZ_BATCH_NODE_MOUNTS_DIR, MODELS_CONTAINER_MOUNT_DIR, TRAINING_JOB_RESULTS_DIR, ZOOBOT_CHECKPOINT_TARGET.
set -eu

if [ "$#" -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: $0 RESULTS_FOLDER (a folder with files epoch-<n>-val_loss-<loss>.ckpt); received: $*" >&2
    exit 2
fi

# "<loss>/<path>" for each checkpoint. A loss is a number such as 0.25 or 1e-05; -g would follow the locale.
best=$(find "$1" -type f -name 'epoch-*-val_loss-*.ckpt' |
    sed -n 's|^\(.*-val_loss-\([0-9][0-9.]*\(e[-+][0-9]*\)\{0,1\}\)\.ckpt\)$|\2/\1|p' |
    LC_ALL=C sort -g | head -n 1 | cut -d / -f 2-)
if [ -z "$best" ]; then
    echo "error: $1: has no file epoch-<n>-val_loss-<loss>.ckpt; the training job has not finished" >&2
    exit 1
fi
echo "The checkpoint with the lowest validation loss is $best"

models=$AZ_BATCH_NODE_MOUNTS_DIR/$MODELS_CONTAINER_MOUNT_DIR
mkdir -p "$models/$TRAINING_JOB_RESULTS_DIR" "$(dirname "$models/$ZOOBOT_CHECKPOINT_TARGET")"
cp -f "$best" "$models/$TRAINING_JOB_RESULTS_DIR/"
# Prediction jobs may read the model at any moment: it is replaced in one step.
cp -f "$best" "$models/$ZOOBOT_CHECKPOINT_TARGET.partial"
mv -f "$models/$ZOOBOT_CHECKPOINT_TARGET.partial" "$models/$ZOOBOT_CHECKPOINT_TARGET"

#!/bin/bash
# Train on the GPUs of several machines with Slurm:
#
#   sbatch --nodes 2 --gpus-per-node 4 examples/slurm_train.sh
#
# Set the folders below. All machines must be able to read them. The time limit may be short: Slurm warns the job two
# minutes before its end, the training writes a checkpoint, and Slurm starts the job again, which continues it.
#SBATCH --job-name zoobot3d
#SBATCH --ntasks-per-node 1
#SBATCH --cpus-per-task 16
#SBATCH --time 04:00:00
#SBATCH --signal TERM@120
#SBATCH --requeue
#SBATCH --open-mode append

srun --kill-on-bad-exit zoobot3d train --distributed \
  --train-dir shards/train_shards --eval-dir shards/eval_shards --experiment-dir run \
  --batch-size 256 --epochs 100 --mixed-precision
status=$?

# The training was saved on request, with the exit code of SIGTERM.
if [ "$status" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"

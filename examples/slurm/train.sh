#!/usr/bin/env bash
# A training on two nodes of four GPUs: sbatch train.sh DATA RUN; set what your site asks for.
# It is told two minutes before its time is over, saves, and is queued again, to go on where it stopped.
#SBATCH --job-name=fsmnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail
data=$1 run=$2

arguments=(--config paper --data "$data" --out "$run" --workers 4)
if [ -e "$run/resume.pt" ]; then
    arguments=(--config "$run/config.yaml" --resume)
fi
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# One torchrun a node; --kill-on-bad-exit ends all nodes with the first one that fails.
srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node gpu \
    --rdzv-backend c10d --rdzv-endpoint "$first:29500" --rdzv-id "$SLURM_JOB_ID" \
    -m fsmnet train "${arguments[@]}" &
training=$! over=no status=0
# Told by a step's signal, since an srun that gets one itself kills the training instead.
trap 'over=yes; scancel --signal=TERM "$SLURM_JOB_ID.0"' TERM
wait "$training" || status=$?
if [ "$over" = yes ]; then
    wait "$training" || true # it saves
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"

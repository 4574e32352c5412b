#!/usr/bin/env bash
# A training on all GPUs of one machine, or on so many processes without one: bash train.sh DATA RUN [PROCESSES]
# Every batch is shared, so the steps are those of one process. Started again, it goes on where it stopped, on any
# number of processes.
set -euo pipefail
data=$1 run=$2 processes=${3:-gpu}

arguments=(--config quick --data "$data" --out "$run")
if [ -e "$run/resume.pt" ]; then
    arguments=(--config "$run/config.yaml" --resume)
fi
torchrun --standalone --nproc-per-node "$processes" -m fsmnet train "${arguments[@]}"

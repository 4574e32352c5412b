#!/usr/bin/env bash
# A list of exams on four Slurm jobs: bash list.sh TABLE OUT, on the login node or in a small job of its own.
# jobqueue.yaml beside this file describes a worker's job; copy it to ~/.config/dask first. Started again, it does what
# is left.
set -euo pipefail
fsmnet reconstruct --pairs "$1" --out "$2" --cluster slurm --processes 4

#!/usr/bin/env bash
# Everything that waits for a GPU, in one call of less than nine minutes:
#
#     bash benchmarks/gpu.sh train.npz.xz OUT [SECONDS OF THE WIDE NETWORK] [ITS WEIGHTS TO GO ON FROM]
#
# CUDA tests, speed of all networks, then training of the wide network (preset unrolled_wide) and of FSMNet with the
# paper's 64 features. train.npz.xz is what benchmarks/unrolled/pack.py makes of the training volumes. OUT gets at most
# nine small files; weights are written every 60 seconds, so that a call that is cut off has not been in vain, and the
# next one goes on from OUT/wide.safetensors. OTHER="--batch 0.03 --steps 2" and so on is handed to the trainer.
set -u
data=$(realpath "$1") && mkdir -p "$2" && out=$(realpath "$2")
seconds=${3:-280} init=${4:+--init $(realpath "$4")}
cd "$(dirname "$0")/.." || exit
export PYTHONPATH=src:benchmarks/unrolled PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$(mktemp -d)}
python=${PYTHON:-python3}

timeout 80 "$python" -m pytest -q -m cuda tests 2>&1 | tail -5 | tee "$out/tests.log"
timeout 80 "$python" benchmarks/unrolled/gpu_speed.py --out "$out/speed.json" ${SPEED:-}

work=$(mktemp -d)
# A kind of batch is compiled for itself. The later ones are compiled beside the first; the trainer finds them cached.
# shellcheck disable=SC2086  # no weights, no argument
train() { "$python" benchmarks/unrolled/train.py "$data" --compile ${OTHER:-} "$@"; }
for kind in detailed tight; do
  train --out "$work/$kind" --plan wide=1 --steps 1 --kinds $kind > "$work/$kind.log" 2>&1 &
done
# shellcheck disable=SC2086
train --out "$work/a" --plan wide="$seconds" paper=45 $init --every 60 2>&1 | tee "$out/train.log" &
while kill -0 $! 2> /dev/null; do
  sleep 5
  cp -u "$work"/a/*.safetensors "$work"/a/*.json "$work"/a/*_log.csv "$out" 2> /dev/null
done
wait
cp -u "$work"/a/*.safetensors "$work"/a/*.json "$work"/a/*_log.csv "$out"

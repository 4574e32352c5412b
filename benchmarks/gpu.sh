#!/usr/bin/env bash
# Everything that waits for a GPU, in one call of less than ten minutes:
#
#     bash benchmarks/gpu.sh train.npz.xz OUT [SECONDS OF TRAINING] [WEIGHTS TO GO ON FROM]
#
# train.npz.xz is what benchmarks/unrolled/pack.py makes of the training volumes. OUT gets at most eight small files;
# weights are written every 75 seconds, so that a call that is cut off has not been in vain.
set -u
data=$(realpath "$1") && mkdir -p "$2" && out=$(realpath "$2")
seconds=${3:-400} init=${4:+--init $(realpath "$4")}
cd "$(dirname "$0")/.." || exit
export PYTHONPATH=src:benchmarks/unrolled PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$(mktemp -d)}
work=$(mktemp -d)

timeout 90 python3 -m pytest -q -m cuda tests 2>&1 | tail -5 | tee "$out/tests.log"
timeout 90 python3 benchmarks/unrolled/gpu_speed.py --out "$out/speed.json"

# A kind of batch is compiled for itself. The later ones are compiled beside the first; the trainer finds them cached.
for kind in detailed tight; do
  python3 benchmarks/unrolled/train.py "$data" --out "$work/$kind" --plan unrolled=1 --steps 1 --compile --kinds $kind \
    > "$work/$kind.log" 2>&1 &
done
# shellcheck disable=SC2086  # no weights, no argument
python3 benchmarks/unrolled/train.py "$data" --out "$work/a" --plan unrolled="$seconds" alone=58 $init --compile \
  --every 75 2>&1 | tee "$out/train.log"
wait
cp "$work"/a/*.safetensors "$out"; cp "$work/a/training.json" "$work/a/unrolled_log.csv" "$out"

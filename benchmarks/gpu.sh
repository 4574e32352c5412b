#!/usr/bin/env bash
# Everything that waits for a GPU, in one call of less than ten minutes:
#
#     bash benchmarks/gpu.sh train.npz.xz OUT [PLAN]
#
# CUDA tests, speed of all networks, then the trainings of the plan (benchmarks/unrolled/gpu_plan.txt), one after the
# other. train.npz.xz is what benchmarks/unrolled/pack.py makes of the training volumes. All networks are compiled and
# captured at the same time, while the tests run; what is timed and what is trained has the GPU for itself. OUT gets a
# few files, renewed after every network, so that a call that is cut off has not been in vain: figures.tar (logs,
# scores, speed), weights.tar, and the weights of more than 4 million parameters on their own. What a GPU
# compiled is kept in CACHE, if that is set, for the next call.
set -u
data=$(realpath "$1") && mkdir -p "$2" && out=$(realpath "$2")
cd "$(dirname "$0")/.." || exit
plan=$(realpath "${3:-benchmarks/unrolled/gpu_plan.txt}")
export PYTHONPATH=src:benchmarks/unrolled:${PYTHONPATH:-} PYTHONUNBUFFERED=1 TORCHINDUCTOR_COMPILE_THREADS=4 OMP_NUM_THREADS=1
export TORCHINDUCTOR_CACHE_DIR=${CACHE:-$(mktemp -d)}
python=${PYTHON:-python3} work=$(mktemp -d) begun=$SECONDS
mkdir "$work/figures" "$work/turns" "$work/runs"
said() { echo "[$((SECONDS - begun)) s] $*" | tee -a "$work/figures/gpu.log"; }
gather() {
  cp -u "$work"/runs/*/*_log.csv "$work/figures" 2> /dev/null
  tar -cf "$out/figures.tar" -C "$work" figures
  local small=()
  for weights in "$work"/runs/*/*.safetensors; do
    [ -e "$weights" ] || continue
    if [ "$(stat -c %s "$weights")" -gt 8000000 ]; then cp -u "$weights" "$out"; else small+=("$weights"); fi
  done
  [ ${#small[@]} -eq 0 ] || tar -cf "$out/weights.tar" --transform 's|.*/||' -P "${small[@]}"
}

number=0
while read -r network seconds options; do
  case $network in '' | '#'*) continue ;; esac
  name=$(printf '%02d-%s' $((number += 1)) "$network")
  previous=${last:-speed} last=$name
  (
    # shellcheck disable=SC2086  # several options
    "$python" benchmarks/unrolled/train.py "$data" --out "$work/runs/$name" --plan "$network=$seconds" --compile \
      --ready "$work/turns/$name.ready" --after "$work/turns/$previous.done" $options > "$work/figures/$name.log" 2>&1
    cp "$work/runs/$name/training.json" "$work/figures/$name.json"
    touch "$work/turns/$name.ready" "$work/turns/$name.done"
  ) &
  touch "$work/turns/$name.begun"
done < "$plan"

if [ "${TESTS:-1}" = 1 ]; then
  # shellcheck disable=SC2086
  timeout 150 "$python" -m pytest -q -m cuda ${WHICH:-tests} > "$work/figures/tests.log" 2>&1
  said "tests: $(tail -1 "$work/figures/tests.log")"
fi &
tests=$!
ready() { [ "$(ls "$work"/turns/*.begun | wc -l)" -eq "$(ls "$work"/turns/*.ready 2> /dev/null | wc -l)" ]; }
if [ "${SPEED:-1}" = 1 ]; then
  timeout 200 "$python" benchmarks/unrolled/gpu_speed.py --out "$work/figures/speed.json" \
    --after "$work/turns/all.go" > "$work/figures/speed.log" 2>&1 &
  speed=$!
fi
for _ in $(seq 150); do ready && break; sleep 1; done
said "ready: $(cd "$work/turns" && echo *.ready)"
touch "$work/turns/all.go"
[ -z "${speed:-}" ] || wait "$speed"
wait "$tests"
said "speed: $(tail -1 "$work/figures/speed.log" 2> /dev/null)"
touch "$work/turns/speed.done"
gather
until [ -e "$work/turns/$last.done" ]; do
  sleep 2
  for file in "$work"/turns/*.done; do
    name=$(basename "$file" .done)
    [ -e "$work/turns/$name.told" ] || [ "$name" = speed ] && continue
    touch "$work/turns/$name.told"
    said "$(grep -h done "$work/figures/$name.log" || tail -2 "$work/figures/$name.log")"
    gather
  done
done
gather
[ -z "${CACHE:-}" ] || du -sh "$CACHE"
grep -hv done "$work"/figures/*-*.log | grep -E "ms a step|no graph|Error" | cut -c1-300

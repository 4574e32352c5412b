#!/usr/bin/env bash
# Everything that waits for a GPU, in one call of less than ten minutes:
#
#     bash benchmarks/gpu.sh train.npz.xz OUT [PLAN]
#
# CUDA tests, speed of all networks, then the trainings of the plan (benchmarks/unrolled/gpu_plan.txt), one after the
# other. train.npz.xz is what benchmarks/unrolled/pack.py makes of the training volumes. All networks are compiled and
# captured beside each other while the tests run; then each has the GPU for itself. A network that takes long to be
# compiled is best trained late. OUT gets a few files, renewed after every network, so that a call that is cut off has not
# been in vain: figures.tar (logs, scores, speed), weights.tar, and on their own weights of over 8 MB. TESTS=0 and SPEED=0
# leave those out; WHICH are arguments of pytest, by default the files that have tests for a GPU.
set -u
data=$(realpath "$1") && mkdir -p "$2" && out=$(realpath "$2")
cd "$(dirname "$0")/.." || exit
plan=$(realpath "${3:-benchmarks/unrolled/gpu_plan.txt}")
export PYTHONPATH=src:benchmarks/unrolled:${PYTHONPATH:-} PYTHONUNBUFFERED=1 TORCHINDUCTOR_COMPILE_THREADS=4 OMP_NUM_THREADS=1
export TORCHINDUCTOR_CACHE_DIR=$(mktemp -d)
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

said "commit ${COMMIT:-$(git rev-parse --short HEAD)}"
number=0
while read -r network seconds options; do
  case $network in '' | '#'*) continue ;; esac
  number=$((number + 1))
  name=$(printf '%02d-%s' "$number" "$network")
  previous=${last:-speed} last=$name
  (
    train() {
      # shellcheck disable=SC2086  # several options
      "$python" benchmarks/unrolled/train.py "$data" --out "$work/runs/$name" --plan "$network=$seconds" \
        --ready "$work/turns/$name.ready" --after "$work/turns/$previous.done" $options "$@" >> "$work/figures/$name.log" 2>&1
    }
    train || train --eager  # what cannot be compiled or captured runs as it is, in a process that has tried nothing else
    cp "$work/runs/$name/training.json" "$work/figures/$name.json"
    touch "$work/turns/$name.ready" "$work/turns/$name.done"
  ) &
  touch "$work/turns/$name.begun"
done < "$plan"

if [ "${TESTS:-1}" = 1 ]; then
  # shellcheck disable=SC2086
  timeout 150 "$python" -m pytest -q -m cuda ${WHICH:-$(grep -rl mark.cuda --include="test_*.py" tests)} > "$work/figures/tests.log" 2>&1
  said "tests: $(tail -1 "$work/figures/tests.log")"
fi &
tests=$!
ready() { [ "$(ls "$work"/turns/*.begun | wc -l)" -eq "$(ls "$work"/turns/*.ready 2> /dev/null | wc -l)" ]; }
if [ "${SPEED:-1}" = 1 ]; then
  timeout 200 "$python" benchmarks/unrolled/gpu_speed.py --out "$work/figures/speed.json" \
    --after "$work/turns/all.go" > "$work/figures/speed.log" 2>&1 &
  speed=$!
fi
if [ -n "${speed:-}" ]; then # what is timed has the GPU for itself
  for _ in $(seq 150); do ready && break; sleep 1; done
  said "ready: $(cd "$work/turns" && echo *.ready)"
  touch "$work/turns/all.go"
  wait "$speed"
  said "speed: $(wc -l < "$work/figures/speed.log") lines"
fi
wait "$tests"
touch "$work/turns/speed.done"
gather
until [ -e "$work/turns/$last.done" ]; do
  sleep 2
  for file in "$work"/turns/*.done; do
    name=$(basename "$file" .done)
    [ -e "$work/turns/$name.told" ] || [ "$name" = speed ] && continue
    touch "$work/turns/$name.told"
    said "$(grep -h ' done ' "$work/figures/$name.log" || tail -2 "$work/figures/$name.log")"
    gather
  done
done
gather
grep -hv done "$work"/figures/*-*.log | grep -E "ms a step|no graph|Error" | cut -c1-300

#!/usr/bin/env bash
# Test, train and measure on a machine with a GPU and without a network: docs/how-to/cuda.md.
#
#   here    studies/cuda.sh pack             fills out/cuda/load-1, load-2, ...
#   there   studies/cuda.sh unpack LOAD      once for each
#           studies/cuda.sh check | test | train | figures
#   here    studies/cuda.sh collect FOLDER   takes what the stages left in $OUT
#
# A stage ends within nine minutes and may be called again. With `--rehearse` before its name it
# runs on the CPU, in small.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
PACK=${PACK:-out/cuda}             # here: what is to be carried, and what came back
WORK=${WORK:-/tmp/diffusionblend}  # there: data, packages and runs, outside of the repository
OUT=${OUT:-$WORK/out}              # there: what is to be brought back
DATA=${DATA:-recipes/chest.toml}   # the recipe whose volumes are packed
RECIPE=${RECIPE:-recipes/chest_gpu.toml}
WHEELS=${WHEELS-cyclopts diffct docstring-parser markdown-it-py mdurl msgspec nibabel rich rich-rst}
WHEELS_FOR=${WHEELS_FOR:-3.12 manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64}
CARRY_MIB=${CARRY_MIB:-60} # most that is carried at once, with the repository
PART_MIB=${PART_MIB:-15}   # largest file that is brought back
STATE_MIB=${STATE_MIB:-30} # largest state of a run that is brought back
MINUTES=${MINUTES:-7.5}    # of training in a stage
LIMIT=${LIMIT:-530}        # seconds of any stage
DEVICE=cuda
TESTS=()
FIGURES=()
if [ "${1:-}" = --rehearse ]; then
  shift
  DEVICE=cpu
  TESTS=(-k "test_operators or test_a_denoiser")
  FIGURES=(--rehearse)
fi
RESULTS=$WORK/results
export PYTHONPATH="$PWD/src:$WORK/site" PYTHONUNBUFFERED=1

parcels() { "$PYTHON" studies/cuda/parcels.py "$@"; }

limited() {
  local ended=0
  timeout --kill-after=10 "$LIMIT" "$@" || ended=$?
  if [ "$ended" = 124 ]; then echo "cuda.sh: stopped after $LIMIT seconds: $*" >&2; fi
  return "$ended"
}

# Data and wheels, in loads that leave room for the repository.
pack() {
  local repository load
  repository=$(git ls-files -z | du --files0-from=- -cb | awk 'END { print int($1 / 2^20) + 1 }')
  load=$((CARRY_MIB - repository))
  rm -rf "$PACK"
  mkdir -p "$PACK/packs" "$PACK/validation" "$PACK/wheels"
  "$PYTHON" -m diffusionblend pack "$DATA" -o "$PACK/packs/data.h5" --max-mib "$load"
  mv "$PACK"/packs/data-validation.h5 "$PACK/validation"
  read -ra target <<< "$WHEELS_FOR"
  local platforms=("${target[@]:1}")
  for name in $WHEELS; do
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --dest "$PACK/wheels" \
      --constraint constraints.txt --implementation cp --python-version "${target[0]}" \
      "${platforms[@]/#/--platform=}" "$name"
  done
  mapfile -t files < <(find "$PACK" -type f)
  parcels loads "${files[@]}" -o "$PACK" --mib "$load"
  find "$PACK" -type d -empty -delete
}

# A load of `pack`, or what `collect` left of an earlier machine, whose runs are gone on with.
unpack() {
  mkdir -p "$WORK"
  for part in packs validation runs; do
    if [ -d "$1/$part" ]; then cp -R "$1/$part" "$WORK"; fi
  done
  if [ -d "$1/wheels" ]; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --upgrade --target "$WORK/site" \
      "$1"/wheels/*.whl
  fi
}

check() { limited "$PYTHON" studies/cuda/check.py -o "$RESULTS/check.json" --device "$DEVICE"; }

tests() {
  TEST_DEVICE=$DEVICE limited "$PYTHON" -m pytest -m cuda -p no:cacheprovider -p no:benchmark \
    --junitxml="$RESULTS/tests.xml" "${TESTS[@]}" tests/machine/test_cuda.py
}

train() {
  mkdir -p "$WORK/recipes" "$WORK/runs"
  cp "$RECIPE" "$WORK/recipes"
  limited "$PYTHON" -m diffusionblend train "$WORK/recipes/${RECIPE##*/}" --minutes "$MINUTES" \
    2>&1 | tee "$RESULTS/train.log"
}

figures() {
  limited "$PYTHON" studies/cuda/figures.py -o "$RESULTS/figures" --device "$DEVICE" \
    "${FIGURES[@]}"
}

# Lay what there is to bring back into $OUT, whole or not: also what a stage left that failed.
bring() {
  if [ -d "$WORK/runs" ]; then
    # The whole prior of a run; the networks of its phases go with the state, which needs them.
    (cd "$WORK" && find runs -type f \( -regex 'runs/[^/]*/prior/[^/]*' -o -name stats.jsonl \) \
      -exec cp --parents -t "$RESULTS" {} +)
    parcels split "$WORK/runs" --match '**/state.safetensors' '*/[0-9]*/prior/*' -o "$OUT/state" \
      --mib "$PART_MIB" --most "$STATE_MIB" || echo "cuda.sh: the state stays in $WORK/runs" >&2
  fi
  parcels split "$RESULTS" -o "$OUT/results" --mib "$PART_MIB"
}

collect() {
  parcels join "$1/results.json" -o "$PACK"
  if [ -f "$1/state.json" ]; then parcels join "$1/state.json" -o "$PACK/results"; fi
}

case "${1:-}" in
  pack) pack ;;
  unpack | collect) "$1" "${2:?the folder of what was carried}" ;;
  check | test | train | figures)
    mkdir -p "$RESULTS" "$OUT"
    trap bring EXIT
    "${1/#test/tests}"
    ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

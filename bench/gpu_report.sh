#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Everything there is to measure on a GPU, in one command, as a folder:
#
#   bench/gpu_report.sh [FOLDER] [options of bench/run.py --device cuda, such as --quick]
#
#   environment.txt   driver, device, clocks, compiler, versions, commit
#   check.json .txt   results of every case held against the CPU backend; what is wrong ends the report
#   device.json .txt  times beside the peers that are installed
#   streaming.json, persistent.json   ours alone with each engine (.txt beside)
#   report.md .png    tables and picture of device.json
#   microbench.json   constants of the cost model, measured
#   model.md          what the model expects: modelled, not measured
#
# Without a GPU it says what is missing, prints the model's table and ends with 0. PYTHON names another Python than
# `python3`. Default folder: gpu-report.
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
folder=gpu-report
if (($#)) && [[ $1 != -* ]]; then
  folder=$1
  shift
fi

missing=$("$python" -c 'import fastrnn; print(fastrnn.cuda.why_not())')
if [[ -n $missing ]]; then
  echo "No GPU: $missing"
  echo "What follows is modelled, not measured."
  exec "$python" "$bench/cuda/model.py"
fi
if [[ -e $folder ]]; then
  echo "$folder is there already: a report has a folder of its own" >&2
  exit 2
fi
mkdir -p "$folder"
"$python" "$bench/cuda/model.py" >"$folder/model.md"

{
  date -u
  git -C "$bench" describe --always --dirty || true
  command -v nvidia-smi >/dev/null && nvidia-smi && nvidia-smi -q -d CLOCK,POWER,PERFORMANCE
  command -v nvcc >/dev/null && nvcc --version
  "$python" -m fastrnn info
  "$python" -m pip list 2>/dev/null | grep -iE '^(numpy|torch|nvidia|flashrnn|haste|triton|fastrnn) *'
} >"$folder/environment.txt" 2>&1 || true

measure() { # NAME, then options
  local name=$1
  shift
  "$python" "$bench/run.py" --device cuda --output "$folder/$name.json" "$@" 2>&1 | tee "$folder/$name.txt"
}

status=0
measure check --check "$@" --peers fastrnn || { echo "our results are wrong: nothing is timed" >&2; exit 1; }
if grep -q '"emulated": true' "$folder/check.json"; then
  echo "emulated: results were checked, and there is nothing to time"
  exit 0
fi
measure device "$@" || status=1 # a peer that disagrees is named, and left out
for engine in streaming persistent; do
  FASTRNN_CUDA_ENGINE=$engine measure "$engine" "$@" --peers fastrnn || status=1
done

if command -v nvcc >/dev/null; then
  nvcc -O3 -std=c++17 -arch=native "$bench/cuda/microbench.cu" -o "$folder/microbench"
  "$folder/microbench" | tee "$folder/microbench.json"
  rm "$folder/microbench"
else
  echo "no nvcc in PATH: the constants of the model are not measured"
fi

picture=()
if "$python" -c 'import matplotlib' 2>/dev/null && grep -q '"best": "' "$folder/device.json"; then
  picture=(--picture "$folder/report.png")
fi
"$python" "$bench/cuda/device_report.py" "$folder/device.json" "${picture[@]}" >"$folder/report.md"
echo "report: $folder"
exit "$status"

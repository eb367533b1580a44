#!/usr/bin/env bash
# The pipeline on a small collection of real photos and real ImageNet weights, without
# teachers: export to app, in about ten minutes on two CPU cores.
#
#   ./scripts/real_photos.sh DUMP.json WEIGHTS.safetensors [--config.field=value ...]
set -euo pipefail
cd "$(dirname "$0")/.."

# XLA on a CPU allocates its scratch memory anew for every step; in huge pages (glibc 2.35,
# read at a process's start) training is 1.4 to 1.8 times as fast.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1

if [ $# -lt 2 ] || [ ! -f "$1" ] || [ ! -f "$2" ]; then
  echo "usage: $0 DUMP.json WEIGHTS.safetensors [--config.field=value ...]" >&2
  exit 2
fi
dump=$1 weights=$2
shift 2
python=.venv/bin/python
[ -x "$python" ] || python=python

step() { # experiment stage [option ...]
  local experiment=$1 stage=$2
  shift 2
  echo "=== $stage ($experiment)"
  "$python" -m aplantida_jax.main --config="configs/$experiment.py:photos" \
    --config.stage="$stage" --config.source.uri="$dump" \
    --config.model.pretrained="$weights" "$@"
}

step dataset export_dataset "$@"
step dataset download "$@"
step dataset audit "$@"
step dataset split "$@"
step dataset preview "$@"
step baseline baseline "$@"
step student_photos train "$@"
step student_photos evaluate "$@"
step student_photos calibrate "$@"
step export_tfjs export_model "$@"
step export_tfjs validate_export "$@"
step export_tfjs pwa "$@"
step report report "$@"

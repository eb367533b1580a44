#!/usr/bin/env bash
# The whole pipeline on plants that the project draws itself: sets up what is missing,
# then runs every stage. Stop it at any moment and start it again: it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

./scripts/setup.sh
start=$(date +%s)
./scripts/reproduce_full_pipeline.sh :demo "$@"
seconds=$(($(date +%s) - start))

cat <<EOF

The pipeline took $((seconds / 60)) min $((seconds % 60)) s.
  report       workdirs/demo/report/report.html
  the student  workdirs/demo/student_finetune/evaluate/test/
  app          .venv/bin/python -m aplantida_jax.web_server dist/demo/pwa
  TensorBoard  .venv/bin/tensorboard --logdir workdirs/demo
EOF

#!/usr/bin/env bash
# Resolves pyproject.toml again and writes the lock files: versions, no addresses.
# For whoever changes a dependency; run the tests after it.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m pip install --quiet uv
for extra in "" dev cuda12; do
  out=requirements${extra:+-$extra}.lock
  .venv/bin/uv pip compile pyproject.toml ${extra:+--extra "$extra"} --universal \
    --python-version 3.11 --no-annotate \
    --custom-compile-command "./scripts/lock.sh" --quiet --output-file "$out"
done

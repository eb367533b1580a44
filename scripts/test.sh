#!/usr/bin/env bash
# The one gate, for people and CI: environment, lint, types, tests.
#
#   ./scripts/test.sh [pytest options]      e.g. -k cache -x
set -euo pipefail
cd "$(dirname "$0")/.."

./scripts/setup.sh --dev
echo "test: lint"
.venv/bin/ruff format --check --quiet .
.venv/bin/ruff check --quiet .
echo "test: types"
.venv/bin/mypy --no-error-summary
echo "test: pytest"
.venv/bin/python -m pytest "$@"

#!/usr/bin/env bash
# Lists what can be made again, with sizes; removes it with --yes. Never the dataset:
# data/export, data/download, data/cache and data/splits stay; the demo goes whole.
#
#   ./scripts/cleanup.sh [--yes]
set -euo pipefail
cd "$(dirname "$0")/.."

yes=no
case "${1:-}" in
  "") ;;
  --yes) yes=yes ;;
  *) echo "usage: $0 [--yes]" >&2; exit 2 ;;
esac

# Left by interrupted writes; old runs that were set aside; the demo; compiled programs.
mapfile -t found < <(
  find data workdirs dist \( -name '.*.tmp' -o -name '.*.tmpdir' -o -name 'previous-*' \
    -o -name 'damaged-*' -o -name 'unfinished-*' -o -name xla_cache \) -prune -print 2>/dev/null || true
  for path in data/demo workdirs/demo dist/demo; do [ ! -e "$path" ] || echo "$path"; done
  find . -path ./.venv -prune -o \( -name __pycache__ -o -name .pytest_cache \
    -o -name .ruff_cache -o -name .mypy_cache \) -prune -print
)
if [ ${#found[@]} -eq 0 ]; then
  echo "nothing to clean up"
  exit 0
fi
du -sch -- "${found[@]}"
if [ "$yes" = yes ]; then
  rm -rf -- "${found[@]}"
  echo "removed"
else
  echo "nothing was removed; ./scripts/cleanup.sh --yes removes it"
fi

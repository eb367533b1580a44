#!/usr/bin/env bash
# Makes the environment that everything runs in: .venv with the locked packages, the
# app's TensorFlow.js files, and, as root on Debian, Chromium. Quick when it is there.
#
#   ./scripts/setup.sh            what the pipeline needs
#   ./scripts/setup.sh --dev      and what the tests need
#   EXTRA=cuda12 ./scripts/setup.sh    JAX for NVIDIA GPUs
set -euo pipefail
cd "$(dirname "$0")/.."

lock=requirements.lock
[ "${1:-}" = "--dev" ] && lock=requirements-dev.lock

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or 3.12 on PATH; install one, or set PYTHON=/path/to/it" >&2
  exit 1
}

apt_install() { # packages; only as root on Debian or Ubuntu
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "setup: apt-get install $*"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

make_venv() {
  [ -x .venv/bin/python ] && return
  local python
  python=$(find_python)
  echo "setup: making .venv with $("$python" --version)"
  if ! "$python" -m venv .venv 2>/dev/null; then
    rm -rf .venv
    apt_install python3-venv || {
      echo "error: $python cannot make virtual environments; install python3-venv" >&2
      exit 1
    }
    "$python" -m venv .venv
  fi
}

install_packages() {
  local want
  want="$(sha256sum "$lock" pyproject.toml | sha256sum | cut -c1-16)-${EXTRA:-cpu}"
  [ "$(cat .venv/.installed 2>/dev/null)" = "$want" ] && return
  # What was installed for the tests serves the pipeline too.
  if [ "$lock" = requirements.lock ] && [ "$(cat .venv/.installed-dev 2>/dev/null)" = \
    "$(sha256sum requirements-dev.lock pyproject.toml | sha256sum | cut -c1-16)-${EXTRA:-cpu}" ]; then
    return
  fi
  echo "setup: installing the packages of $lock (about 3 GB, two minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r "$lock"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
  if [ -n "${EXTRA:-}" ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint "$lock" ".[${EXTRA}]"
  fi
  echo "$want" >.venv/.installed
  [ "$lock" = requirements-dev.lock ] && echo "$want" >.venv/.installed-dev
  return 0
}

find_chromium() {
  [ -n "${APLANTIDA_CHROMIUM:-}" ] && return
  local name
  for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && return
  done
  apt_install chromium fonts-dejavu-core || echo "setup: no Chromium found: validate_export and the browser tests need one;" \
    "install it, set APLANTIDA_CHROMIUM, or run .venv/bin/playwright install chromium"
}

make_venv
install_packages
./scripts/install_web.sh
find_chromium

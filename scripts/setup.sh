#!/usr/bin/env bash
# Makes the environment that everything runs in: .venv with the locked packages, the
# app's TensorFlow.js files, and, as root on Debian, Chromium. Quick when it is there.
#
#   ./scripts/setup.sh            what the pipeline needs
#   ./scripts/setup.sh --dev      and what the tests need
#   EXTRA=cuda12 ./scripts/setup.sh    JAX for NVIDIA GPUs
set -euo pipefail
cd "$(dirname "$0")/.."

dev=no
for option in "$@"; do
  case "$option" in
    --dev) dev=yes ;;
    *) echo "error: unknown option $option; there is --dev" >&2; exit 2 ;;
  esac
done
# What was chosen once stays chosen.
extra=${EXTRA:-$(cat .venv/.extra 2>/dev/null || true)}
case "$extra" in
  "" | cuda12) ;;
  *) echo "error: EXTRA=$extra is unknown; there is cuda12" >&2; exit 2 ;;
esac

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
  # Only a finished one has pip: a kill may have left half of it.
  .venv/bin/python -m pip --version >/dev/null 2>&1 && return
  rm -rf .venv
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
  local locks=(requirements.lock) lock want
  [ "$dev" = no ] || locks+=(requirements-dev.lock)
  [ -z "$extra" ] || locks+=("requirements-$extra.lock")
  for lock in "${locks[@]}"; do
    want=$(cat "$lock" pyproject.toml | sha256sum | cut -c1-16)
    [ "$(cat ".venv/.$lock" 2>/dev/null)" != "$want" ] || continue
    echo "setup: installing the packages of $lock (3 GB and two minutes the first time)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r "$lock"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
      --no-build-isolation --editable .
    echo "$want" >".venv/.$lock"
  done
  echo "$extra" >.venv/.extra
}

find_chromium() {
  [ -z "${APLANTIDA_CHROMIUM:-}" ] || return 0
  local name
  for name in chromium chromium-browser google-chrome; do
    ! command -v "$name" >/dev/null || return 0
  done
  ! ls -d "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}"/chromium-* >/dev/null 2>&1 || return 0
  # Ubuntu's chromium is a snap in disguise: only Debian's is asked for.
  if grep -qs '^ID=debian' /etc/os-release && apt_install chromium fonts-dejavu-core; then
    return 0
  fi
  echo "setup: no Chromium found, asking Playwright for one"
  .venv/bin/playwright install chromium || {
    echo "error: validate_export needs Chromium: install it, or set APLANTIDA_CHROMIUM=/path/to/it" >&2
    exit 1
  }
}

make_venv
install_packages
./scripts/install_web.sh
[ "$dev" = no ] || ./scripts/install_mongo.sh
find_chromium

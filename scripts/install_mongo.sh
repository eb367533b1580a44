#!/usr/bin/env bash
# Builds the database that the tests export from: FerretDB on SQLite, which speaks
# MongoDB's protocol, from tests/mongo_database into .venv/bin/mongo_server (half a
# minute, Go needed). Nothing is built where there is a MongoDB to test with: mongod on
# PATH, or one that APLANTIDA_TEST_MONGODB_URI names. Quick when it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

sources=tests/mongo_database
server=.venv/bin/mongo_server
stamp=.venv/.mongo_server
# go.mod says the least version of Go.
read -r _ least < <(grep '^go ' "$sources/go.mod")

is_new_enough() { # version, e.g. 1.24.2
  [ "$(printf '%s\n' "$least" "$1" | sort -V | head -n 1)" = "$least" ]
}

find_go() {
  local candidate version
  for candidate in "${GO:-}" go /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
    version=$("$candidate" env GOVERSION 2>/dev/null) || continue
    if is_new_enough "${version#go}"; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

apt_install_go() { # as root on Debian or Ubuntu, when theirs is new enough
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq || return 1
  local version
  version=$(apt-cache policy golang-go | sed -n 's/ *Candidate: *\([0-9]*:\)\?\([0-9.]*\).*/\2/p')
  [ -n "$version" ] && is_new_enough "$version" || return 1
  echo "setup: apt-get install golang-go"
  DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends golang-go >/dev/null
}

if [ -n "${APLANTIDA_TEST_MONGODB_URI:-}" ] || command -v mongod >/dev/null; then
  exit 0
fi
want=$(cat "$sources"/* | sha256sum | cut -c1-16)
if [ -x "$server" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
  exit 0
fi
if ! go=$(find_go) && ! { apt_install_go && go=$(find_go); }; then
  what="no Go $least or newer and no mongod on PATH: install one, or set APLANTIDA_TEST_MONGODB_URI"
  if [ "${CI:-}" = true ]; then
    echo "error: $what" >&2
    exit 1
  fi
  echo "setup: $what; until then the tests that need a database are skipped" >&2
  exit 0
fi
echo "setup: building $server with $("$go" env GOVERSION)"
# Under another name until it is whole, so that a kill leaves no half server.
rm -f "$stamp" .venv/bin/.mongo_server.*
partial=$PWD/.venv/bin/.mongo_server.$$
trap 'rm -f "$partial"' EXIT
CGO_ENABLED=0 GOTOOLCHAIN=local "$go" build -C "$sources" -trimpath -ldflags=-s \
  -o "$partial" .
mv "$partial" "$server"
echo "$want" >"$stamp"

#!/usr/bin/env bash
# Builds the host and the example guests, with what is missing for it, and says how long each took.
#
#   build.sh            what a user needs
#   build.sh --tests    besides, the host with failpoints, which only tests run
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh

case ${1:-} in
  "" | --tests) ;;
  *)
    echo "build: unknown argument $1; known: --tests" >&2
    exit 1
    ;;
esac

step() {
  local what=$1 begin=$SECONDS
  shift
  echo "== $what" >&2
  "$@"
  echo "== $what: $((SECONDS - begin)) s" >&2
}

step "setup" scripts/setup.sh
if [ ! -d "$CARGO_TARGET_DIR/debug/deps" ]; then
  echo "The first build compiles all dependencies: about 15 minutes of CPU time. Later ones take seconds." >&2
fi
# Always the whole workspace: with -p the dependencies would be built again, with other features.
step "host" cargo build --workspace
# The same dependencies, and only the host again: the build folder is shared, and what it ends in lies apart.
if [ "${1:-}" = --tests ]; then
  step "host with failpoints" env CARGO_BUILD_BUILD_DIR="$CARGO_TARGET_DIR" \
    CARGO_TARGET_DIR="$CARGO_TARGET_DIR/failpoints" cargo build --workspace --features weir/failpoints --bin weir
fi
step "guests" scripts/build-guests.sh
if [ "$(command -v weir)" != "$CARGO_TARGET_DIR/debug/weir" ]; then
  echo "weir is built. To have it on the path of this shell: export PATH=$CARGO_TARGET_DIR/debug:\$PATH" >&2
fi

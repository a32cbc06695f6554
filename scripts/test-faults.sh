#!/usr/bin/env bash
# Kills the job at 200 random moments and 20 times at each failpoint, and lets an oracle say what that cost: 28 minutes.
# From a clean tree and without arguments it writes fault-results.json. Goes on where a run of the same commit was
# interrupted. Arguments: those of weir-faults, see --help; --seed N --case N repeats one case.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
scripts/setup.sh --kafka
scripts/build.sh --tests

results=fault-results.json
state() { git status --porcelain -- . ":!$results"; }
commit=$(git rev-parse HEAD)
kept=$CARGO_TARGET_DIR/faults/$commit
if [ -n "$(state)" ]; then kept=$(mktemp -d); fi
if [ $# -gt 0 ] || [ -n "$(state)" ]; then
  echo "== writes no $results: that takes a clean tree and no arguments" >&2
  exec timeout 75m "$CARGO_TARGET_DIR/debug/weir-faults" --kept "$kept" "$@"
fi
exec timeout 75m "$CARGO_TARGET_DIR/debug/weir-faults" --kept "$kept" --write "$results" --commit "$commit" --date "$(date -u +%F)"

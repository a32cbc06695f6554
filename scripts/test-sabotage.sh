#!/usr/bin/env bash
# Breaks one rule of exactly-once after the other in a scratch copy, and demands that kill runs or tests notice: 26 to
# 35 minutes. From a clean tree and without arguments it writes sabotage-results.json. Arguments: names of patches of
# tests/sabotage.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
scripts/setup.sh --kafka
scripts/build.sh --tests
exec timeout 60m python3 tests/sabotage/run.py "$@"

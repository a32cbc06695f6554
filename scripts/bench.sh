#!/usr/bin/env bash
# Measures what Weir promises, each figure beside its bound, over a real Kafka. Without arguments, and from a clean
# tree, it writes bench-results.json. Arguments: those of weir-bench, see --help.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
scripts/setup.sh --kafka
scripts/build.sh
exec "$CARGO_TARGET_DIR/debug/weir-bench" "$@"

#!/usr/bin/env bash
# All tests: the guests' own, the demo on a pseudo-terminal, and the host workspace with a real Kafka. Goes
# through all of them, and fails if one failed. The host's come last: their results end the output.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
scripts/setup.sh --tests
scripts/build.sh --tests

status=0
echo "== guests, natively" >&2
claim_target "$WEIR_CACHE/guests-native"
CARGO_TARGET_DIR=$WEIR_CACHE/guests-native cargo test --workspace --locked --no-fail-fast \
  --manifest-path guest-examples/Cargo.toml || status=1
echo "== demo" >&2
python3 tests/demo/test_demo.py || status=1
echo "== host" >&2
cargo test --workspace --locked --no-fail-fast || status=1
exit $status

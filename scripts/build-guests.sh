#!/usr/bin/env bash
# Builds the example guests as components into guest-examples/bin, where the example jobs look for them. Installs
# what is missing for it, see setup-guest-toolchain.sh. Arguments go to cargo, e.g. --package count.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
unset RUSTUP_TOOLCHAIN
RUSTUP_TOOLCHAIN=$(scripts/setup-guest-toolchain.sh)
export RUSTUP_TOOLCHAIN
# Apart from the host's artefacts, which another compiler made.
export CARGO_TARGET_DIR=$WEIR_CACHE/guests
claim_target "$CARGO_TARGET_DIR"

# From there, so that cargo reads the settings of .cargo/config.toml.
(cd guest-examples && cargo build --locked --release --target wasm32-wasip2 "$@")

# Each into place at once: a running job may be reading the old one.
mkdir -p guest-examples/bin
for component in "$CARGO_TARGET_DIR"/wasm32-wasip2/release/*.wasm; do
  name=${component##*/}
  name=${name//_/-}
  if ! cmp -s "$component" "guest-examples/bin/$name"; then
    cp "$component" "guest-examples/bin/$name.tmp"
    mv "guest-examples/bin/$name.tmp" "guest-examples/bin/$name"
  fi
done

#!/usr/bin/env bash
# Builds the example guests by each route that leads from Rust to a component, through the SDK and without it, and runs
# what comes out through the golden cases over files: what comes out of a job must not depend on the route. Then it runs
# the commands of the guide that need cargo-component. Goes through all routes, and fails if one failed.
#
# Outside of `make test`: cargo-component takes about 11 CPU-minutes to install, once.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
scripts/setup.sh --guest-routes
scripts/build.sh
PATH=$WEIR_CACHE/tools/bin:$PATH
# cargo-component wants wasm32-wasip1, even to build for another target.
guest_toolchain=$(env -u RUSTUP_TOOLCHAIN GUEST_TARGETS="wasm32-wasip2 wasm32-wasip1" scripts/setup-guest-toolchain.sh)
results=()
failed=no

# Says what came of a step, and goes on.
check() {
  local what=$1 begin=$SECONDS result=ok
  shift
  echo "== $what" >&2
  if ! "$@"; then
    result=FAILED
    failed=yes
  fi
  results+=("$(printf '%-58s %-6s %4d s' "$what" "$result" $((SECONDS - begin)))")
  [ $result = ok ]
}

# Builds every example into a folder, beginning with nothing: a component that is missing fails its case.
build() {
  local folder=$1 target=$2 component
  shift 2
  rm -rf "${folder:?}/bin" "$folder/target/$target"/release/*.wasm
  (
    export RUSTUP_TOOLCHAIN=$guest_toolchain CARGO_TARGET_DIR=$folder/target
    claim_target "$CARGO_TARGET_DIR"
    cd guest-examples
    "$@" --locked --release --target "$target" --workspace
  ) || return 1
  mkdir "$folder/bin"
  for component in "$folder/target/$target"/release/*.wasm; do
    component=${component##*/}
    cp "$folder/target/$target/release/$component" "$folder/bin/${component//_/-}"
  done
}

golden() { WEIR_GUESTS=$1/bin cargo test --quiet --workspace --locked --test golden over_files; }

route() {
  local name=$1 folder=$WEIR_CACHE/guest-routes/$2 target=$3
  shift 3
  mkdir -p "$folder"
  if check "$name: build" build "$folder" "$target" "$@"; then check "$name: golden cases" golden "$folder" || true; fi
}

guide() {
  cargo test --quiet --workspace --locked --test guide -- --ignored
}

route "cargo, wasm32-wasip2" cargo wasm32-wasip2 cargo build
route "cargo-component, wasm32-wasip1" component-wasip1 wasm32-wasip1 cargo component build
route "cargo-component, wasm32-wasip2" component-wasip2 wasm32-wasip2 cargo component build
check "guide, With cargo-component" guide || true

printf 'guest routes: %s\n' "${results[@]}"
if [ $failed = yes ]; then
  echo "guest routes: FAILED"
  exit 1
fi
echo "guest routes: all lead to the same output"

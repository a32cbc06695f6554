# shellcheck shell=bash
# Where the build and its tools keep what is slow to make. Sourced by the Makefile's scripts and by CI; for a
# shell of your own: source scripts/env.sh
#
#   WEIR_CACHE        everything below; default is the user's cache folder
#   CARGO_TARGET_DIR  outside the clone, so that a fresh clone builds on what an earlier one compiled
#   WEIR_ROCKSDB      prebuilt (default on x86-64 Linux): RocksDB's library from its Maven jar
#                     source: compile it, about 37 CPU-minutes; what releases ship
#   WEIR_KAFKA_LIBS   the jars of the Kafka that tests and demo run

export WEIR_CACHE=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$WEIR_CACHE/target}
WEIR_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export WEIR_KAFKA_LIBS=${WEIR_KAFKA_LIBS:-$WEIR_CACHE/kafka}

# The version that the rocksdb crate in Cargo.lock binds to; scripts/setup.sh holds the library's checksum.
export WEIR_ROCKSDB_VERSION=11.8.1
if [ -z "${WEIR_ROCKSDB:-}" ]; then
  case $(uname -sm) in
    "Linux x86_64") WEIR_ROCKSDB=prebuilt ;;
    *) WEIR_ROCKSDB=source ;;
  esac
fi
export WEIR_ROCKSDB
if [ "$WEIR_ROCKSDB" = prebuilt ]; then
  export ROCKSDB_LIB_DIR=${ROCKSDB_LIB_DIR:-$WEIR_CACHE/rocksdb-$WEIR_ROCKSDB_VERSION}
else
  unset ROCKSDB_LIB_DIR
fi

# rust-toolchain.toml names a version. Where rustup has that compiler under another name only ("stable"), use it
# instead of downloading it again.
use_installed_toolchain() {
  local wanted toolchain folder=${RUSTUP_HOME:-$HOME/.rustup}/toolchains
  wanted=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$1/rust-toolchain.toml")
  if [ -n "${RUSTUP_TOOLCHAIN:-}" ] || compgen -G "$folder/$wanted-*" > /dev/null; then return; fi
  for toolchain in "$folder"/*; do
    if [ "$("$toolchain/bin/rustc" --version 2> /dev/null | cut -d' ' -f2)" = "$wanted" ]; then
      export RUSTUP_TOOLCHAIN=${toolchain##*/}
      return
    fi
  done
}
use_installed_toolchain "$WEIR_ROOT"
unset -f use_installed_toolchain

# Cargo takes what another clone built for this one's if it is newer than this clone's sources; the other clone's code
# and paths are in it. So a target folder that another clone used forgets the crates that lie in a clone.
claim_target() {
  local owner=$1/clone name fingerprint
  if [ -e "$owner" ] && [ "$(< "$owner")" = "$WEIR_ROOT" ]; then return; fi
  while read -r name; do
    for fingerprint in "$1"/{debug,release,wasm32-wasip2/release}/.fingerprint/"$name"-*; do
      rm -rf "$fingerprint"
    done
  done < <(find "$WEIR_ROOT" -maxdepth 4 -name Cargo.toml -exec sed -n 's/^name = "\(.*\)"$/\1/p' {} +)
  mkdir -p "$1"
  echo "$WEIR_ROOT" > "$owner"
}
claim_target "$CARGO_TARGET_DIR"

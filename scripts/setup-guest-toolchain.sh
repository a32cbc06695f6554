#!/usr/bin/env bash
# Makes `cargo build --target wasm32-wasip2` work, and prints the rustup toolchain to use for it as its only output:
#
#   export RUSTUP_TOOLCHAIN=$(scripts/setup-guest-toolchain.sh)
#
#   1. The active toolchain has the target's standard library (`rustup target add wasm32-wasip2`): it is printed,
#      nothing is done.
#   2. GUEST_ALLOW_RUSTUP=1: `rustup target add` is run first. Off by default, for machines that cannot download
#      from Rust's servers.
#   3. Otherwise, on Debian: the packages rustc-web and rust-web-src are installed, the standard library is built
#      once from their source, and linked as the rustup toolchain "guest-wasm".
#
# Safe to run again, and several at a time. GUEST_TARGETS: targets instead of wasm32-wasip2. GUEST_TOOLCHAIN_DIR:
# where the toolchain of 3 is kept.
set -euo pipefail

name=${GUEST_TOOLCHAIN:-guest-wasm}
toolchain=${GUEST_TOOLCHAIN_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/$name}
read -ra targets <<< "${GUEST_TARGETS:-wasm32-wasip2}"
host=x86_64-unknown-linux-gnu

log() { echo "[guest-toolchain] $*" >&2; }
die() {
  log "$*"
  exit 1
}

# Settings of the caller's build, and a clone's rust-toolchain.toml and .cargo/config, are not for the library.
unset RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS RUSTFLAGS CARGO_TARGET_DIR CARGO_BUILD_TARGET
cd /
if [ "${GUEST_ALLOW_RUSTUP:-0}" != 1 ]; then
  # rustup would otherwise try to download at a mere query.
  export RUSTUP_AUTO_INSTALL=0 RUSTUP_DIST_SERVER=http://127.0.0.1:9 RUSTUP_UPDATE_ROOT=http://127.0.0.1:9/rustup
fi

has_std() { compgen -G "$1/lib/rustlib/$2/lib/libstd-*.rlib" > /dev/null; }

use_rustup() {
  local target
  if [ "${GUEST_ALLOW_RUSTUP:-0}" = 1 ]; then rustup target add "${targets[@]}" >&2; fi
  for target in "${targets[@]}"; do has_std "$sysroot" "$target" || return 1; done
  rustup show active-toolchain | cut -d' ' -f1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs those of the packages that are missing; refreshes apt's lists when they do not know them.
install_packages() {
  local missing=() package try
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  command -v apt-get > /dev/null || die "no standard library for ${targets[*]}: run \`rustup target add ${targets[*]}\`"
  local apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq)
  apt-cache show "${missing[@]}" > /dev/null 2>&1 || "${apt[@]}" update >&2
  log "installing ${missing[*]}"
  for try in 1 2 3; do
    if "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2; then return; fi
    log "apt-get failed (try $try of 3)"
    sleep $((try * 5))
    "${apt[@]}" update >&2 || true
  done
  die "could not install ${missing[*]}"
}

# Debian's compiler, with $toolchain as its sysroot, and rustup's cargo and linkers. The links are made anew each
# time: the rustup toolchain may have moved.
assemble_toolchain() {
  local version tool
  version=$(/usr/bin/rustc --version)
  if [ "$(cat "$toolchain/version" 2> /dev/null)" != "$version" ]; then
    rm -rf "$toolchain"
    mkdir -p "$toolchain/bin" "$toolchain/lib/rustlib"
    for tool in rustc rustdoc; do
      printf '#!/bin/sh\nexec /usr/bin/%s --sysroot "%s" "$@"\n' "$tool" "$toolchain" > "$toolchain/bin/$tool"
      chmod +x "$toolchain/bin/$tool"
    done
    echo "$version" > "$toolchain/version"
  fi
  mkdir -p "$toolchain/lib/rustlib/$host/bin"
  ln -sfn "/usr/lib/rustlib/$host/lib" "$toolchain/lib/rustlib/$host/lib"
  ln -sfn "$source" "$toolchain/lib/rustlib/src"
  ln -sfn "$sysroot/bin/cargo" "$toolchain/bin/cargo"
  for tool in rust-lld wasm-component-ld; do
    [ -x "$sysroot/lib/rustlib/$host/bin/$tool" ] || die "$tool is not in the rustup toolchain"
    ln -sfn "$sysroot/lib/rustlib/$host/bin/$tool" "$toolchain/lib/rustlib/$host/bin/$tool"
  done
}

# Not from the dependencies that Debian ships with the source: what wasip2 needs is not among them.
build_std() {
  local target=$1 library=$toolchain/lib/rustlib/$1/lib build=$toolchain/build-$1 flags=-Zforce-unstable-if-unmarked
  log "building the standard library for $target with $(/usr/bin/rustc --version)"
  rm -rf "$build" "$toolchain/lib/rustlib/$target"
  mkdir -p "$library.new"
  flags+=" -Cembed-bitcode=yes"
  if [[ $target = *wasi* ]]; then
    mkdir "$library.new/self-contained"
    cp /usr/lib/wasm32-wasi/{libc.a,crt1-command.o,crt1-reactor.o} "$library.new/self-contained/"
    flags+=" -Lnative=$library.new/self-contained"
  fi
  RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=guest-std RUSTFLAGS=$flags \
    "$sysroot/bin/cargo" build -q --locked --release --manifest-path "$source/rust/library/sysroot/Cargo.toml" \
    --target "$target" --target-dir "$build" --features "panic-unwind backtrace" >&2
  cp "$build/$target/release/deps/"*.rlib "$library.new/"
  rm -rf "$library.new"/libsysroot-* "$build"
  # The whole library or none: an interrupted build is done again.
  mv "$library.new" "$library"
}

sysroot=$(rustc --print sysroot) || die "rustc not found: install Rust with rustup first"
if use_rustup; then exit; fi

mkdir -p "$toolchain"
exec 9> "$toolchain.lock"
flock 9
packages=(rustc-web rust-web-src)
if [[ ${targets[*]} = *wasi* ]]; then packages+=(wasi-libc); fi
install_packages "${packages[@]}"
source=/usr/lib/rustlib/src
[ -d $source/rust/library/sysroot ] || die "$source/rust/library/sysroot is missing: rust-web-src does not fit"
assemble_toolchain
for target in "${targets[@]}"; do
  has_std "$toolchain" "$target" || build_std "$target"
done
rustup toolchain link "$name" "$toolchain" >&2
echo "$name"

#!/usr/bin/env bash
# Installs what the build needs and is not there: Debian packages by apt, and RocksDB's prebuilt library.
# Safe to run again: with nothing missing it ends in under a second.
#
#   setup.sh            to build
#   setup.sh --kafka    to build, and to run the demo with Kafka
#   setup.sh --tests    to build, and to run the tests: with Kafka, Prometheus and an S3 server
#   setup.sh --lint     to build, and shellcheck and cargo-deny
#   setup.sh --guest-routes   to build, and cargo-component
#
# WEIR_ROCKSDB=source compiles RocksDB with the host instead of taking the library from its Maven jar.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh

rocksdb_sha256=265c656af5c6502cb8d71db1a74858509f706cc47f1a5b6f603c736d11ce677d
cargo_deny_version=0.20.2
cargo_component_version=0.21.1
versitygw_version=v1.8.0

say() { echo "setup: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# The steps that take long say how long they took.
timed() {
  local what=$1 begin=$SECONDS
  shift
  say "$what ..."
  "$@"
  say "$what: $((SECONDS - begin)) s"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2> /dev/null)" = installed ]; }

# rocksdb's build runs bindgen, which needs libclang and its headers. Debian 12 has them without the whole of
# libclang-dev.
clang_packages() {
  if installed libclang-dev; then return; fi
  if installed libclang1-14 || apt-cache show libclang1-14 > /dev/null 2>&1; then
    printf '%s\n' libclang1-14 libclang-common-14-dev
  else
    echo libclang-dev
  fi
}

apt_install() {
  local try
  as_root apt-get -o DPkg::Lock::Timeout=600 update -qq || say "apt-get update failed; going on with the lists that are here"
  for try in 1 2 3; do
    if as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "$@" > /dev/null; then
      return
    fi
    say "apt-get install failed (try $try of 3)"
  done
  die "could not install: $*"
}

install_packages() {
  local package wanted missing=()
  wanted=(build-essential make pkg-config libssl-dev)
  mapfile -t -O ${#wanted[@]} wanted < <(clang_packages)
  if [ "$need_java" = yes ]; then wanted+=(unzip maven openjdk-17-jre-headless); fi
  if [ "$need_kafka" = yes ] && ! command -v python3 > /dev/null; then wanted+=(python3); fi
  if [ "$need_lint" = yes ]; then wanted+=(shellcheck); fi
  for package in "${wanted[@]}"; do
    case $package in
      # Any Java from 17 on and any Maven will do.
      openjdk-17-jre-headless) if java_at_least 17; then continue; fi ;;
      maven) if command -v mvn > /dev/null; then continue; fi ;;
    esac
    installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then timed "installing ${missing[*]}" apt_install "${missing[@]}"; fi
}

java_at_least() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge "$1" ]
}

# The jar that RocksDB's authors publish for Java holds the library with the whole C interface.
rocksdb_ready() { [ "$WEIR_ROCKSDB" != prebuilt ] || [ -s "$ROCKSDB_LIB_DIR/librocksdb.so" ]; }

fetch_rocksdb() {
  local scratch
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of this call
  trap "rm -rf '$scratch'" EXIT
  mvn -B -q -Dstyle.color=never dependency:copy "-Dartifact=org.rocksdb:rocksdbjni:$WEIR_ROCKSDB_VERSION" "-DoutputDirectory=$scratch"
  unzip -q -d "$scratch" "$scratch/rocksdbjni-$WEIR_ROCKSDB_VERSION.jar" librocksdbjni-linux64.so
  echo "$rocksdb_sha256  $scratch/librocksdbjni-linux64.so" | sha256sum --check --quiet \
    || die "RocksDB's library does not have the checksum in scripts/setup.sh"
  mkdir -p "$ROCKSDB_LIB_DIR"
  # Renamed into place: a build never sees half a library.
  cp "$scratch/librocksdbjni-linux64.so" "$ROCKSDB_LIB_DIR/librocksdb.so.new"
  mv "$ROCKSDB_LIB_DIR/librocksdb.so.new" "$ROCKSDB_LIB_DIR/librocksdb.so"
}

# The program only, out of Debian's package: installing that would start a service.
prometheus_ready() { [ -x "$WEIR_CACHE/prometheus/promtool" ]; }

fetch_prometheus() {
  local scratch
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of this call
  trap "rm -rf '$scratch'" EXIT
  chmod 755 "$scratch"
  (cd "$scratch" && apt-get download -qq prometheus > /dev/null) || (as_root apt-get update -qq && cd "$scratch" && apt-get download -qq prometheus > /dev/null)
  dpkg-deb -x "$scratch"/prometheus_*.deb "$scratch/package"
  mkdir -p "$WEIR_CACHE/prometheus"
  mv "$scratch/package/usr/bin/prometheus" "$scratch/package/usr/bin/promtool" "$WEIR_CACHE/prometheus/"
}

# A server of S3 over a folder, for the tests. Its module's caches are not kept.
versitygw_ready() { [ -x "$WEIR_CACHE/tools/bin/versitygw" ]; }

install_versitygw() {
  local scratch
  command -v go > /dev/null || die "no Go here, which the S3 server of the tests is compiled with: install it, then run this again"
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of this call
  trap "rm -rf '$scratch'" EXIT
  env GOTOOLCHAIN=local GOFLAGS=-modcacherw GOPATH="$scratch/path" GOCACHE="$scratch/cache" GOBIN="$scratch" \
    go install "github.com/versity/versitygw/cmd/versitygw@$versitygw_version"
  mkdir -p "$WEIR_CACHE/tools/bin"
  mv "$scratch/versitygw" "$WEIR_CACHE/tools/bin/versitygw"
}

# A debug build: it is run a few times a day and compiled on every new machine.
install_cargo_deny() {
  CARGO_TARGET_DIR=$WEIR_CACHE/tools/target cargo install cargo-deny --version "$cargo_deny_version" --locked \
    --debug --config 'profile.dev.debug=false' --root "$WEIR_CACHE/tools" --quiet
  rm -rf "$WEIR_CACHE/tools/target"
}

# As the guide to writing functions says.
install_cargo_component() {
  CARGO_TARGET_DIR=$WEIR_CACHE/tools/target-component cargo install cargo-component --version "$cargo_component_version" \
    --locked --root "$WEIR_CACHE/tools" --quiet
  rm -rf "$WEIR_CACHE/tools/target-component"
}

cargo_component_ready() {
  [ "$("$WEIR_CACHE/tools/bin/cargo-component" --version 2> /dev/null)" = "cargo-component $cargo_component_version" ]
}

cargo_deny_ready() { [ -x "$WEIR_CACHE/tools/bin/cargo-deny" ]; }

need_kafka=no
need_prometheus=no
need_s3=no
need_lint=no
need_component=no
for argument in "$@"; do
  case $argument in
    --kafka) need_kafka=yes ;;
    --tests)
      need_kafka=yes
      need_prometheus=yes
      need_s3=yes
      ;;
    --lint) need_lint=yes ;;
    --guest-routes) need_component=yes ;;
    *) die "unknown argument $argument; known: --kafka, --tests, --lint, --guest-routes" ;;
  esac
done
need_java=$need_kafka
rocksdb_ready || need_java=yes

command -v cargo > /dev/null || die "no Rust here: install it with rustup, then run this again"
if command -v dpkg-query > /dev/null; then
  install_packages
else
  say "this is no Debian: install a C++ compiler, make, pkg-config, libclang, OpenSSL's headers, and for Kafka Java 17 and Maven yourself"
fi
rocksdb_ready || timed "fetching RocksDB $WEIR_ROCKSDB_VERSION (92 MB)" fetch_rocksdb
if [ $need_kafka = yes ]; then tests/kafka/kafka.sh fetch; fi
if [ $need_prometheus = yes ] && ! prometheus_ready; then timed "fetching Prometheus (19 MB)" fetch_prometheus; fi
if [ $need_s3 = yes ] && ! versitygw_ready; then timed "compiling versitygw $versitygw_version" install_versitygw; fi
if [ $need_lint = yes ] && ! cargo_deny_ready; then
  timed "compiling cargo-deny $cargo_deny_version" install_cargo_deny
fi
if [ $need_component = yes ] && ! cargo_component_ready; then
  timed "compiling cargo-component $cargo_component_version (11 minutes of CPU time)" install_cargo_component
fi
say "ready"

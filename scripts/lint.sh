#!/usr/bin/env bash
# Every check that needs no run of the program. Goes through all of them and fails if one failed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
scripts/setup.sh --lint
PATH=$WEIR_CACHE/tools/bin:$PATH

guests=guest-examples/Cargo.toml
failed=()

check() {
  local what=$1 begin=$SECONDS
  shift
  echo "== $what" >&2
  if "$@"; then
    echo "== $what: ok, $((SECONDS - begin)) s" >&2
  else
    echo "== $what: FAILED" >&2
    failed+=("$what")
  fi
}

# Checks guests with the host's compiler, apart from the host's artefacts.
claim_target "$WEIR_CACHE/guests-native"
for_guests() { CARGO_TARGET_DIR=$WEIR_CACHE/guests-native "$@"; }

shell_files() {
  git ls-files --cached --others --exclude-standard -z -- '*.sh' .ci/run
}

check_shell() { shell_files | xargs -0 shellcheck -x; }

check_python() {
  git ls-files --cached --others --exclude-standard -z -- '*.py' | xargs -0 -r python3 -c '
import ast, sys
for path in sys.argv[1:]:
    ast.parse(open(path, encoding="utf-8").read(), path)
'
}

# Each alone: given together they would be applied one on top of the other.
check_patches() {
  local patch
  for patch in tests/sabotage/*.patch; do git apply --check "$patch" || return 1; done
}

check "lock files" cargo metadata --locked --format-version 1 > /dev/null
check "format" cargo fmt --all --check
check "format of guests" cargo fmt --all --check --manifest-path $guests
check "shellcheck" check_shell
check "python syntax" check_python
check "patches of sabotage" check_patches
check "licences, bans, sources" cargo deny --locked check bans licenses sources
check "licences, bans, sources of guests" cargo deny --locked --manifest-path $guests check bans licenses sources
check "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
check "clippy of failpoints" cargo clippy --workspace --all-targets --locked --features weir/failpoints -- -D warnings
check "clippy of guests" for_guests cargo clippy --workspace --all-targets --locked --manifest-path $guests -- -D warnings
check "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked --quiet
check "documentation of the SDK" for_guests env RUSTDOCFLAGS=-Dwarnings \
  cargo doc --workspace --no-deps --locked --quiet --manifest-path $guests

if [ ${#failed[@]} -gt 0 ]; then
  printf 'lint: failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "lint: all checks passed" >&2

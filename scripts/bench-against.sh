#!/usr/bin/env bash
# Compares this tree's figures with those of an earlier commit: both are built, and their measurements taken in turns,
# so that what disturbs the machine disturbs both. Writes no file of the repository.
#
#   bench-against.sh COMMIT [TURNS] [FIGURE...]    3 turns and the figures of throughput by default
#
# Ends with 1 if a figure's median has fallen by more than 5 %.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh

usage() {
  echo "usage: ${0##*/} COMMIT [TURNS] [FIGURE...]" >&2
  exit 2
}
commit=$(git rev-parse --verify --quiet "${1:-}^{commit}") || usage
turns=${2:-3}
[[ $turns =~ ^[1-9][0-9]*$ ]] || usage
figures=("${@:3}")
if [ ${#figures[@]} = 0 ]; then figures=(boundary passthrough_over wordcount_ keyed_average_per allocations); fi

# The earlier commit has a clone and a target folder of its own, which the next comparison finds again.
other=$WEIR_CACHE/against
if [ ! -e "$other/clone/.git" ]; then git clone --quiet --shared . "$other/clone"; fi
git -C "$other/clone" fetch --quiet "$PWD" "$commit"
git -C "$other/clone" checkout --quiet --detach "$commit"

scripts/setup.sh --kafka
scripts/build.sh
env CARGO_TARGET_DIR="$other/target" "$other/clone/scripts/build.sh"

log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
# A figure that misses its bound here is told by the comparison.
measure() {
  { "$2/debug/weir-bench" --rounds 1 "${figures[@]}" 2>&1 > "$log/table" || [ $? = 1 ]; } | tee -a "$log/$1" >&2
}
for ((turn = 1; turn <= turns; turn++)); do
  echo "== turn $turn of $turns: ${commit:0:7}" >&2
  (cd "$other/clone" && measure before "$other/target")
  echo "== turn $turn of $turns: this tree" >&2
  measure after "$CARGO_TARGET_DIR"
done

python3 - "$log/before" "$log/after" << 'PYTHON'
import re, statistics, sys

def medians(path):
    rounds = {}
    for line in open(path, encoding="utf-8"):
        if found := re.fullmatch(r"round \d+: (\w+) ([\d.]+)", line.strip()):
            rounds.setdefault(found[1], []).append(float(found[2]))
    return {name: statistics.median(values) for name, values in rounds.items()}

before, after = map(medians, sys.argv[1:])
worse = ("_ns", "_ms", "_mb", "_bytes", "sdk_over_columns", "allocations_per_record")
fallen = False
print(f"{'figure':32}{'before':>14}{'after':>14}{'gain':>9}")
for name in sorted(before.keys() & after.keys()):
    ratio = before[name] / after[name] if name.endswith(worse) or name.startswith("recovery_") else after[name] / before[name]
    yardstick = name.startswith(("copy_", "latency_without_weir_"))
    fallen |= ratio < 0.95 and not yardstick
    print(f"{name:32}{before[name]:14.4f}{after[name]:14.4f}{(ratio - 1) * 100:+8.1f}%")
sys.exit(fallen)
PYTHON

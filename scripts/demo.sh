#!/usr/bin/env bash
# Word count on this machine, with no Kafka: builds what is missing, runs the job and shows the counts as they
# grow, until Ctrl-C. DEMO_SKIP_BUILD=1 takes the binaries as they are.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
[ "${DEMO_SKIP_BUILD:-0}" = 1 ] || scripts/build.sh
# shellcheck source=scripts/live.sh
source scripts/live.sh

job=guest-examples/word-count/job.yaml
cat << T

weir run $job

  The function  guest-examples/word-count/count/src/lib.rs: edit it, then run make demo again
  The job       $job: source, operators and sink in one file
  Next          make demo-kafka: the same functions over a real Kafka

Ctrl-C ends it.

T
mkfifo "$demo_folder/updates"
start_viewer "$demo_folder/updates" "on this machine"
spawn "$weir" run "$job" < /dev/null > "$demo_folder/updates" 2> "$demo_folder/weir.log"
await_weir "${demo_processes[0]}" "$demo_folder/weir.log"

#!/usr/bin/env bash
# Word count over a real Kafka: starts a broker on free ports, writes lines to one topic, runs the job, and shows
# what another consumer reads from the topic of counts, until Ctrl-C. Nothing of it stays: no process, no data.
# DEMO_SKIP_BUILD=1 takes the binaries as they are.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
source scripts/env.sh
[ "${DEMO_SKIP_BUILD:-0}" = 1 ] || scripts/build.sh
tests/kafka/kafka.sh fetch
# shellcheck source=scripts/live.sh
source scripts/live.sh

export WEIR_KAFKA_RUN=$demo_folder/kafka WEIR_KAFKA_OWNER=$$
demo_cleanup() { tests/kafka/kafka.sh wipe; }

begin=$SECONDS
echo "Starting Kafka ..."
brokers=$(tests/kafka/kafka.sh start)
echo "Kafka is ready on $brokers ($((SECONDS - begin)) s)"
"$weir" topics --brokers "$brokers" create lines --partitions 4
"$weir" topics --brokers "$brokers" create counts --partitions 4

# The job file as it stands, but for this broker's address and a folder that is not its own.
job=guest-examples/word-count/job-kafka.yaml
folder=$PWD/guest-examples/word-count
sed -e "s|\(brokers: *\)\"\?[^\", }]*\"\?|\1\"$brokers\"|" -e "s|\(component: *\)\([^/ ]\)|\1$folder/\2|" \
  "$job" > "$demo_folder/job.yaml"

cat << T

weir run $job

  The job       $job: Kafka in, Kafka out
  Look inside   $weir topics --brokers $brokers list
  Next          README.md

Ctrl-C ends it.

T

# Lines of words with a skew, about a thousand a second.
write_lines() {
  while :; do
    awk -v seed="$RANDOM" '
      BEGIN {
        srand(seed)
        n = split("the stream of records flows through the weir and the weir counts the words of the stream" \
          " key partition offset watermark window state commit epoch broker topic", word, " ")
        for (i = 0; i < 100; i++) {
          line = ""
          for (j = 0; j < 8; j++) line = line word[1 + int(n * rand() * rand())] " "
          print line
        }
      }'
    sleep 0.1
  done
}
export -f write_lines

mkfifo "$demo_folder/lines" "$demo_folder/updates"
start_viewer "$demo_folder/updates" "read from the topic counts"
spawn "$weir" run "$demo_folder/job.yaml" < /dev/null > "$demo_folder/weir.out" 2> "$demo_folder/weir.log"
run=$!
# Opened for reading too, which does not wait for the reader.
spawn bash -c write_lines < /dev/null 1<> "$demo_folder/lines"
spawn "$weir" topics --brokers "$brokers" produce lines < "$demo_folder/lines" > /dev/null 2> "$demo_folder/produce.log"
spawn "$weir" topics --brokers "$brokers" consume counts --from-beginning \
  < /dev/null > "$demo_folder/updates" 2> "$demo_folder/consume.log"
await_weir "$run" "$demo_folder/weir.log"

#!/usr/bin/env bash
# A real Apache Kafka for tests, the demo and benchmarks: one to three combined broker and controller nodes
# (KRaft) on loopback. Needs Java 17; "fetch" needs Maven too.
#
#   kafka.sh fetch                  jars, a class-data archive and a format seed, once
#   kafka.sh start [NODES]          start what is not running; prints the bootstrap addresses when all are ready
#   kafka.sh start-node I           start node I again and wait until it is ready
#   kafka.sh kill I | term I        end node I at once | let it shut down; returns when it is gone
#   kafka.sh stop | wipe            end all nodes | end all nodes at once and delete their data
#   kafka.sh ps                     pid, memory and state of each node
#   kafka.sh bootstrap              prints the bootstrap addresses
#   kafka.sh topic NAME PARTITIONS [KEY=VALUE...]   create a topic with these topic settings
#   kafka.sh tool CLASS ARGS...     any of Kafka's own tools, such as org.apache.kafka.tools.TopicCommand
#
# Environment:
#   WEIR_KAFKA_RUN     folder for data, logs and pids of one cluster; required but for fetch and tool
#   WEIR_KAFKA_LIBS    folder of the jars; default $WEIR_CACHE/kafka
#   WEIR_KAFKA_OWNER   a pid: when that process is gone, the cluster is killed, however the process ended
#   WEIR_KAFKA_PORT    first port; default: free ports. A cluster keeps its ports when it is started again
#   WEIR_KAFKA_EXTRA   a file with more broker properties
#   WEIR_KAFKA_LISTENER  one more listener for clients, PROTOCOL://HOST:PORT; what it needs goes into the file.
#                        With @HOST:PORT behind it, clients are told that address; a name PROXIED_PROTOCOL tells it apart
#   WEIR_KAFKA_HEAP    heap of a node; default 512m
#   WEIR_KAFKA_JIT     full = optimising compiler, for benchmarks; default quick: starts in half the time
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
self=$here/kafka.sh
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
libs=${WEIR_KAFKA_LIBS:-$cache/kafka}
run=${WEIR_KAFKA_RUN:-}

die() {
  echo "kafka.sh: $*" >&2
  exit 1
}

# The class-data archive is bound to the exact class path, hence a sorted list of files and no wildcard.
class_path() { printf '%s:' "$libs"/*.jar; }

java_options() {
  local tier=1
  [ "${WEIR_KAFKA_JIT:-quick}" = full ] && tier=4
  options=(
    -XX:+UseSerialGC "-XX:TieredStopAtLevel=$tier" -XX:-UsePerfData -Xshare:auto
    -Djava.awt.headless=true -Djava.net.preferIPv4Stack=true
    "-Dlog4j2.configurationFile=$here/log4j2.properties"
  )
  if [ -s "$libs/kafka.jsa" ]; then options+=("-XX:SharedArchiveFile=$libs/kafka.jsa"); fi
}

require_run() {
  [ -n "$run" ] || die "set WEIR_KAFKA_RUN to a folder for the cluster's data and logs"
  case $run in
    /*) ;;
    *) run=$PWD/$run ;;
  esac
  export WEIR_KAFKA_RUN=$run
}

# True while the recorded pid is our broker and not another process that was given the same pid.
# Starts no subprocess, because it is polled.
alive() {
  local pid words
  { read -r pid < "$run/node$1/pid" && mapfile -d '' -t words < "/proc/$pid/cmdline"; } 2> /dev/null || return 1
  [ ${#words[@]} -gt 0 ] && [ "${words[-1]}" = "$run/node$1/server.properties" ]
}

# The broker logs this line once it is registered and unfenced.
ready() { grep -q 'Kafka Server started' "$run/node$1/server.log"; }

nodes() {
  local folder
  for folder in "$run"/node[0-9]*; do
    if [ -d "$folder" ]; then echo "${folder##*/node}"; fi
  done | sort -n
}

# Node I serves clients on the first port + 2 * (I - 1) and the other controllers on the port after that.
client_port() { echo $(($1 + 2 * ($2 - 1))); }
controller_port() { echo $(($1 + 2 * $2 - 1)); }

properties() {
  local node=$1 count=$2 first_port=$3 folder=$4
  local replicas in_sync voters=() client
  replicas=$((count < 3 ? count : 3))
  in_sync=$((replicas > 1 ? replicas - 1 : 1))
  local i
  for i in $(seq "$count"); do voters+=("$i@127.0.0.1:$(controller_port "$first_port" "$i")"); done
  client=127.0.0.1:$(client_port "$first_port" "$node")
  local more=${WEIR_KAFKA_LISTENER:-} protocol advertised
  protocol=${more%%:*}
  advertised=$more
  case $more in
    *@*)
      advertised=$protocol://${more#*@}
      more=${more%@*}
      ;;
  esac
  cat << P
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$(IFS=,; echo "${voters[*]}")
listeners=PLAINTEXT://$client,CONTROLLER://127.0.0.1:$(controller_port "$first_port" "$node")${more:+,$more}
advertised.listeners=PLAINTEXT://$client${more:+,$advertised}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT${more:+,$protocol:${protocol#PROXIED_}}
log.dirs=$folder/data
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=4
# Groups, aborts and fail-over are quick, so that tests need not wait for production time-outs.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controlled.shutdown.max.retries=1
# Small: the log cleaner alone takes 128 MiB of heap by default.
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
background.threads=2
log.segment.bytes=268435456
# The files of a deleted topic go after a second, not a minute. A topic's own file.delete.delay.ms does not say so:
# deleted partitions wait as long as the broker's.
log.segment.delete.delay.ms=1000
P
  if [ -n "${WEIR_KAFKA_EXTRA:-}" ]; then cat "$WEIR_KAFKA_EXTRA"; fi
}

launch() {
  local folder=$run/node$1 options java_extra=()
  [ -s "$folder/server.properties" ] || die "no node $1 in $run: start the cluster first"
  if alive "$1"; then return; fi
  java_options
  # Set by "fetch" for the run whose classes go into the archive.
  if [ -n "${KAFKA_ARCHIVE_AT_EXIT:-}" ]; then java_extra=("-XX:ArchiveClassesAtExit=$KAFKA_ARCHIVE_AT_EXIT"); fi
  rm -f "$folder/data/.lock"
  : > "$folder/server.log"
  setsid nohup java -Xms64m "-Xmx${WEIR_KAFKA_HEAP:-512m}" "${java_extra[@]}" "${options[@]}" \
    "-Dkafka.logs.dir=$folder" -cp "$(class_path)" kafka.Kafka "$folder/server.properties" \
    >> "$folder/server.log" 2>&1 < /dev/null &
  echo $! > "$folder/pid"
}

# Waits until all the nodes named are ready. Returns 1 when one ended, with the end of its log on stderr.
await_ready() {
  local node deadline=$((SECONDS + 90))
  for node in "$@"; do
    until ready "$node"; do
      # Not "alive": just after it was started the process has yet to become the broker.
      if ! kill -0 "$(cat "$run/node$node/pid")" 2> /dev/null; then
        tail -n 20 "$run/node$node/server.log" >&2
        echo "kafka.sh: node $node ended while it was starting" >&2
        return 1
      fi
      [ $SECONDS -lt $deadline ] || die "node $node was not ready after 90 s; see $run/node$node/server.log"
      sleep 0.05
    done
  done
}

# Waits SECONDS for the nodes to end and then kills them: of three nodes told to stop at once the last one has
# no quorum left and would wait for it.
await_gone() {
  local deadline=$((SECONDS + $1)) node
  shift
  for node in "$@"; do
    while alive "$node" && [ $SECONDS -lt $deadline ]; do sleep 0.05; done
    if alive "$node"; then kill -9 "$(cat "$run/node$node/pid")" 2> /dev/null || true; fi
    while alive "$node"; do sleep 0.05; done
    rm -f "$run/node$node/pid"
  done
}

signal() {
  alive "$2" || die "node $2 is not running"
  kill "-$1" "$(cat "$run/node$2/pid")"
}

# A port range outside the kernel's usual ephemeral range in which nothing answers. Another process may take a
# port before the broker binds it; "start" then tries again.
free_port() {
  local count=$1 first port
  while :; do
    first=$((20000 + RANDOM % 10000))
    for ((port = first; port < first + 2 * count; port++)); do
      if (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then continue 2; fi
    done
    echo "$first"
    return
  done
}

random_id() { head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='; }

prepare_node() {
  local node=$1 count=$2 first_port=$3 folder=$run/node$1
  mkdir -p "$folder/data"
  properties "$node" "$count" "$first_port" "$folder" > "$folder/server.properties"
  if [ -s "$folder/data/meta.properties" ]; then return; fi
  # What Kafka's format tool would write: the seed is the same for every node, the ids are not.
  cp "$libs/seed/bootstrap.checkpoint" "$folder/data/"
  printf 'version=1\ncluster.id=%s\nnode.id=%s\ndirectory.id=%s\n' \
    "$(cat "$run/cluster.id")" "$node" "$(random_id)" > "$folder/data/meta.properties"
}

# When the owner is gone, by whatever signal, its cluster goes too.
watch_owner() {
  if [ -z "${WEIR_KAFKA_OWNER:-}" ] || [ -s "$run/watch.pid" ]; then return; fi
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid nohup bash -c 'tail --pid="$1" -f /dev/null; exec "$2" reap' \
    watch "$WEIR_KAFKA_OWNER" "$self" > /dev/null 2>&1 < /dev/null &
  echo $! > "$run/watch.pid"
}

# The watcher leads a process group of its own: its shell and the tail it waits for end together.
end_watch() {
  local pid words
  { read -r pid < "$run/watch.pid" && mapfile -d '' -t words < "/proc/$pid/cmdline"; } 2> /dev/null || return 0
  if [ "${words[3]:-}" = watch ]; then kill -- "-$pid" 2> /dev/null || true; fi
  rm -f "$run/watch.pid"
}

# Kills the nodes of this cluster by their command line: the owner may have deleted the folder with their pids.
reap() {
  local entry words
  for entry in /proc/[0-9]*; do
    { mapfile -d '' -t words < "$entry/cmdline"; } 2> /dev/null || continue
    [ ${#words[@]} -gt 0 ] || continue
    if [[ ${words[-1]} == "$run"/node*/server.properties ]]; then kill -9 "${entry#/proc/}" 2> /dev/null || true; fi
  done
  rm -f "$run/watch.pid"
}

start() {
  local count=$1 attempt fresh=no
  [ -s "$libs/seed/bootstrap.checkpoint" ] || "$self" fetch
  mkdir -p "$run"
  [ -s "$run/first-port" ] || fresh=yes
  for attempt in 1 2 3; do
    [ -s "$run/first-port" ] || echo "${WEIR_KAFKA_PORT:-$(free_port "$count")}" > "$run/first-port"
    [ -s "$run/cluster.id" ] || random_id > "$run/cluster.id"
    launch_nodes "$count"
    # shellcheck disable=SC2046 # one word per node
    if await_ready $(seq "$count"); then
      bootstrap
      return
    fi
    # A cluster that had its ports before keeps them: its clients know them.
    if [ $fresh = no ] || [ "$attempt" = 3 ] || ! grep -qs 'Address already in use' "$run"/node*/server.log; then
      die "the cluster in $run did not start"
    fi
    wipe
  done
}

launch_nodes() {
  local count=$1 first_port node addresses=()
  first_port=$(cat "$run/first-port")
  watch_owner
  for node in $(seq "$count"); do
    addresses+=("127.0.0.1:$(client_port "$first_port" "$node")")
    if alive "$node"; then continue; fi
    prepare_node "$node" "$count" "$first_port"
    launch "$node"
  done
  (IFS=,; echo "${addresses[*]}") > "$run/bootstrap"
}

bootstrap() {
  [ -s "$run/bootstrap" ] || die "no cluster in $run"
  cat "$run/bootstrap"
}

stop() {
  local node running=()
  end_watch
  for node in $(nodes); do
    if alive "$node"; then
      kill "$(cat "$run/node$node/pid")"
      running+=("$node")
    else
      rm -f "$run/node$node/pid"
    fi
  done
  await_gone "${KAFKA_STOP_SECONDS:-5}" "${running[@]}"
}

wipe() {
  local node
  end_watch
  for node in $(nodes); do
    if alive "$node"; then await_gone 0 "$node"; fi
    rm -rf "$run/node$node"
  done
  rm -f "$run/cluster.id" "$run/first-port" "$run/bootstrap"
}

list_nodes() {
  local node pid
  for node in $(nodes); do
    if alive "$node"; then
      pid=$(cat "$run/node$node/pid")
      printf 'node%s pid=%s rss_mib=%s %s\n' "$node" "$pid" \
        "$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status")" \
        "$(ready "$node" && echo ready || echo starting)"
    else
      echo "node$node down"
    fi
  done
}

create_topic() {
  local name=$1 partitions=$2 setting settings=()
  shift 2
  for setting in "$@"; do settings+=(--config "$setting"); done
  tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$(bootstrap)" \
    --create --if-not-exists --topic "$name" --partitions "$partitions" "${settings[@]}"
}

tool() {
  local options
  java_options
  java -Xmx256m "${options[@]}" -XX:TieredStopAtLevel=1 -cp "$(class_path)" "$@"
}

fetch() {
  local version scratch
  version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
  mkdir -p "$libs"
  # Two test runs may ask at once.
  exec 9> "$libs/.lock"
  flock 9
  if [ "$(cat "$libs/.complete" 2> /dev/null)" = "$version" ]; then return; fi
  command -v mvn > /dev/null || die "Maven is not installed: run \"make setup\""
  echo "Fetching Kafka $version (44 MB) into $libs" >&2
  rm -rf "$libs"/*.jar "$libs/kafka.jsa" "$libs/seed" "$libs/.complete"
  mvn -B -q -Dstyle.color=never -f "$here/pom.xml" "-Dkafka.libs=$libs" package
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of this call
  trap "rm -rf '$scratch'" EXIT
  make_seed "$scratch"
  make_archive "$scratch"
  echo "$version" > "$libs/.complete"
}

# Formatting writes the same feature levels for every node, and takes a JVM: it is done once, here.
make_seed() {
  local options
  java_options
  properties 1 1 19092 "$1" > "$1/server.properties"
  java "${options[@]}" -cp "$(class_path)" kafka.tools.StorageTool format \
    -t AAAAAAAAAAAAAAAAAAAAAQ -c "$1/server.properties" > "$1/log" 2>&1 || { cat "$1/log" >&2; exit 1; }
  mkdir -p "$libs/seed"
  mv "$1/data/bootstrap.checkpoint" "$libs/seed/"
}

# A broker that creates a topic and stops leaves its loaded classes as an archive, from which later ones start.
make_archive() {
  export WEIR_KAFKA_RUN=$1/run WEIR_KAFKA_OWNER=$$
  KAFKA_ARCHIVE_AT_EXIT=$1/kafka.jsa "$self" start 1 > /dev/null 9>&-
  "$self" topic warm-up 1 > /dev/null 9>&-
  KAFKA_STOP_SECONDS=120 "$self" stop 9>&-
  if [ -s "$1/kafka.jsa" ]; then
    mv "$1/kafka.jsa" "$libs/"
  else
    echo "kafka.sh: no class-data archive was written; brokers will start more slowly" >&2
  fi
}

usage() {
  sed -n '2,/^set -e/s/^# \{0,1\}//p' "$self"
  exit 2
}

verb=${1:-}
[ -n "$verb" ] || usage
shift
case $verb in
  fetch) fetch ;;
  tool) tool "$@" ;;
  start | start-node | kill | term | stop | wipe | ps | bootstrap | topic | reap)
    require_run
    case $verb in
      start) start "${1:-1}" ;;
      start-node)
        launch "$1"
        await_ready "$1"
        ;;
      kill)
        signal KILL "$1"
        await_gone 5 "$1"
        ;;
      term)
        signal TERM "$1"
        await_gone 20 "$1"
        ;;
      stop) stop ;;
      wipe) wipe ;;
      ps) list_nodes ;;
      bootstrap) bootstrap ;;
      topic) create_topic "$@" ;;
      reap) reap ;;
    esac
    ;;
  *) usage ;;
esac

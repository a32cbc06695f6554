# shellcheck shell=bash
# What both demos share: a folder of their own, processes that never outlive them, and the live view.
# Sourced after scripts/env.sh. Ends everything on exit, Ctrl-C, TERM and HUP.

# shellcheck disable=SC2034 # for the scripts that source this
weir=$CARGO_TARGET_DIR/debug/weir
demo_folder=$(mktemp -d)
demo_processes=()
viewer=

# Runs "$@" in the background with redirections of the caller's; its pid is in $! and in demo_processes.
# A session of its own keeps Ctrl-C away from it: it gets one TERM from finish, and can end in order. If this
# shell is killed outright, the kernel sends that TERM.
spawn() {
  # Said out loud, or bash would give a background process /dev/null for its input.
  setsid setpriv --pdeathsig TERM -- "$@" <&0 &
  demo_processes+=($!)
}

# Shows the top words of the lines "word TAB count" that come in through the fifo $1. Ends with its input, so it
# does not listen to Ctrl-C.
start_viewer() {
  local awk=(awk) terminal=0 columns
  # mawk would wait for a full buffer.
  if awk -W version 2>&1 < /dev/null | grep -q '^mawk'; then awk+=(-W interactive); fi
  if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then terminal=1; fi
  # Through a file descriptor of its own: in there, the standard output is a pipe.
  { columns=$(stty size <&3 2> /dev/null | cut -d' ' -f2) || true; } 3>&1
  (
    trap '' INT
    exec "${awk[@]}" -v "terminal=$terminal" -v "columns=${columns:-0}" -v "source=$2" -f scripts/top-words.awk < "$1"
  ) &
  viewer=$!
}

# Waits for a process to end, at most SECONDS, and kills it then.
end_within() {
  local pid=$2 deadline=$((SECONDS + $1))
  while kill -0 "$pid" 2> /dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.05; done
  kill -9 "$pid" 2> /dev/null || true
  wait "$pid" 2> /dev/null || true
}

# demo_cleanup is the hook for what a demo started besides.
finish() {
  local status=$? pid
  trap '' INT TERM HUP
  trap - EXIT
  # With its children: each leads a session of its own, so its pid is that of its group.
  for pid in "${demo_processes[@]}"; do kill -TERM -- "-$pid" 2> /dev/null || true; done
  for pid in "${demo_processes[@]}"; do end_within 15 "$pid"; done
  if [ -n "$viewer" ]; then end_within 2 "$viewer"; fi
  if declare -F demo_cleanup > /dev/null; then demo_cleanup; fi
  rm -rf "$demo_folder"
  echo "Stopped; nothing of the demo is left running."
  exit "$status"
}
trap finish EXIT
# Ctrl-C is how a demo is meant to end.
trap 'exit 0' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Waits for weir to end. Says what it said when that was not on purpose.
await_weir() {
  local status=0
  wait "$1" || status=$?
  if [ $status -ne 0 ]; then
    echo "weir ended with status $status; its last lines were:" >&2
    tail -n 20 "$2" >&2
    exit $status
  fi
}

# Reads "word TAB count" lines, where a later count of a word replaces its earlier one, and shows the top words:
# redrawn in place five times a second on a terminal (terminal=1), else as one block every two seconds.
# Variables: terminal, columns (of the terminal; 0 = unknown), rows (default 10), source (what the last line says is
# running).

BEGIN {
  FS = "\t"
  if (rows == 0) rows = 10
  pause = terminal ? 0.2 : 2
  started = drawn = measured = now()
  stride = 1
}

NF >= 2 {
  if (!($1 in count)) words++
  count[$1] = $2 + 0
  updates++
  # Reading the clock costs more than counting a line: under load it is read about fifty times a second.
  if (++unchecked >= stride) {
    unchecked = 0
    time = now()
    if (time - drawn >= pause) draw(time)
  }
}

END {
  draw(now())
}

# Seconds since the machine started; awk's own clock has whole seconds only.
function now(    line) {
  if ((getline line < "/proc/uptime") <= 0) return 0
  close("/proc/uptime")
  sub(/ .*/, "", line)
  return line + 0
}

function draw(time,    i, frame) {
  drawn = time
  if (time - measured >= 1) {
    rate = (updates - measured_updates) / (time - measured)
    measured = time
    measured_updates = updates
    stride = rate > 100 ? int(rate / 50) : 1
  } else if (measured == started && time > started) {
    rate = updates / (time - started)
  }
  rank()
  # Back to the first line of the frame before: what stands above it stays.
  if (terminal && height) frame = sprintf("\r\033[%dA", height)
  for (i = 1; i <= rows; i++) frame = frame row(i)
  frame = frame line("")
  frame = frame line(sprintf("  %s updates, %s a second, %s words, %d s, %s",
    grouped(updates), grouped(rate), grouped(words), time - started, source))
  height = rows + 2
  # Nor does a terminal that has become narrower wrap a line: a wrapped one would not be drawn over.
  printf "%s", terminal ? "\033[?7l" frame "\033[?7h" : frame
  fflush()
}

function row(i) {
  if (i > ranked) return line("")
  return line(sprintf("  %-16.16s %14s  %s", top[i], grouped(count[top[i]]), bar(count[top[i]])))
}

function line(text) { return (terminal && columns ? substr(text, 1, columns) : text) (terminal ? "\033[K" : "") "\n" }

# top[1..ranked]: the words with the highest counts, by insertion into a list of at most `rows`.
function rank(    word, i) {
  ranked = 0
  for (word in count) {
    if (ranked == rows && !before(word, top[rows])) continue
    i = ranked < rows ? ++ranked : rows
    for (; i > 1 && before(word, top[i - 1]); i--) top[i] = top[i - 1]
    top[i] = word
  }
}

# Words with the same count keep one order, so that the list does not flicker.
function before(a, b) { return count[a] > count[b] || (count[a] == count[b] && a < b) }

function bar(value,    width, text) {
  width = count[top[1]] > 0 ? int(30 * value / count[top[1]] + 0.5) : 0
  while (width-- > 0) text = text "#"
  return text
}

# 1234567 as 1,234,567
function grouped(value,    digits, text) {
  digits = sprintf("%d", value)
  while (length(digits) > 3) {
    text = "," substr(digits, length(digits) - 2) text
    digits = substr(digits, 1, length(digits) - 3)
  }
  return digits text
}

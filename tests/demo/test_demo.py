"""The demos as a user meets them: on a terminal, looked at, and ended with Ctrl-C.

Needs the binaries that scripts/build.sh builds, and for the second demo the jars of `kafka.sh fetch`.
"""

import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import time
import unittest
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARKER = "WEIR_DEMO_TEST"

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ROW = re.compile(r"^  (\S+) +([0-9,]+)  #+$", re.MULTILINE)


def processes_marked(mark):
    """Pids and command lines of the live processes whose environment carries the mark, in whatever group or session."""
    wanted = f"{MARKER}={mark}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue  # ended meanwhile
    return found


class Terminal:
    """A script of scripts/ on a pseudo-terminal, with a folder of its own for temporary files."""

    def __init__(self, script, kind="xterm"):
        self.mark = uuid.uuid4().hex
        self.temporary = tempfile.TemporaryDirectory()
        self.raw = self.output = ""
        self.status = None
        environment = dict(os.environ, DEMO_SKIP_BUILD="1", TERM=kind, TMPDIR=self.temporary.name)
        environment[MARKER] = self.mark
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            # A shell cannot trap what was ignored when it started, as in a background job.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir(ROOT)
            os.execve("/bin/bash", ["bash", f"scripts/{script}"], environment)

    def read(self, seconds):
        """Takes what the script writes within some seconds. False at the end of its output."""
        ready, _, _ = select.select([self.terminal], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.terminal, 65536)
        except OSError:  # Linux reports the end of a pseudo-terminal as EIO
            data = b""
        text = data.decode(errors="replace")
        self.raw += text
        self.output += ESCAPE.sub("", text).replace("\r", "")
        return bool(data)

    def counts(self):
        """For each word on the screen so far, its counts in the order shown."""
        history = {}
        for word, count in ROW.findall(self.output):
            history.setdefault(word, []).append(int(count.replace(",", "")))
        return history

    def until(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or not self.read(0.2):
                raise AssertionError(f"not seen: {what}; the output was:\n{self.output[-4000:]}")

    def ctrl_c(self, seconds):
        """Presses Ctrl-C and takes the output to its end. The exit status of the script."""
        os.write(self.terminal, b"\x03")
        deadline = time.monotonic() + seconds
        while self.read(0.2):
            if time.monotonic() > deadline:
                raise AssertionError(f"still running {seconds} s after Ctrl-C:\n{self.output[-4000:]}")
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        """Leaves nothing behind, also when a test failed."""
        for pid in processes_marked(self.mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.status is None:
            os.waitpid(self.pid, 0)
        os.close(self.terminal)
        self.temporary.cleanup()


def grows(history):
    return any(counts[-1] > counts[0] for counts in history.values())


def falls(history):
    return [word for word, counts in history.items() if any(b < a for a, b in zip(counts, counts[1:]))]


class Viewer(unittest.TestCase):
    """The live view alone: what it writes for a few lines of counts."""

    def shown(self, terminal, columns=0):
        lines = "".join(f"word{i}\t{i}\n" for i in range(20))
        variables = [f"terminal={terminal}", f"columns={columns}", "source=here"]
        command = ["awk", *(word for variable in variables for word in ("-v", variable)), "-f", "scripts/top-words.awk"]
        return subprocess.run(command, input=lines, capture_output=True, text=True, cwd=ROOT, check=True).stdout

    def test_a_terminal_that_is_too_narrow_cuts_lines_instead_of_wrapping_them(self):
        frame = self.shown(1, 40)
        self.assertEqual(max(len(ESCAPE.sub("", line)) for line in frame.splitlines()), 40)
        self.assertTrue(frame.startswith("\x1b[?7l") and frame.endswith("\x1b[?7h"), repr(frame))

    def test_where_nothing_can_be_redrawn_no_escape_is_written(self):
        self.assertNotIn("\x1b", self.shown(0))
        self.assertIn("word19", self.shown(0))


class DumbTerminal(unittest.TestCase):
    def test_a_dumb_terminal_gets_blocks_of_lines(self):
        terminal = Terminal("demo.sh", kind="dumb")
        self.addCleanup(terminal.close)
        terminal.until(lambda: terminal.counts(), 60, "a first count")
        self.assertNotIn("\x1b", terminal.raw)


class Demo:
    """What both demos promise."""

    script = ""

    def setUp(self):
        self.terminal = Terminal(self.script)
        self.addCleanup(self.terminal.close)

    def test_the_counts_of_the_top_words_grow_and_never_fall(self):
        self.terminal.until(lambda: grows(self.terminal.counts()), 60, "a word whose count grows")
        self.assertEqual(falls(self.terminal.counts()), [])

    def test_ctrl_c_leaves_no_process_and_no_file(self):
        self.terminal.until(lambda: self.terminal.counts(), 60, "a first count")
        self.assertEqual(self.terminal.ctrl_c(30), 0, self.terminal.output[-4000:])
        self.assertEqual(processes_marked(self.terminal.mark), {})
        self.assertEqual(os.listdir(self.terminal.temporary.name), [])


class LocalDemo(Demo, unittest.TestCase):
    script = "demo.sh"


class KafkaDemo(Demo, unittest.TestCase):
    script = "demo-kafka.sh"


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""Breaks one rule after the other in a scratch copy, and demands that the tests notice: make test-sabotage.

Each patch beside this file changes the host only. Above its diff it says what it breaks and what is to notice:

  Kills: ...     a run of weir-faults with these kills: the oracle finds something lost, repeated, reordered or wrong, or
                 weir ends by itself with an error like
  Refusal: ...
  Tests: ...     a file of tests/tests, and a test in it, whose oracle finds such a thing, or which fails with a text like
  Says: ...
  Units: ...     unit tests of the host

They are tried in the order Kills, Tests, Units until one notices. The unchanged copy has to pass them all. A patch that
does not apply or does not build is an error. Arguments: names of patches; then nothing is written.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ["CARGO_TARGET_DIR"])
# The build shares compiled dependencies; its profile keeps its own crates apart from those of the clone.
SABOTAGE = TARGET / "sabotage"
SOURCE = SABOTAGE / "source"
LEVELS = {"weir-host": 1, "weir-spec": 0, "weir": 0}
PROFILE = [f"--config=profile.dev.package.{name}.opt-level={level}" for name, level in LEVELS.items()]
TESTS = ["faults", "broker_faults"]
PATIENCE = 600
SEED = "5"
FOUND = re.compile(r'"(lost|duplicated|reordered|state_mismatch)": ([1-9]\d*)')
FOUND_BY_TEST = re.compile(r"^(lost|duplicated|reordered|state mismatch): ([1-9]\d*)$", re.MULTILINE)
UNFINISHED = re.compile(r'"unfinished": [1-9]')
# Folders of a run, which are others in each.
FOLDER = re.compile(rf"{tempfile.gettempdir()}/weir-test-\w+/")
# What weir said when it ended by itself.
SAID = re.compile(r"^error: (.*)$", re.MULTILINE)


class Unexpected(Exception):
    """Something failed, and not by what it is to find."""


def run(command, check=False, **more):
    """In a session of its own, so that nothing of it is left behind when it takes too long."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes, **more) as child:
        try:
            output, _ = child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            sys.exit(f"sabotage: not done within {PATIENCE} s: {command}")
    if check and child.returncode != 0:
        sys.exit(f"sabotage: {command} failed:\n{output[-4000:]}")
    return subprocess.CompletedProcess(command, child.returncode, output)


def cargo(*arguments):
    environment = {**os.environ, "CARGO_BUILD_BUILD_DIR": str(TARGET), "CARGO_TARGET_DIR": str(SABOTAGE)}
    built = run(["cargo", *arguments, "--workspace", "--locked", *PROFILE], cwd=SOURCE, env=environment)
    if built.returncode != 0:
        sys.exit(f"sabotage: cargo {arguments[0]} failed:\n{built.stdout[-4000:]}")
    return built.stdout


def apply(*arguments):
    # The copy may lie below another repository, of whose files git would think then.
    run(["git", "apply", *arguments], cwd=SOURCE, check=True, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(SABOTAGE)})


def executable(output, name):
    found = re.search(rf"Executable .*\((.*/{name}-\w+)\)", output)
    return Path(found.group(1)) if found else sys.exit(f"sabotage: no executable {name} in:\n{output[-2000:]}")


def copy_source():
    """What git knows, as it is now."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", ":!guest-examples"]
    names = run(listing, cwd=ROOT, check=True).stdout.split("\0")
    shutil.rmtree(SOURCE, ignore_errors=True)
    for name in filter(None, names):
        target = SOURCE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not with its time: cargo would take what it built of a patched copy for newer.
        shutil.copy(ROOT / name, target)


def install_driver():
    """The driver is the clone's own: only the host is ever changed."""
    tests = [f"--test={name}" for name in TESTS]
    built = run(["cargo", "test", "--workspace", "--locked", "--no-run", *tests], cwd=ROOT, check=True).stdout
    (SABOTAGE / "debug" / "deps").mkdir(parents=True, exist_ok=True)
    for name in TESTS:
        shutil.copy2(executable(built, name), SABOTAGE / "debug" / "deps" / name)
    shutil.copy2(TARGET / "debug" / "weir-faults", SABOTAGE / "debug" / "weir-faults")
    # A build with failpoints of which none is armed is as good as the ordinary one.
    armed = SABOTAGE / "failpoints" / "debug" / "weir"
    armed.parent.mkdir(parents=True, exist_ok=True)
    armed.unlink(missing_ok=True)
    armed.symlink_to(SABOTAGE / "debug" / "weir")


def build():
    cargo("build", "--features", "weir/failpoints", "--bin", "weir")


def noticed_by_kills(kills, expected):
    with tempfile.TemporaryDirectory() as kept:
        command = [SABOTAGE / "debug" / "weir-faults", "--seed", SEED, "--kept", kept, *kills.split()]
        ran = run(command)
    if ran.returncode == 0:
        return None
    if found := FOUND.findall(ran.stdout):
        return oracle(found)
    refusal = (expected or {}).get("Refusal")
    said = next((said for said in SAID.findall(ran.stdout) if refusal and re.search(refusal, said)), None)
    if said:
        return f"refusal: {FOLDER.sub('', said)}"
    # Of the clean tree that is a failure like any other.
    if expected is not None and UNFINISHED.search(ran.stdout):
        return None
    raise Unexpected(f"the kill run failed, and not by what it is to find:\n{ran.stdout[-4000:]}")


def oracle(found):
    return "oracle: " + ", ".join(sorted({f"{what} {count}" for what, count in found}))


def noticed_by(program, what, names, says):
    ran = run([program, *names.split()])
    if "running 0 tests" in ran.stdout:
        sys.exit(f"sabotage: there is no test {names}")
    failed = re.findall(r"^test (\S+) \.\.\. FAILED$", ran.stdout, re.MULTILINE)
    if not failed:
        return None
    if found := FOUND_BY_TEST.findall(ran.stdout):
        return f"{oracle(found)}, in {', '.join(failed)}"
    said = says is not None and re.search(f".*({says}).*", ran.stdout)
    if not said:
        raise Unexpected(f"{', '.join(failed)} failed, and not by what it is to find:\n{ran.stdout[-4000:]}")
    return f"{what}: {', '.join(failed)}" + (f": {said.group(0)}" if says else "")


def noticed(kind, what, expected):
    """By what it is noticed, or None; `expected` is None for the clean tree."""
    if kind == "Kills":
        return noticed_by_kills(what, expected)
    if kind == "Tests":
        file, name = what.split()
        return noticed_by(SABOTAGE / "debug" / "deps" / file, "test", name, (expected or {}).get("Says"))
    unit = executable(cargo("test", "--no-run", "--lib"), "weir_host")
    return noticed_by(unit, "unit test", what, "")


def lines(patch, kinds):
    return re.findall(rf"^({kinds}): (.*)$", patch.read_text(), re.MULTILINE)


def selections(patch):
    return lines(patch, "Kills|Tests|Units")


def main():
    patches = sorted(Path(__file__).parent.glob("*.patch"))
    chosen = [patch for patch in patches if not sys.argv[1:] or patch.stem in sys.argv[1:]]
    clean = run(["git", "status", "--porcelain", "--", ".", ":!sabotage-results.json"], cwd=ROOT, check=True).stdout == ""
    copy_source()
    install_driver()
    build()
    for kind, what in sorted({selection for patch in chosen for selection in selections(patch)}):
        print(f"clean tree, {kind}: {what}", flush=True)
        if by := noticed(kind, what, None):
            sys.exit(f"sabotage: the clean tree fails {kind}: {what}: {by}")
    results = []
    for patch in chosen:
        apply(patch)
        build()
        expected = dict(lines(patch, "Refusal|Says"))
        try:
            by = next(filter(None, (noticed(kind, what, expected) for kind, what in selections(patch))), None)
        except Unexpected as unexpected:
            print(unexpected, flush=True)
            by = None
        apply("-R", patch)
        results.append({"name": patch.stem, "caught": by is not None, "by": by or "nothing"})
        print(f"{patch.stem}: {'caught' if by else 'NOT CAUGHT'} by {results[-1]['by']}", flush=True)
    if clean and chosen == patches:
        (ROOT / "sabotage-results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    sys.exit(0 if all(result["caught"] for result in results) else 1)


if __name__ == "__main__":
    try:
        main()
    except Unexpected as unexpected:
        sys.exit(f"sabotage: on the clean tree, {unexpected}")

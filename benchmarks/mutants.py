"""Bugs put in, one at a time: which of them do the tests notice?

python benchmarks/mutants.py --only=methods --shard=0/2

Each of bugs.txt is what a tired engineer might write. It is put into a copy of the
checkout, the test files named with it are run there, and it is noticed if one of them
fails. Prints every bug that passes, and the share that was noticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from absl import app, flags

_ONLY = flags.DEFINE_string("only", "", "those whose file or tests have this in them")
_SHARD = flags.DEFINE_string("shard", "0/1", "I/N: every N-th, from I")
_TIMEOUT = flags.DEFINE_integer("timeout", 600, "seconds of tests for each")

ROOT = Path(__file__).parents[1]
_BUGS = Path(__file__).with_name("bugs.txt")


class Bug(NamedTuple):
    """`old` becomes `new`, once, in a file of the package; `tests` should notice."""

    file: str
    old: str
    new: str
    tests: str


def read(path: Path) -> list[Bug]:
    """Return the bugs of a file whose first lines say how it is to be read."""
    bugs, file, tests = [], "", ""
    for block in path.read_text("utf-8").split("\n\n"):
        parts = {"-": [], "+": []}
        for line in block.splitlines():
            if line.startswith("@ "):
                file, _, tests = line[2:].partition(" | ")
            elif line[:1] in parts:
                parts[line[0]].append(line[1:])
        if parts["-"]:
            old, new = map("\n".join, parts.values())
            bugs.append(Bug(file, old, new, tests))
    return bugs


def noticed(bug: Bug, folder: Path) -> bool | None:
    """Run the bug's tests with it; None where the code has no such text any more."""
    path = folder / "medssl_jax" / bug.file
    text = path.read_text("utf-8")
    if bug.old not in text or bug.old == bug.new:
        return None
    path.write_text(text.replace(bug.old, bug.new, 1), "utf-8")
    try:
        tests = [f"tests/{name}" for name in bug.tests.split()]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", *tests]
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            timeout=_TIMEOUT.value,
            check=False,
        )
        return done.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(text, "utf-8")


def main(_) -> None:
    start, every = map(int, _SHARD.value.split("/"))
    bugs = read(_BUGS)
    chosen = [bug for bug in bugs if _ONLY.value in f"{bug.file} {bug.tests}"]
    counts = {True: 0, False: 0, None: 0}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "checkout")
        ignored = shutil.ignore_patterns(".git", ".cache", "runs", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=ignored)
        for bug in chosen[start::every]:
            found = noticed(bug, folder)
            counts[found] += 1
            word = {True: "noticed", False: "PASSED", None: "absent"}[found]
            print(f"{word}: {bug.file}: {bug.old!r} -> {bug.new!r}", flush=True)
    tried = counts[True] + counts[False]
    print(f"{counts[True]} of {tried} noticed; {counts[None]} are not in the code")


if __name__ == "__main__":
    app.run(main)

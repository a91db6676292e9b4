# SPDX-License-Identifier: Apache-2.0
"""Running programs: every failure names the command and what it said."""

import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WEIR_BUILD", ROOT / "build"))
PROBE = BUILD / "tests" / "probe"
WEIR = BUILD / "weir"
PATIENCE = 6 if "WEIR_VM" in os.environ else 1  # deadlines on an emulated CPU (scripts/vm), where starting Python takes seconds


class LabError(Exception):
    """Something the lab could not do; the text says what."""


def run(*argv, stdin=None, check=True, timeout=60):
    """Runs a command to its end; standard output and error are text."""
    argv = [str(arg) for arg in argv]
    timeout *= PATIENCE
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is missing: run scripts/setup and make") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv)}: still running after {timeout} s") from None
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def wait_until(condition, what, timeout=10, interval=0.02):
    """Polls, because a fixed sleep is either too short or too slow; returns what the condition returned."""
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout} s")
        time.sleep(interval)


def write_atomically(path, text):
    """A watcher of the directory never sees half a file."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.rename(path)

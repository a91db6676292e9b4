# SPDX-License-Identifier: Apache-2.0
"""What is printed: each step with its time, each claim that was checked, and a count at the end."""

import contextlib
import sys
import time
import traceback

from lab.command import LabError


class Report:
    def __init__(self, label=""):
        self.label = label  # before each line: several reports go to one terminal
        self.passed = self.failed = self.skipped = 0
        self.step_failed = False
        self.times, self.notes = [], []
        self.colour = sys.stdout.isatty()

    def _paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def _line(self, text):
        print("\n".join(self.label + line for line in text.split("\n")), flush=True)

    @contextlib.contextmanager
    def step(self, step):
        """A step that raises counts as one failure; what it had checked before stays counted."""
        self._line("\n" + self._paint("1", f"== {step.name}: {step.title}"))
        began, failed = time.monotonic(), self.failed
        try:
            yield
        except LabError as error:
            self.check(False, f"{step.name} ran to its end", str(error))
        except Exception:  # noqa: BLE001  (a defect of the step is a failure like any other)
            self.check(False, f"{step.name} ran to its end", traceback.format_exc())
        self.step_failed = self.failed > failed
        took = time.monotonic() - began
        self.times.append((step.name, took))
        self._line(f"  {took:.0f} s")

    def check(self, good, text, why=""):
        """One checked claim; why: what was seen instead."""
        if good:
            self.passed += 1
        else:
            self.failed += 1
            self.notes.append(f"failed: {text}")
        self._line(f"  {self._paint('32', 'ok  ') if good else self._paint('31', 'FAIL')} {text}")
        if not good and why:
            self._line("       " + str(why).strip().replace("\n", "\n       "))
        return good

    def skip(self, text, reason):
        self.skipped += 1
        self.notes.append(f"skipped: {text}: {reason}")

    def note(self, text):
        self.notes.append(text)

    def say(self, text):
        self._line(f"       {text}")

    def check_kernel(self, node):
        complaints = node.complaints()
        self.check(not complaints, "the node's kernel had nothing to complain of", "\n".join(complaints[:10]))

    def end(self):
        """Prints times, notes and the count; returns whether anything failed."""
        self._line("\n" + "  ".join(f"{name} {took:.0f} s" for name, took in self.times))
        for note in self.notes:
            self._line(note)
        self._line(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return self.failed > 0

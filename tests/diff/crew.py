# SPDX-License-Identifier: Apache-2.0
"""Several harnesses at work on one list of configurations. Most of their time is spent in other programs, and in time-outs that are
answers: threads will do."""

import queue
import threading
import time
import traceback

from .run import Books, Harness


class Crew:
    """work() does the configurations of `indices`."""

    PROGRESS_S = 30

    def __init__(self, seed, indices, probes, jobs):
        self.seed, self.indices, self.probes = seed, list(indices), probes
        self.todo = queue.SimpleQueue()
        for index in self.indices:
            self.todo.put(index)
        self.harnesses, self.done = [], set()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._member) for _ in range(jobs)]
        self.began = time.monotonic()

    def _member(self):
        try:
            with Harness() as harness:
                self.harnesses.append(harness)
                while not self.stop.is_set():
                    index = self.todo.get_nowait()
                    harness.random(self.seed, index, self.probes)
                    self.done.add(index)
        except queue.Empty:
            pass
        except BaseException:
            self.harnesses[0].books.differences.append((f"seed {self.seed}, a harness", traceback.format_exc()))
            self.stop.set()

    def work(self):
        """True when all was done; Ctrl-C lets each finish what it is at."""
        for thread in self.threads:
            thread.start()
        try:
            told = time.monotonic()
            while any(thread.is_alive() for thread in self.threads):
                for thread in self.threads:
                    thread.join(0.2)
                if time.monotonic() - told > self.PROGRESS_S:
                    told = time.monotonic()
                    print(f"{self.pace()}: {self.books().line()}", flush=True)
        except KeyboardInterrupt:
            self.stop.set()
        for thread in self.threads:
            thread.join()
        return len(self.done) == len(self.indices)

    def next(self):
        """The first index that is not done."""
        return next((index for index in self.indices if index not in self.done), self.indices[-1] + 1)

    def books(self):
        total = Books()
        for harness in list(self.harnesses):
            total.add(harness.books)
        return total

    def pace(self):
        seconds = time.monotonic() - self.began
        return f"{len(self.done)} of {len(self.indices)} in {seconds:.0f} s, {60 * len(self.done) / seconds:.0f} a minute"

# SPDX-License-Identifier: Apache-2.0
"""Runs configurations and keeps the books."""

from dataclasses import dataclass, field

from .absence import compare_absence
from .ask import contradiction, explain, miscounted, tally, verdicts
from .compare import compare, outcome
from .configs import KINDS, Draw, describe, kind_of, random_pod
from .inputs import options_of
from .probes import matrix, sample
from .worlds import Worlds


@dataclass
class Books:
    """What a run has shown."""

    configurations: int = 0
    probes: int = 0
    identical: int = 0
    wanted: dict = field(default_factory=dict)  # row -> probes
    differences: list = field(default_factory=list)  # (configuration, Difference)
    explained: int = 0
    counted: int = 0  # configurations whose verdicts' counters were compared
    contradictions: list = field(default_factory=list)  # (configuration, text): explain's and the counters'
    repeated: int = 0  # differed once and not again: load

    def clean(self):
        return not (self.differences or self.contradictions)

    def add(self, other):
        """What another one has seen as well."""
        for name, value in vars(other).items():
            if isinstance(value, dict):
                mine = getattr(self, name)
                mine.update({key: mine.get(key, 0) + count for key, count in list(value.items())})
            else:
                setattr(self, name, getattr(self, name) + value)

    def line(self):
        return (f"{self.configurations} configurations, {self.probes} probes compared: {self.identical} identical, "
                f"{self.probes - self.identical - len(self.differences)} with a wanted difference, {len(self.differences)} different, "
                f"{len(self.contradictions)} contradictions")

    def summary(self):
        lines = [self.line() + (f" ({self.repeated} differed once and not when repeated)" if self.repeated else "")]
        lines += [f"  wanted: {count:6} {row}" for row, count in sorted(self.wanted.items())]
        lines.append(f"explain: {self.explained} asked; verdicts' counters: {self.counted} configurations")
        return "\n".join(lines)

    def failures(self, most=40):
        """Differences and contradictions under their configurations."""
        lines, last = [], None
        for name, text in [*self.differences, *self.contradictions][:most]:
            lines += ([f"  {name}"] if name != last else []) + [f"    {text}"]
            last = name
        return "\n".join(lines)


class Harness:
    """Worlds for each kind of pod as they are needed, one run's books."""

    def __init__(self, timeout=1.5):
        self.worlds, self.books, self.timeout = {}, Books(), timeout

    def close(self):
        for worlds in self.worlds.values():
            worlds.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def of(self, kind):
        if kind not in self.worlds:
            _, mesh, userns, _ = KINDS[kind]
            self.worlds[kind] = Worlds(mesh, userns)
        return self.worlds[kind]

    def random(self, seed, index, probes=150):
        """One random configuration and some of its probes; for one in fifty the proxy is not there."""
        if Draw(f"absence {seed} {index}").chance(2):
            compare_absence(self, seed, index, probes // 2)
            return
        worlds = self.of(kind_of(seed, index))
        pod = random_pod(seed, index, worlds.pod_object())
        chosen = sample(options_of(pod), Draw(f"probes {seed} {index}"), probes)
        self.configuration(f"seed {seed} index {index}: {describe(pod)}", worlds, pod, chosen)

    def full(self, name, kind, pod):
        """Every probe of a configuration's matrix."""
        self.configuration(name, self.of(kind), pod, matrix(options_of(pod)))

    def configuration(self, name, worlds, pod, probes):
        state = worlds.apply(pod)
        options = options_of(pod)
        self.books.configurations += 1
        if state["state"] != ("captured" if options.captured else "not_captured"):
            self.books.differences.append((name, f"weir: {state['state']}: {state['reason']}"))
            return
        there = worlds.iptables.ask(probes, self.timeout)
        here = self.ask_weir(name, worlds.weir, options, probes)[1]
        self._repeat(worlds, options, probes, there, here)
        for probe in probes:
            self._book(name, options, probe, outcome(probe, there[probe]), outcome(probe, here[probe]))

    def ask_weir(self, name, world, options, probes):
        """What explain says of all probes, and their answers; books where it, or the counters of verdicts, told something else."""
        said = explain(world, probes)
        for first in (True, False):
            before = verdicts(world)
            here = world.ask(probes, self.timeout)
            seen = {probe: outcome(probe, here[probe]) for probe in probes}
            wrong = {probe: text for probe in probes if (text := contradiction(probe, said[probe], seen[probe]))}
            lost = miscounted(before, verdicts(world), tally(options, said, seen))
            if not wrong and not lost:
                break
            self.books.repeated += first  # a machine under load lets time-outs pass that are no answers
        self.books.explained += len(probes)
        self.books.counted += 1
        self.books.contradictions += [(name, f"{probe}: explain says {text} (reason {said[probe]['reason']})") for probe, text in wrong.items()]
        self.books.contradictions += [(name, text) for text in lost]
        return said, here

    def _repeat(self, worlds, options, probes, there, here):
        """What differs is tried once more alone: a machine under load lets time-outs pass that are no answers."""
        again = [probe for probe in probes if compare(probe, options, outcome(probe, there[probe]), outcome(probe, here[probe]))[0]]
        if not again:
            return
        there.update(worlds.iptables.ask(again, self.timeout))
        here.update(worlds.weir.ask(again, self.timeout))
        healed = [probe for probe in again if not compare(probe, options, outcome(probe, there[probe]), outcome(probe, here[probe]))[0]]
        self.books.repeated += len(healed)

    def _book(self, name, options, probe, there, here):
        difference, used = compare(probe, options, there, here)
        self.books.probes += 1
        for row in used:
            self.books.wanted[row.row] = self.books.wanted.get(row.row, 0) + 1
        if difference:
            self.books.differences.append((name, str(difference)))
        elif not used:
            self.books.identical += 1

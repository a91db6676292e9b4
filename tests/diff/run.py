# SPDX-License-Identifier: Apache-2.0
"""Runs configurations and keeps the books."""

from dataclasses import dataclass, field

from .ask import OWN, contradiction, explain
from .compare import compare, outcome
from .configs import Draw, describe, mesh_of, random_pod
from .inputs import options_of
from .probes import matrix, sample
from .rules import items
from .worlds import MACHINE, Worlds


@dataclass
class Books:
    """What a run has shown."""

    configurations: int = 0
    probes: int = 0
    identical: int = 0
    wanted: dict = field(default_factory=dict)  # row -> probes
    differences: list = field(default_factory=list)  # (configuration, Difference)
    explained: int = 0
    contradictions: list = field(default_factory=list)  # (configuration, probe, text)
    repeated: int = 0  # differed once and not again: load

    def summary(self):
        lines = [f"{self.configurations} configurations, {self.probes} probes compared: {self.identical} identical, "
                 f"{self.probes - self.identical - len(self.differences)} with a wanted difference, {len(self.differences)} different"
                 + (f" ({self.repeated} differed once and not when repeated)" if self.repeated else "")]
        lines += [f"  wanted: {count:6} {row}" for row, count in sorted(self.wanted.items())]
        lines.append(f"explain: {self.explained} asked, {len(self.contradictions)} contradicted")
        return "\n".join(lines)

    def failures(self, most=40):
        """Differences and contradictions under their configurations."""
        lines, last = [], None
        for name, text in [*self.differences, *self.contradictions][:most]:
            lines += ([f"  {name}"] if name != last else []) + [f"    {text}"]
            last = name
        return "\n".join(lines)


def passes_through(probe, options):
    """A connection that neither begins nor ends in the pod, by an interface that nobody names: explain has no question for it."""
    return probe.at == MACHINE and probe.to not in OWN and "tap0" not in items(getattr(options, "reroute_virtual_interfaces", ""))


class Harness:
    """Worlds for each mesh as they are needed, one run's books."""

    def __init__(self, timeout=1.5):
        self.worlds, self.books, self.timeout = {}, Books(), timeout

    def close(self):
        for worlds in self.worlds.values():
            worlds.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def of(self, mesh):
        if mesh not in self.worlds:
            self.worlds[mesh] = Worlds(mesh)
        return self.worlds[mesh]

    def random(self, seed, index, probes=150, explained=12):
        """One random configuration; `explained` of its probes are asked of explain."""
        worlds = self.of(mesh_of(seed, index))
        pod = random_pod(seed, index, worlds.pod_object())
        draw = Draw(f"probes {seed} {index}")
        chosen = sample(options_of(pod), draw, probes)
        self.configuration(f"seed {seed} index {index}: {describe(pod)}", worlds, pod, chosen, draw.sample(chosen, min(explained, len(chosen))))

    def full(self, name, mesh, pod, turn=0, every=1):
        """Every probe of a configuration's matrix; of `every` of them one is asked of explain, and turn says which: over that many
        configurations each place in the matrix has its turn."""
        probes = matrix(options_of(pod))
        self.configuration(name, self.of(mesh), pod, probes, probes[turn % every::every])

    def configuration(self, name, worlds, pod, probes, asked):
        state = worlds.apply(pod)
        self.books.configurations += 1
        if state["state"] != "captured":
            self.books.differences.append((name, f"weir: {state['state']}: {state['reason']}"))
            return
        there, here = worlds.iptables.ask(probes, self.timeout), worlds.weir.ask(probes, self.timeout)
        self._repeat(worlds, options_of(pod), probes, there, here)
        for probe in probes:
            self._book(name, options_of(pod), probe, outcome(probe, there[probe]), outcome(probe, here[probe]))
        for probe in asked:
            if passes_through(probe, options_of(pod)):
                continue
            said = explain(worlds.weir, probe)
            wrong = contradiction(probe, said, outcome(probe, here[probe]))
            self.books.explained += 1
            if wrong:
                self.books.contradictions.append((name, f"{probe}: explain says {wrong} (reason {said['reason']})"))

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

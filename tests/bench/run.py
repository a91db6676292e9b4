#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks (make bench): redirection by weir against Istio's iptables rules and against none, interleaved in one run.

Each round measures every row in every world, in an order that changes from round to round; ratios are taken within a round. See
docs/PERFORMANCE.md for what the rows mean.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import sys
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from lab import Lab, LabError  # noqa: E402
from lab.command import BUILD, ROOT  # noqa: E402

import accounting  # noqa: E402
import programs  # noqa: E402
import report  # noqa: E402
import udp  # noqa: E402
import worlds  # noqa: E402

KIB = 1024
PAGE = ROOT / "docs" / "PERFORMANCE.md"


@dataclass
class Row:
    """One line of a table: a mode of the load on a path through a world."""

    title: str
    path: str
    mode: str
    size: int = None
    count: int = 0  # operations of one measurement, from the warm-up

    @property
    def connects(self):
        """Whether each operation is a connection of its own."""
        return self.mode != "stream"


@dataclass
class Table:
    title: str
    worlds: tuple
    pairs: tuple  # (world, what it is divided by)
    rows: list


MESHED = Table("A pod with a proxy", ("direct", "iptables", "weir"), (("iptables", "direct"), ("weir", "direct"), ("weir", "iptables")), [
    Row("application to proxy: connect + close", "hop", "open"),
    Row("application to proxy: connect + 64 B round trip + close", "hop", "once", 64),
    Row("application to proxy: 64 B round trip", "hop", "stream", 64),
    Row("application to proxy: 16 KiB round trip", "hop", "stream", 16 * KIB),
    Row("outbound to another pod: connect + 64 B round trip + close", "out", "once", 64),
    Row("outbound to another pod: 64 B round trip", "out", "stream", 64),
    Row("outbound to another pod: 16 KiB round trip", "out", "stream", 16 * KIB),
    Row("inbound from another pod: connect + 64 B round trip + close", "in", "once", 64),
    Row("inbound from another pod: 64 B round trip", "in", "stream", 64),
    Row("inbound from another pod: 16 KiB round trip", "in", "stream", 16 * KIB),
])
UNMESHED = Table("A pod without a proxy", ("no weir", "unknown", "known"), (("unknown", "no weir"), ("known", "no weir")), [
    Row("connect to a closed port", "closed", "refused"),
    Row("connect + 64 B round trip + close", "open", "once", 64),
    Row("64 B round trip", "open", "stream", 64),
])
TABLES = (MESHED, UNMESHED)


def orders(names):
    """A B C, B C A, C A B, then backwards: each world has each place equally often."""
    turns = [names[i:] + names[:i] for i in range(len(names))]
    return itertools.cycle(turns + [turn[::-1] for turn in turns])


def warm_up(table, built, budget_ms):
    """Runs every row once everywhere, and sizes its measurements: the same number of operations in every world."""
    for row in table.rows:
        times = [built[world].run(row.path, row.mode, 200, row.size)["ns"] for world in table.worlds]
        row.count = max(100, int(budget_ms * 1e6 / max(times)) // 20 * 20)


def measure_round(table, built, order, samples):
    for row in table.rows:
        for world in order:
            result = built[world].run(row.path, row.mode, row.count, row.size)
            samples[row.title][world].append(result)


def show_progress(done, rounds):
    if sys.stderr.isatty():
        print(f"\rround {done} of {rounds}", end="\n" if done == rounds else "", file=sys.stderr, flush=True)


def run_rounds(built, rounds):
    """{table title: {row title: {world: [result, ...]}}}"""
    samples = {table.title: {row.title: {world: [] for world in table.worlds} for row in table.rows} for table in TABLES}
    turns = {table.title: orders(table.worlds) for table in TABLES}
    for number in range(rounds):
        for table in TABLES:
            measure_round(table, built, next(turns[table.title]), samples[table.title])
        show_progress(number + 1, rounds)
    return samples


def program_cases(built, count):
    """Connections of every kind that weir's hooks see, each with one round trip and its end."""
    def case(world, path, mode="once", size=64):
        return lambda: built[world].run(path, mode, count, size)["operations"]

    return {"outbound, captured": case("weir", "out"), "inbound, captured": case("weir", "in"), "not captured": case("known", "open"),
            "unknown to weir": case("unknown", "open")}


def machine():
    models = [line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"kernel": platform.release().split("-")[0], "processors": os.cpu_count(), "model": models[0] if models else platform.machine(),
            "load_before": os.getloadavg()[0]}


def summaries(samples, field, rows):
    """{table title: {row title: summary}} of one field of the results, for the rows that pass."""
    def summary(table, row):
        by_world = samples[table.title][row.title]
        return report.summarize({world: [result[field] for result in by_world[world]] for world in table.worlds}, table.pairs)

    return {table.title: {row.title: summary(table, row) for row in table.rows if rows(row)} for table in TABLES}


def text_of(result):
    parts = [f"{result['rounds']} rounds on a machine of {result['machine']['processors']} processors ({result['machine']['model']}), "
             f"kernel {result['machine']['kernel']}. Medians; ratios with their quartiles."]
    for table in TABLES:
        parts += [f"### {table.title}", report.timing_table(result["whole"][table.title], table.worlds, table.pairs)]
        parts += ["Of these, the time within connect(), for which the application waits:",
                  report.timing_table(result["connect"][table.title], table.worlds, table.pairs)]
    parts += ["### The programs themselves", report.program_table(result["programs"])]
    return "\n\n".join(parts)


def bench(options):
    place = worlds.Place(options.cpu, not options.normal_priority)
    result = {"machine": machine(), "rounds": options.rounds, "milliseconds": options.milliseconds, "cpu": options.cpu}
    with Lab("bench") as lab:
        agent, built = worlds.build(lab, place)
        for table in TABLES:
            warm_up(table, built, options.milliseconds)
        result["samples"] = run_rounds(built, options.rounds)
        result["programs"] = programs.measure(programs.attached(lab), program_cases(built, 200 if options.quick else 5000))
        if agent.process.poll() is not None:
            raise LabError(f"the agent ended meanwhile:\n{agent.stderr()[-2000:]}")
        result["books"] = {name: world.check_books() for name, world in built.items()}
    result["whole"] = summaries(result["samples"], "ns", lambda row: True)
    result["connect"] = summaries(result["samples"], "connect_ns", lambda row: row.connects)
    return result


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=24, help="how often everything is measured (default: %(default)s)")
    parser.add_argument("--milliseconds", type=float, default=100, help="about how long one measurement takes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two short rounds: shows that everything works, not how fast")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)),
                        help="the processor for client, proxy and server (default: the last)")
    parser.add_argument("--normal-priority", action="store_true", help="no SCHED_FIFO: where the kernel forbids it in control groups")
    parser.add_argument("--only", choices=PARTS, help="one of the parts; the others are left out")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/PERFORMANCE.md")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.milliseconds = 2, 10
    if options.rounds < 1 or options.milliseconds <= 0:
        parser.error("--rounds and --milliseconds must be positive")
    for part in PARTS if options.write else ():
        if not report.has_markers(PAGE, part):
            parser.error(f"{PAGE.relative_to(ROOT)} has no place for the tables: {' '.join(report.marks(part))}")
    if os.geteuid():
        parser.error("the lab needs root: network namespaces, control groups, BPF")
    return options


def run_part(part, options):
    module_bench, module_text = PARTS[part]
    began = time.monotonic()
    try:
        result = module_bench(options)
    except LabError as error:
        sys.exit(f"bench: {error}")
    text = module_text(result)
    print(text)
    samples = BUILD / f"bench-{part}.json"
    samples.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{part}: {time.monotonic() - began:.0f} s; all samples: {samples.relative_to(ROOT)}\n")
    if options.write:
        report.write_between_markers(PAGE, part, text)
        print(f"written into {PAGE.relative_to(ROOT)}")


PARTS = {"redirection": (bench, text_of), "accounting": (accounting.bench, accounting.text_of), "udp": (udp.bench, udp.text_of)}


def main():
    options = parse()
    for part in [options.only] if options.only else PARTS:
        run_part(part, options)


if __name__ == "__main__":
    main()

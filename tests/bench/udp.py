# SPDX-License-Identifier: Apache-2.0
"""What --metrics.udp costs: round trips and sends of datagrams without weir, with it, and with the option; each program by the kernel's clock."""

import os
import statistics

from lab import Lab
from lab.command import BUILD, wait_until

import programs
import report
from worlds import priority

DATAGRAM = BUILD / "tests" / "datagram"
CPU, COUNT = "0", 20000
WORLDS = ("no weir", "weir", "--metrics.udp")
ROWS = {"64 B round trip": ("ask", 64), "1400 B round trip": ("ask", 1400), "64 B sent": ("pour", 64)}


class World:
    """Two pods, one of which sends back what comes to port 7."""

    def __init__(self, lab, outside):
        self.lab = lab
        self.client, server = (lab.pod(f"{name}-{int(outside)}", owner=f"Deployment/{name}", outside=outside) for name in ("client", "server"))
        if not outside:
            for pod in (self.client, server):
                pod.write()
                lab.agents[-1].wait_pod(pod, "not_captured")
        self.to = server.ip
        log = lab.log_path(f"{server.name}_datagram")
        with open(log, "w", encoding="utf-8") as out, priority(True):
            server.popen([DATAGRAM, "serve", CPU, 7], stdout=out)
        wait_until(lambda: log.read_text().startswith("ready"), "the server")

    def run(self, row, count=COUNT):
        kind, size = ROWS[row]
        with priority(True):
            return float(self.client.run([DATAGRAM, kind, CPU, self.to, 7, count, size]).stdout)


def measure_rounds(worlds_, rounds):
    """{row: {world: [ns, ...]}}"""
    samples = {row: {world: [] for world in WORLDS} for row in ROWS}
    for number in range(rounds):
        for row in ROWS:
            for turn in range(len(WORLDS)):
                world = WORLDS[(turn + number) % len(WORLDS)]
                samples[row][world].append(worlds_[world].run(row))
    return samples


def bench(options):
    rounds = 2 if options.quick else max(2, options.rounds // 3)
    result = {"load_before": os.getloadavg()[0], "rounds": rounds}
    with Lab("bench-udp-off") as off, Lab("bench-udp-on") as on:
        off.agent()
        on.agent("--metrics.udp")
        worlds_ = dict(zip(WORLDS, (World(off, True), World(off, False), World(on, False))))
        result["samples"] = measure_rounds(worlds_, rounds)
        counted = worlds_["--metrics.udp"]
        result["programs"] = programs.measure(programs.attached(on), {row: lambda row=row: COUNT if counted.run(row) else 0 for row in ROWS})
    result["load_after"] = os.getloadavg()[0]
    return result


def times_table(samples):
    rows = []
    for row, taken in samples.items():
        ratios = [report.ratio(report.ratios(taken, world, WORLDS[0])) for world in WORLDS[1:]]
        rows.append([row, *(f"{statistics.median(taken[world]):.0f}" for world in WORLDS), *ratios])
    return report.markdown(["ns for one operation", *WORLDS, *(f"{world} / {WORLDS[0]}" for world in WORLDS[1:])], rows)


def programs_table(results):
    rows = [[f"{row}: {hook}", f"{calls['calls'] / result['connections']:.1f}", f"{calls['ns'] / calls['calls']:.0f}"]
            for row, result in results.items() for hook, calls in result["hooks"].items() if calls["calls"] >= result["connections"] / 2]
    return report.markdown(["program", "calls an operation", "ns a call"], rows)


def text_of(result):
    return "\n\n".join([f"{result['rounds']} rounds. Load of the machine before and after: {result['load_before']:.1f}, {result['load_after']:.1f}.",
                        times_table(result["samples"]), programs_table(result["programs"])])

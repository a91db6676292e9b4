#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What --metrics.udp costs: round trips and sends of datagrams without weir, with it, and with the option; each program by the kernel's clock.

usage: tests/bench/udp.py [--rounds=N]
"""

import argparse
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import Lab  # noqa: E402
from lab.command import BUILD, wait_until  # noqa: E402
from programs import measure  # noqa: E402
from worlds import priority  # noqa: E402

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


def ratio(samples, row, world, base):
    ratios = [a / b for a, b in zip(samples[row, world], samples[row, base])]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=24)
    rounds = parser.parse_args().rounds
    with Lab("bench-udp-off") as off, Lab("bench-udp-on") as on:
        off.agent()
        on.agent("--metrics.udp")
        worlds = dict(zip(WORLDS, (World(off, True), World(off, False), World(on, False))))
        samples = {(row, world): [] for row in ROWS for world in WORLDS}
        for number in range(rounds):
            for row in ROWS:
                for turn in range(len(WORLDS)):
                    world = WORLDS[(turn + number) % len(WORLDS)]
                    samples[row, world].append(worlds[world].run(row))
        timed = measure(on, {row: lambda row=row: COUNT if worlds["--metrics.udp"].run(row) else 0 for row in ROWS})
    print("| ns for one operation | no weir | weir | --metrics.udp | weir / no weir | --metrics.udp / no weir |\n|---|---:|---:|---:|---:|---:|")
    for row in ROWS:
        medians = [statistics.median(samples[row, world]) for world in WORLDS]
        print(f"| {row} | {medians[0]:.0f} | {medians[1]:.0f} | {medians[2]:.0f} | {ratio(samples, row, WORLDS[1], WORLDS[0])} | "
              f"{ratio(samples, row, WORLDS[2], WORLDS[0])} |")
    print("\n| program | calls | ns a call |\n|---|---:|---:|")
    for row, result in timed.items():
        for hook, calls in result["hooks"].items():
            print(f"| {row}: {hook} | {calls['calls']} | {calls['ns'] / calls['calls']:.0f} |")


if __name__ == "__main__":
    main()

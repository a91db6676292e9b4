# SPDX-License-Identifier: Apache-2.0
"""What the accounting costs: a socket's life, bulk, a scrape over live sockets, the agent, memory; and the same of others."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import time

from lab import Lab, LabError, net
from lab.command import BUILD, run

import floor
import peer
import programs
import report
import worlds

ECHO = BUILD / "tests" / "echo"
PORT, SINK = 9100, 9200
SERVERS, EACH = 5, 12000  # no process has more files open than most machines allow
COUNT, HOLD_SIZES = 1000, (1000, 10000, 100000)
BULK = 1 << 18  # bytes of one operation
REST = 10  # seconds
SYSCTLS = ("net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_max_tw_buckets=10000")


class Pair:
    """A client pod and a server pod, both below weir's hooks or neither."""

    def __init__(self, client, server, place):
        self.client, self.server, self.place = worlds.Client(client, place), server, place
        for pod in (client, server):
            for sysctl in SYSCTLS:
                net.in_netns(pod.netns, "sysctl", "-qw", sysctl)
        client.popen(["sleep", "infinity"])  # so that its cgroup does not become empty between two loads: the agent is told of that
        ports = [*range(PORT, PORT + SERVERS), SINK]
        for port in ports:
            with place.priority():
                server.popen([ECHO, "--port", port, "--discard", int(port == SINK), "--cpu", place.cpu])
        server.wait_listen(*ports)

    def run(self, mode, count, size):
        port = SINK if mode == "bulk" else PORT
        return self.client.run(mode, f"{self.server.ip}:{port}", count, size)

    @contextlib.contextmanager
    def hold(self, count):
        """So many connections, for as long as the block lasts; several processes hold them. Yields what makes a round trip on each."""
        with contextlib.ExitStack() as stack:
            holders = []
            for number in range(-(-count // EACH)):
                argv = [worlds.LOAD, "hold", "--to", f"{self.server.ip}:{PORT + number}", "--count", min(EACH, count - number * EACH), "--size", 64]
                holders.append(stack.enter_context(self.client.pod.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)))

            def ready():
                if any(process.stdout.readline() != b"ready\n" for process in holders):
                    raise LabError(f"load hold: {count} connections could not be opened")

            def move():
                for process in holders:
                    process.stdin.write(b"\n")
                    process.stdin.flush()
                ready()

            ready()
            yield move
            for process in holders:
                process.stdin.close()
            for process in holders:
                process.wait(60)


def ns_of(command):
    began = time.perf_counter_ns()
    command()
    return time.perf_counter_ns() - began


def median_of(command, times=7):
    return statistics.median(ns_of(command) for _ in range(times))


# -- a socket's life -------------------------------------------------------------------------------------------------------

SOCKETS = {"pod to pod, orderly close": 2, "pod to pod, reset": 2, "outbound through the proxy": 4, "inbound through the proxy": 4}  # of a connection
FLOORS = {"empty": "empty programs at the same hooks", "store": "the same, and each socket's storage made"}


def plain_cases(pair):
    """{case: function that makes connections and returns how many}"""
    def plain(mode):
        return lambda: pair.run(mode, COUNT, 64)["operations"]

    return {"pod to pod, orderly close": plain("close"), "pod to pod, reset": plain("once")}


def captured_cases(meshed):
    def captured(path):
        return lambda: meshed.run(path, "once", COUNT, 64)["operations"]

    return {"outbound through the proxy": captured("out"), "inbound through the proxy": captured("in")}


def life(samples, case):
    """{"ns": [per socket and round], "hooks": {hook: (calls a connection, ns a connection)}}"""
    runs = [sample[case] for sample in samples]
    names = sorted({hook for one in runs for hook in one["hooks"]})
    each = {name: [(one["hooks"].get(name, {"calls": 0, "ns": 0}), one["connections"]) for one in runs] for name in names}
    return {
        "ns": [sum(hook["ns"] for hook in one["hooks"].values()) / one["connections"] / SOCKETS[case] for one in runs],
        "hooks": {hook: (statistics.median(one["calls"] / n for one, n in values), statistics.median(one["ns"] / n for one, n in values))
                  for hook, values in each.items()}}


def measure_lives(lab, bare, known, meshed, rounds):
    """Of weir and of each floor, side by side: {"weir" and FLOORS: {case: what life() says}}"""
    cases, samples = plain_cases(known) | captured_cases(meshed), {"weir": []} | {name: [] for name in FLOORS}
    for _ in range(rounds):
        samples["weir"].append(programs.measure(programs.attached(lab), cases))
        for name, sample in floor.measure(lab, plain_cases(bare)).items():
            samples[name].append(sample)
    return {name: {case: life(taken, case) for case in taken[0]} for name, taken in samples.items()}


# -- with and without ------------------------------------------------------------------------------------------------------

WORLDS = ("no weir", "empty programs", "storage made", "weir")


def measure_pairs(lab, bare, known, rounds):
    """Times side by side, in an order that changes from round to round: {row: {world: [ns, ...]}}"""
    rows = {"connect + 64 B round trip + orderly close": ("close", COUNT, 64), "connect + 64 B round trip + reset": ("once", COUNT, 64),
            "bulk, 256 KiB at a time": ("bulk", 800, BULK)}
    samples = {row: {world: [] for world in WORLDS} for row in rows}
    with floor.loaded(lab) as folder:
        attached = {"empty programs": floor.EMPTY, "storage made": floor.STORE}
        for number in range(rounds):
            for row, arguments in rows.items():
                for world in WORLDS if number % 2 else WORLDS[::-1]:
                    with floor.attached(lab, folder, attached.get(world, {})):
                        samples[row][world].append((known if world == "weir" else bare).run(*arguments)["ns"])
    return samples


# -- live sockets ----------------------------------------------------------------------------------------------------------

def slab():
    """Bytes of kernel objects in use that have no cache of their own: sockets have, their storage has not."""
    rows = [line.split() for line in pathlib.Path("/proc/slabinfo").read_text().splitlines() if line.startswith("kmalloc")]
    return sum(int(row[1]) * int(row[3]) for row in rows)


def fold(lab):
    (lab.bpf_dir / "iter_fold").read_bytes()


def cpu_ns(process):
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir())


def resident(process):
    lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def scrape_cost(agent):
    """ns of the agent's processor and of the clock for one scrape, and the answer's bytes."""
    before, began = cpu_ns(agent.process), time.perf_counter_ns()
    size = len(agent.get("/metrics")[1])
    return cpu_ns(agent.process) - before, time.perf_counter_ns() - began, size


def read_ss(netns):
    """ss -tin of one network namespace: ns, and how many sockets it printed."""
    lines = []
    began = time.perf_counter_ns()
    with subprocess.Popen(["nsenter", f"--net={net.netns_path(netns)}", "ss", "-tinH"], stdout=subprocess.PIPE, text=True) as process:
        lines.append(sum(1 for line in process.stdout if not line.startswith("\t")))
    return time.perf_counter_ns() - began, lines[0]


def ns_of_moved(lab, move):
    """A fold after each socket has sent and received since the last one; the next one finds them at rest."""
    move()
    time.sleep(0.002)
    return ns_of(lambda: fold(lab))


def measure_held(lab, agent, bare, known, size):
    """size sockets are size / 2 connections between pods of this node: each has both ends here."""
    memory = {}
    result = {"sockets": size}
    for world, pair in (("no weir", bare), ("weir", known)):
        before = slab()
        with pair.hold(size // 2) as move:
            memory[world] = slab() - before
            if pair is known:
                with pair.place.priority(), floor.walk(lab, "walk") as walk, floor.walk(lab, "look") as look:
                    result["moved_ns"] = statistics.median(ns_of_moved(lab, move) for _ in range(3))
                    result["fold_ns"] = median_of(lambda: fold(lab))
                    result["walk_ns"], result["look_ns"] = median_of(walk.read_bytes), median_of(look.read_bytes)
                    ss = [read_ss(pair.client.pod.netns) for _ in range(3)]
                scrapes = [scrape_cost(agent) for _ in range(5)]
                result["scrape_cpu_ns"], result["scrape_ns"], result["scrape_bytes"] = (statistics.median(column) for column in zip(*scrapes))
                result["resident"] = resident(agent.process)
                result["ss_ns_each"] = statistics.median(ns / max(count, 1) for ns, count in ss)
                result["ss_sockets"] = ss[0][1]
    result["bytes_each"] = (memory["weir"] - memory["no weir"]) / size if size >= 10000 else None  # else others' noise
    return result


# -- the agent and its tables ----------------------------------------------------------------------------------------------

def measure_rest(agent, pair):
    """The agent's processor time while traffic flows and nobody asks it anything."""
    time.sleep(2)
    before, made, until = cpu_ns(agent.process), 0, time.monotonic() + REST
    while time.monotonic() < until:
        made += pair.run("once", COUNT, 64)["operations"]
    return {"seconds": REST, "connections": made, "cpu_ns": cpu_ns(agent.process) - before}


def map_memory(lab):
    """{map: (bytes that the kernel charges for it, entries)} of what is pinned."""
    maps = {}
    for pin in sorted(lab.bpf_dir.glob("weir_*")):
        info = json.loads(run(programs.BPFTOOL, "-j", "map", "show", "pinned", pin).stdout)
        maps[pin.name] = (info["bytes_memlock"], info["max_entries"])
    return maps


# -- all of it -------------------------------------------------------------------------------------------------------------

def bench(options):
    place = worlds.Place(options.cpu, not options.normal_priority)
    rounds, sizes = (2, HOLD_SIZES[:1]) if options.quick else (options.rounds // 2, HOLD_SIZES)
    result = {"load_before": os.getloadavg()[0]}
    with Lab("bench-accounting") as lab:
        outside = worlds.Outside(lab)
        bare = Pair(outside("bare"), outside("bare-server"), place)
        weir, weir_peer = lab.pod("weir", mesh="istio", ipv6=False).write(), lab.pod("weir-peer", ipv6=False).write()
        client, server = lab.pod("client", ipv6=False).write(), lab.pod("server", ipv6=False).write()
        agent = lab.agent()
        known = Pair(client, server, place)
        meshed = worlds.Meshed(weir, weir_peer, place, redirects=True)
        result["lives"] = measure_lives(lab, bare, known, meshed, rounds)
        result["pairs"] = measure_pairs(lab, bare, known, rounds)
        result["rest"] = measure_rest(agent, known)
        result["held"] = [measure_held(lab, agent, bare, known, size) for size in sizes]
        result["maps"] = map_memory(lab)
        result["resident"] = resident(agent.process)
        result["peer"] = peer.measure(bare, rounds, COUNT)
    result["load_after"] = os.getloadavg()[0]
    return result


# -- tables ----------------------------------------------------------------------------------------------------------------

def quarts(values, digits=0):
    q = report.quartiles(values)
    return f"{q[1]:.{digits}f} ({q[0]:.{digits}f} to {q[2]:.{digits}f})"


def empty_calls(lives_, case):
    """ns a socket of as many calls of programs that do nothing; hooks that no such program was measured at count like sockops."""
    hooks = lives_["empty"].get(case, lives_["empty"]["pod to pod, orderly close"])["hooks"]
    each = {hook: ns / calls for hook, (calls, ns) in hooks.items()}
    return sum(calls * each.get(hook, each["sockops"]) for hook, (calls, _) in lives_["weir"][case]["hooks"].items()) / SOCKETS[case]


def lives_table(lives_):
    rows = []
    for case, one in lives_["weir"].items():
        for hook, (calls, ns) in one["hooks"].items():
            rows.append([f"{case}: {hook}", f"{calls:.1f}", f"{ns:.0f}", "", ""])
        rows.append([f"**{case}: all, a socket**", "", "", quarts(one["ns"]), f"{statistics.median(one['ns']) - empty_calls(lives_, case):.0f}"])
    for name, title in FLOORS.items():
        for case, one in lives_[name].items():
            calls, ns = (sum(column) for column in zip(*one["hooks"].values()))
            rows.append([f"floor of {case}: {title}", f"{calls:.1f}", f"{ns:.0f}", quarts(one["ns"]), ""])
    return report.markdown(["", "calls a connection", "ns a connection", "ns a socket", "less empty calls"], rows)


def pairs_table(samples):
    rows = []
    for row, worlds_ in samples.items():
        medians = {world: report.quartiles(values) for world, values in worlds_.items()}
        ratios = [report.ratio(report.ratios(worlds_, WORLDS[0], world)) for world in WORLDS[1:]]  # of rates: the inverse of times
        rows.append([row, *(report.microseconds(medians[world]) for world in WORLDS), *ratios])
    return report.markdown(["us for one operation", *WORLDS, *(f"rate: {world} / no weir" for world in WORLDS[1:])], rows)


def held_table(results):
    def each(one, name):
        return f"{one[name] / one['sockets'] / 1000:.2f}"

    rows = [[f"{one['sockets']:,}", f"{one['fold_ns'] / 1e6:.2f}", each(one, "fold_ns"), each(one, "moved_ns"), each(one, "walk_ns"), each(one, "look_ns"),
             f"{one['scrape_cpu_ns'] / 1e6:.1f}", f"{one['scrape_ns'] / 1e6:.1f}", f"{one['ss_ns_each'] / 1000:.2f}",
             f"{one['ss_ns_each'] / (one['fold_ns'] / one['sockets']):.0f}", f"{one['bytes_each']:.0f}" if one["bytes_each"] else ""] for one in results]
    return report.markdown(["live sockets", "fold, ms", "us a socket", "if all have moved", "of which the walk", "with a look at each", "scrape: agent's processor, ms", "whole, ms", "ss -tin: us a socket",
                            "ss / fold", "kernel memory, bytes a socket"], rows)


def maps_table(maps):
    rows = [[name, f"{size / 1024:,.0f}", f"{entries:,}"] for name, (size, entries) in sorted(maps.items(), key=lambda item: -item[1][0])]
    total = sum(size for size, _ in maps.values())
    return report.markdown(["map", "KiB", "room for"], [*rows, ["together", f"{total / 1024:,.0f}", ""]])


def text_of(result):
    rest = result["rest"]
    parts = [f"Load of the machine before and after: {result['load_before']:.1f}, {result['load_after']:.1f}.",
             "### A socket's life", lives_table(result["lives"]),
             "### With weir and without", pairs_table(result["pairs"]),
             "### Live sockets", held_table(result["held"]),
             "### The agent", f"At rest, with {rest['connections']:,} connections in {rest['seconds']} s: {rest['cpu_ns'] / 1e6:.3f} ms of processor time. "
             f"Resident: {result['resident'] / (1 << 20):.1f} MiB.",
             "### Maps", maps_table(result["maps"]),
             "### Another tool: tcplife", peer.text_of(result["peer"], result)]
    return "\n\n".join(parts)

# SPDX-License-Identifier: Apache-2.0
"""Peers without number: each connection comes from another address, or goes to another one. Nothing of weir's may grow with them.

WEIR_PEERS says how many; `make bench` takes half a million.
"""

import json
import os

from lab import Lab
from lab.agent import total
from lab.command import wait_until
from lab.net import ip_batch
from books import flow, metrics, pod_of
from support import PYTHON

PEERS = int(os.environ.get("WEIR_PEERS", "100000"))
NETWORKS = ("10.128.0.0/12", "198.18.0.0/15")  # private addresses, and public ones

# A reset leaves nothing in TIME_WAIT, so that the kernel's own limits are not met.
ACCEPT = """
import socket, struct
listener = socket.create_server(("0.0.0.0", 8080), backlog=4096)
print("ready", flush=True)
while True:
    listener.accept()[0].close()
"""
DIAL = """
import socket, struct, sys
addresses, mine, there = json.load(sys.stdin)
reset = struct.pack("ii", 1, 0)
for index in range(addresses["count"]):
    where = socket.inet_ntoa(struct.pack("!I", addresses["first"] + index))
    s = socket.socket()
    if mine:
        s.bind((where, 0))
    s.connect((there or where, 8080))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    s.close()
"""


def addresses(network, count):
    """The first so many of a network."""
    ip, _, length = network.partition("/")
    assert count <= 1 << 32 - int(length)
    return {"first": int.from_bytes(bytes(map(int, ip.split("."))), "big"), "count": count}


def accept(pod):
    server = pod.popen([PYTHON, "-c", ACCEPT], stdout=-1)
    assert server.stdout.readline() == b"ready\n"
    return server


def dial(pod, network, count, mine=False, there=None):
    """From each address of the network to `there`, or from the pod to each of them."""
    pod.run([PYTHON, "-c", "import json" + DIAL], stdin=json.dumps([addresses(network, count), mine, there]), timeout=1200)


def state(lab):
    """Resident memory, entries by table, number of series."""
    lab.agents[-1].metrics()  # what a scrape itself needs is there by now
    now = metrics(lab)
    tables = {dict(labels)["map"]: value for (name, labels), value in now.items() if name == "weir_map_entries"}
    return total(now, "process_resident_memory_bytes"), tables, sum(name.startswith("weir_") for name, _ in now)


def test_memory_does_not_grow_with_peers():
    with Lab("peers") as lab:
        lab.agent("--metrics.istio", "--metrics.pod-label", "--metrics.tls")
        server, client, world = pod_of(lab, "server"), pod_of(lab, "client"), lab.outside("world", ipv6=None)
        for network in NETWORKS:  # all of it is the world's own
            ip_batch(world.netns, f"route add local {network} dev lo")
            ip_batch(lab.node.name, f"route add {network} via {world.ip}")
        accepting = [accept(server), accept(world)]
        try:
            for network in NETWORKS:  # each kind of flow exists before it is measured
                dial(world, network, 100, mine=True, there=server.ip)
                dial(client, network, 100)
            before = state(lab)
            share = PEERS // 4
            for network in NETWORKS:
                dial(world, network, share, mine=True, there=server.ip)
                dial(client, network, share)
            wanted = 2 * (share + 100)
            wait_until(lambda: flow(lab, server, "inbound")["closed"] == wanted, "the last connection to be closed")
            assert flow(lab, client, "outbound") == {**flow(lab, client, "outbound"), "opened": wanted, "closed": wanted}
            after = state(lab)
        finally:
            for process in accepting:
                process.kill()
                process.wait()
        assert after[1:] == before[1:]
        assert after[0] - before[0] < 4 * PEERS, (before[0], after[0])  # less than could hold anything for each of them
        print(f"{4 * share} peers: {before[0] / 1e6:.2f} MB resident before, {after[0] / 1e6:.2f} MB after; {after[2]} series; "
              f"weir_flows {after[1]['weir_flows']:.0f}, weir_peers {after[1]['weir_peers']:.0f} entries")

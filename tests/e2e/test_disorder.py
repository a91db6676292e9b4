# SPDX-License-Identifier: Apache-2.0
"""Networks that lose, double and reorder packets: bytes count once at each end, datagrams as often as they arrive.

By a line that does so to always the same frames, on any kernel; and by netem, where the kernel has it (scripts/vm 6.1 -- scripts/smoke).
"""

import contextlib
import json
import re

import pytest

from books import metrics, pod_of, settled, wanted
from datagrams import TOOLS as DATAGRAM_TOOLS
from datagrams import figures
from datagrams import wanted as wanted_datagrams
from lab import LabError, net
from lab.agent import total
from lab.mangle import BadLine
from pairs import STREAM_TOOLS
from support import COUNTER, Shell

LINES = {  # what happens to frames, what netem is told for the same
    "loss": ({"lose": 40}, "loss 2%"),
    "duplicates": ({"double": 15}, "duplicate 5%"),
    "reordering": ({"hold": 12}, "delay 3ms reorder 75% 25%"),
    "all of it": ({"lose": 60, "double": 23, "hold": 17}, "delay 3ms 2ms loss 1% duplicate 2% reorder 50% 25%"),
}

AGENT_OPTIONS = ("--metrics.udp",)


def netem(pods, options):
    for pod in pods:
        try:
            net.in_netns(pod.netns, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", *options.split())
        except LabError as error:
            if "qdisc kind is unknown" in str(error) or "not found" in str(error):
                pytest.skip("this kernel has no netem (CONFIG_NET_SCH_NETEM)")
            raise


@contextlib.contextmanager
def pair(lab, by, line):
    """(client, server) with a bad line between them."""
    name = f"{by}-{next(COUNTER)}"
    frames, options = LINES[line]
    server, client = pod_of(lab, f"{name}-server"), pod_of(lab, name)
    if by == "netem":
        netem((server, client), options)
        yield client, server
        return
    with BadLine(client, **frames):
        yield client, server


def counter(pod, name):
    """One of the kernel's counters of a pod."""
    fields = net.in_netns(pod.netns, "nstat", "-asz", name).stdout.split()
    return int(fields[fields.index(name) + 1])


@pytest.mark.parametrize("by", ["frames", "netem"])
@pytest.mark.parametrize("line", LINES)
def test_streams(node, by, line):
    with pair(node, by, line) as (client, server), Shell(client) as near, Shell(server) as far:
        for shell in (near, far):
            shell(STREAM_TOOLS)
        for port, family, address in ((8080, "AF_INET", server.ip), (8081, "AF_INET6", server.ipv6)):
            far(f"l = tcp({family}); l.bind(('', {port})); l.listen(64)")
            near(f"s = tcp({family}); s.connect(('{address}', {port}))")
            far("c = l.accept()[0]; t = threading.Thread(target=lambda: [drain(c, 1500000), c.sendall(b'y' * 400000), c.close()]); t.start()")
            near("s.sendall(b'x' * 1500000)")
            assert near("drain(s)") == 400000
            near("s.close()")
            far("t.join()")
        assert settled(node, client, "outbound", 2) == wanted(3000000, 800000, 2)
        assert settled(node, server, "inbound", 2) == wanted(800000, 3000000, 2)
        seen = {"retransmitted": total(metrics(node), "weir_tcp_retransmitted_segments_total", workload=client.name),
                "doubled": counter(server, "TcpExtTCPDSACKOldSent") + counter(client, "TcpExtTCPDSACKOldSent"),
                "out of order": counter(server, "TcpExtTCPOFOQueue") + counter(client, "TcpExtTCPOFOQueue")}
        for what in {"loss": ["retransmitted"], "duplicates": ["doubled"], "reordering": ["out of order"], "all of it": list(seen)}[line]:
            assert seen[what] > 0, (what, seen)


@pytest.mark.parametrize("by", ["frames", "netem"])
def test_datagrams(node, by):
    """What is lost was sent; what is doubled is received twice; a fragment that is missing loses the whole."""
    with pair(node, by, "all of it") as (client, server), Shell(client, uid=0) as near, Shell(server, uid=0) as far:
        for shell in (near, far):
            shell(DATAGRAM_TOOLS)
        far("s = udp(AF_INET, 5000)")
        near(f"s = udp(); [s.sendto(bytes(n % 3000), ('{server.ip}', 5000)) or n % 20 or time.sleep(0.01) for n in range(2000)] and None")
        datagrams, size = far("time.sleep(0.3) or drain(s)")
        assert 0 < datagrams != 2000
        assert figures(node, client, "outbound") == wanted_datagrams((2000, sum(n % 3000 for n in range(2000))))
        assert figures(node, server, "inbound") == wanted_datagrams(received=(datagrams, size))


def dropped(pod, by):
    """Packets that a pod's own kernel did not let out."""
    if by == "queue":
        return json.loads(net.in_netns(pod.netns, "tc", "-s", "-j", "qdisc", "show", "dev", "eth0").stdout)[0]["drops"]
    return int(re.search(r"counter packets (\d+)", net.in_netns(pod.netns, "nft", "list", "ruleset").stdout)[1])


@pytest.mark.parametrize("by", ["queue", "packet filter"])
def test_drops_on_the_local_output_path(node, by):
    """The stack itself is told that a segment was not taken: it counts as sent when it has left."""
    name = f"local-{next(COUNTER)}"
    client, server = pod_of(node, name), pod_of(node, f"{name}-server")
    for pod in (client, server):
        if by == "queue":
            net.in_netns(pod.netns, *"tc qdisc add dev eth0 root tbf rate 40mbit burst 4000 limit 5000".split())
            net.in_netns(pod.netns, "ip", "link", "set", "eth0", "gso_max_segs", "1")
        else:
            rule = "meta l4proto tcp numgen inc mod 20 == 7 counter drop;"
            net.in_netns(pod.netns, "nft", "-f", "-", stdin=f"table inet t {{ chain c {{ type filter hook output priority 0; {rule} }}\n}}\n")
    with Shell(client) as near, Shell(server) as far:
        for shell in (near, far):
            shell(STREAM_TOOLS)
        far("l = tcp(AF_INET6); l.bind(('', 8080)); l.listen(64)")
        near(f"s = tcp(); s.connect(('{server.ip}', 8080))")
        far("c = l.accept()[0]; t = threading.Thread(target=lambda: [drain(c, 1000000), c.sendall(b'y' * 300000), c.close()]); t.start()")
        near("s.sendall(b'x' * 1000000)")
        assert near("drain(s)") == 300000
        near("s.close()")
        far("t.join()")
    assert settled(node, client, "outbound", 1) == wanted(1000000, 300000)
    assert settled(node, server, "inbound", 1) == wanted(300000, 1000000)
    for pod in (client, server):
        assert dropped(pod, by) > 0

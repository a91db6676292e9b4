# SPDX-License-Identifier: Apache-2.0
"""Datagrams that one send() brings to many sockets, or to another than the one that asked: broadcast, multicast, groups of sockets at a port."""

import pytest

from books import pod_of
from datagrams import TOOLS, Datagrams, figures, series, wanted
from lab import net
from lab.command import run, wait_until
from support import NodesShell, Shell

JOIN = {"AF_INET": "(IPPROTO_IP, IP_ADD_MEMBERSHIP, inet_aton('239.1.2.3') + inet_aton('172.30.0.%d'))",
        "AF_INET6": "(IPPROTO_IPV6, IPV6_JOIN_GROUP, inet_pton(AF_INET6, 'ff12::1234') + struct.pack('I', if_nametoindex('lan%d')))"}
GROUP = {"AF_INET": "('239.1.2.3', 6001)", "AF_INET6": "('ff12::1234', 6001, 0, if_nametoindex('lan1'))"}

AGENT_OPTIONS = ("--metrics.udp",)


@pytest.fixture(scope="module")
def pair(node):
    """Two pods that have a wire between them besides."""
    with Datagrams(node, "lan", "AF_INET") as made:
        run("ip", "link", "add", "lan1", "netns", made.client.netns, "type", "veth", "peer", "name", "lan2", "netns", made.server.netns)
        for number, pod in enumerate((made.client, made.server), 1):
            net.ip_batch(pod.netns, f"addr add 172.30.0.{number}/24 broadcast 172.30.0.255 dev lan{number}",
                         f"addr add fd30::{number}/64 dev lan{number}", f"link set lan{number} up")
        wait_until(lambda: all("inet6 fe80" in net.in_netns(pod.netns, "ip", "-6", "addr", "show", "dev", f"lan{number}").stdout
                               for number, pod in enumerate((made.client, made.server), 1)), "the wire to carry")
        yield made


def both(pair, port):
    """Datagrams that the client's and the server's sockets sent and received at a port, by direction and peer."""
    return [{key: value for key, value in series(pair.lab, pod).items() if key[3] == str(port)} for pod in (pair.client, pair.server)]


@pytest.mark.parametrize("to", ["172.30.0.255", "255.255.255.255"])
def test_broadcast(pair, to):
    """Sent once, to several; received by each other socket at the port, and by those of the pod itself as within the pod: not."""
    port = 6100 + len(to)
    for shell in (pair.near, pair.far):
        shell(f"a, b = [socket(AF_INET, SOCK_DGRAM) for _ in 'ab']; [(s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1), s.bind(('', {port})), s.settimeout(5)) for s in (a, b)] and None")
    pair.near(f"o = udp(); o.setsockopt(SOL_SOCKET, SO_BROADCAST, 1); o.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b'lan1'); [o.sendto(bytes(100), ('{to}', {port})) for _ in range(3)] and None")
    for shell in (pair.near, pair.far):
        assert shell("[take(s, 3) for s in (a, b)]") == [[3, 300], [3, 300]]
    assert both(pair, port) == [{("outbound", "several", "", str(port), "direct"): 3}, {("inbound", "unknown", "", str(port), "direct"): 6}]
    for shell in (pair.near, pair.far):
        shell("[s.close() for s in (a, b)] and None")


@pytest.mark.parametrize("family", GROUP)
def test_multicast(pair, family):
    """The same for a group; the sender listens to it as well."""
    level = "IPPROTO_IP, IP_MULTICAST_IF, inet_aton('172.30.0.1')" if family == "AF_INET" else "IPPROTO_IPV6, IPV6_MULTICAST_IF, if_nametoindex('lan1')"
    for number, shell in enumerate((pair.near, pair.far), 1):
        shell(f"a, b = [socket({family}, SOCK_DGRAM) for _ in 'ab']; [(s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1), s.bind(('', 6001)), s.settimeout(5), s.setsockopt(*{JOIN[family] % number})) for s in (a, b)] and None")
    before = both(pair, 6001)
    pair.near(f"o = udp({family}); o.setsockopt({level}); [o.sendto(bytes(100), {GROUP[family]}) for _ in range(3)] and None")
    for shell in (pair.near, pair.far):
        assert shell("[take(s, 3) for s in (a, b)]") == [[3, 300], [3, 300]]
    after = both(pair, 6001)
    sent, received = ("outbound", "several", "", "6001", "direct"), ("inbound", "unknown", "", "6001", "direct")
    assert [set(end) for end in after] == [{sent}, {received}]
    assert after[0][sent] - before[0].get(sent, 0) == 3
    assert after[1][received] - before[1].get(received, 0) == 6
    for shell in (pair.near, pair.far):
        shell("[s.close() for s in (a, b)] and None")


def test_sockets_that_share_a_port(node):
    """SO_REUSEPORT: each datagram reaches one of them."""
    with Datagrams(node, "shared", "AF_INET") as pair:
        pair.far("s.close(); ss = [socket(AF_INET, SOCK_DGRAM) for _ in range(4)]; [(s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1), s.bind(('', 5000))) for s in ss] and None")
        pair.near(f"[udp().sendto(bytes(n), ('{pair.server.ip}', 5000)) for n in range(50)] and None")
        taken = pair.far("[drain(s) for s in ss]")
        assert [sum(one) for one in zip(*taken)] == [50, 1225]
        pair.expect((50, 1225))


def test_a_checksum_that_is_wrong(node):
    """A long one reaches the socket, for the kernel looks when it is read: received, and read by nobody. A short one is seen through before."""
    with Datagrams(node, "corrupt", "AF_INET") as pair:
        pair.near(f"""
r = socket(AF_INET, SOCK_RAW, IPPROTO_RAW)
for size in (1000, 10):
    for checksum in (0, 0xbad, 0):  # 0: has none
        header = struct.pack('>BBHHHBBH4s4sHHHH', 0x45, 0, size + 28, 0, 0, 64, 17, 0, inet_aton('{pair.client.ip}'), inet_aton('{pair.server.ip}'), 1024, 5000, size + 8, checksum)
        r.sendto(header + bytes(size), ('{pair.server.ip}', 0))
""")
        assert pair.far("take(s, 4)") == [4, 2020]
        assert figures(node, pair.server, "inbound") == wanted(received=(5, 3020))


def test_a_process_of_the_node_in_a_pods_network(node):
    pod = pod_of(node, "entered")
    with NodesShell(pod) as nodes, Shell(pod, uid=0) as own:
        for shell in (nodes, own):
            shell(TOOLS)
        nodes("s = udp(AF_INET, 5000); s.sendto(b'x', ('10.99.0.1', 53))")
        own("s = udp(); s.sendto(b'xy', ('10.99.0.1', 53))")
    assert figures(node, pod, "outbound") == wanted((1, 2))

# SPDX-License-Identifier: Apache-2.0
"""What a connection stands on changes under it: addresses, interfaces, paths, options of its segments. Its bytes stay what they are."""

import pytest

from books import flow, settled, wanted
from lab import net
from lab.command import wait_until
from pairs import Streams


def ip(pod, *argv):
    net.in_netns(pod.netns, "ip", *argv)


def sysctl(pod, *settings):
    net.in_netns(pod.netns, "sysctl", "-qw", *settings)


KINDS = {
    "ECN": ("net.ipv4.tcp_ecn=1", ""),
    "no window scaling": ("net.ipv4.tcp_window_scaling=0", ""),
    "MTU probing": ("net.ipv4.tcp_mtu_probing=2", ""),
    "signatures": ("", "{s}.setsockopt(IPPROTO_TCP, 14, struct.pack('HH4s120sBBHI80s', 2, 0, inet_aton('{peer}'), b'', 0, 0, 4, 0, b'key!'))"),
    "small segments": ("", "{s}.setsockopt(IPPROTO_TCP, TCP_MAXSEG, 536)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_segments(node, kind):
    setting, option = KINDS[kind]
    with Streams(node, f"kind-{list(KINDS).index(kind)}") as pair:
        for pod in (pair.client, pair.server):
            if setting:
                sysctl(pod, setting)
        pair.far(f"l = tcp(); {option.format(s='l', peer=pair.client.ip)}\nl.bind(('0.0.0.0', 8080)); l.listen(64)")
        pair.near(f"s = tcp(); {option.format(s='s', peer=pair.server.ip)}\ns.connect({pair.address})")
        pair.far("c = l.accept()[0]; t = threading.Thread(target=lambda: globals().update(got=drain(c, 400000))); t.start()")
        pair.near("s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1); [s.sendall(b'x' * 40) for _ in range(2500)] and s.sendall(b'x' * 300000)")
        assert pair.far("t.join() or got") == 400000
        pair.far("c.sendall(b'y' * 70000); c.close()")
        assert pair.near("drain(s)") == 70000
        pair.near("s.close()")
        pair.expect(400000, 70000)


def test_an_address_that_goes(node):
    """The pod's address is taken from it: what is on its way never arrives, and the connection ends by its own timeout."""
    with Streams(node, "renumbered") as pair:
        near, far = pair.open()
        near("s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 700); s.sendall(b'x' * 100)")
        far("c.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 700); drain(c, 100)")
        link = net.in_netns(pair.client.netns, "ip", "-o", "-4", "addr", "show", "to", pair.client.ip).stdout.split()
        ip(pair.client, "addr", "del", link[3], "dev", link[1])
        near.errno("s.sendall(b'x' * 50)")
        far("c.sendall(b'y' * 30)")
        assert settled(node, pair.client, "outbound", 1)["received"] == 0
        wait_until(lambda: flow(node, pair.server, "inbound")["closed"] == 1, "the server to give up")
        ends = flow(node, pair.client, "outbound"), flow(node, pair.server, "inbound")
        assert ends[0]["sent"] in (100, 150) and ends[1] == wanted(30, 100)
        near("s.close()")
        far("c.close()")

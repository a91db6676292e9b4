# SPDX-License-Identifier: Apache-2.0
"""A connection that passes two real proxies, whatever mode they are in and whoever brings it there: once at each workload, once on each of its
proxy's further legs."""

import pytest

from books import NOTHING, flow, metrics, wanted
from lab import Lab
from lab.agent import total
from lab.command import wait_until
from proxies import ENVOY, ENVOY_TPROXY, ENVOY_TRANSPARENT, HAPROXY_TCP
from support import APP, KINDS, Shell, wait_state

THERE, BACK, LEG = 123456, 7890, "weir_proxy_tcp_"


@pytest.fixture(scope="module")
def node():
    with Lab("proxied") as lab:
        lab.agent()
        yield lab


def leg(now, pod, direction, name):
    """Of the proxy: (sent, received, opened, closed)."""
    return tuple(int(total(now, f"{LEG}{figure}_total", workload=pod.name, direction=direction, leg=name))
                 for figure in ("sent_bytes", "received_bytes", "connections_opened", "connections_closed"))


def known_pod(lab, proxy, kind):
    """A pod with this proxy; of kind iptables it has its mesh's own rules, and weir leaves it alone."""
    pod = proxy.pod(lab, kind)
    if kind == "iptables":
        wait_state(lab, pod.write(), "not_captured")
    proxy(pod)
    return pod


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
@pytest.mark.parametrize("proxy", [ENVOY, ENVOY_TPROXY, ENVOY_TRANSPARENT, HAPROXY_TCP])
def test_each_hop_once(node, proxy, family, kind):
    """Which of their connections rules of their own redirect is not seen: via is direct, and port, behind REDIRECT, the proxy's."""
    if family == "AF_INET6" and "6" not in proxy.outbound_families:
        pytest.skip("this proxy does not ask for the destination of IPv6 connections")
    client, server = known_pod(node, proxy, kind), known_pod(node, proxy, kind)
    own = {"via": "proxy", "port": "9000"} if kind == "weir" else {}
    with Shell(client, uid=APP) as near, Shell(server, uid=APP) as far:
        for shell in (near, far):
            shell("def drain(s): return len(b''.join(iter(lambda: s.recv(65536), b'')))")
        far(f"l = tcp({family}); l.bind(('', 9000)); l.listen()")
        near(f"s = tcp({family}); s.connect(('{server.ip if family == 'AF_INET' else server.ipv6}', 9000)); s.sendall(bytes({THERE})); s.shutdown(SHUT_WR)")
        assert far("globals().update(c=l.accept()[0]) or drain(c)") == THERE
        far(f"c.sendall(bytes({BACK})); c.close(); l.close()")
        assert near("drain(s)") == BACK
        near("s.close()")
    wait_until(lambda: leg(metrics(node), client, "outbound", "network")[3] == leg(metrics(node), server, "inbound", "application")[3] == 1, "the legs to end")
    wait_until(lambda: flow(node, server, "inbound")["open"] == 0, "the connection to end")
    now = metrics(node)
    assert flow(node, client, "outbound") == flow(node, client, "outbound", **own) == wanted(THERE, BACK)
    assert leg(now, client, "outbound", "network") == (THERE, BACK, 1, 1)
    assert flow(node, server, "inbound") == flow(node, server, "inbound", **own) == wanted(BACK, THERE)
    assert leg(now, server, "inbound", "application") == (THERE, BACK, 1, 1)
    assert flow(node, client, "inbound") == flow(node, server, "outbound") == NOTHING
    assert leg(now, client, "inbound", "application") == leg(now, server, "outbound", "network") == (0, 0, 0, 0)

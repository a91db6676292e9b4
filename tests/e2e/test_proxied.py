# SPDX-License-Identifier: Apache-2.0
"""A connection that passes two real proxies, whatever mode they are in and whoever brings it there: once at each workload, once on each of its
proxy's further legs."""

import subprocess

import pytest

from books import NOTHING, flow, metrics, pod_of, wanted
from lab import Lab, net
from lab.agent import total
from lab.command import PROBE, wait_until
from proxies import ENVOY, ENVOY_TPROXY, ENVOY_TRANSPARENT, HAPROXY_TCP
from support import APP, KINDS, PYTHON, Shell, wait_state

THERE, BACK, LEG = 123456, 7890, "weir_proxy_tcp_"


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


def test_connections_older_than_weir():
    """Of a pod that others redirect: the proxy's onward leg, found, is its own; from then on each byte counts once."""
    with Lab("proxied-older") as lab:
        client, server = (ENVOY.values[0].pod(lab, "iptables") for _ in "cs")
        for pod in (client, server):
            ENVOY.values[0](pod)
        with Shell(client, uid=APP) as near, Shell(server, uid=APP) as far:
            far("l = tcp(); l.bind(('', 9000)); l.listen()")
            near(f"s = tcp(); s.connect(('{server.ip}', 9000)); s.sendall(bytes(1000))")
            far("c = l.accept()[0]; c.recv(1000, MSG_WAITALL)")
            lab.agent()
            for pod in (client, server):
                wait_state(lab, pod.write(), "not_captured")
            near(f"s.sendall(bytes({THERE}))")
            far(f"c.recv({THERE}, MSG_WAITALL); c.sendall(bytes({BACK})); c.close(); l.close()")
            near(f"s.recv({BACK}, MSG_WAITALL); s.close()")
        wait_until(lambda: flow(lab, client, "outbound")["closed"] == flow(lab, server, "inbound")["closed"] == 1, "the connection to end")
        wait_until(lambda: leg(metrics(lab), client, "outbound", "network")[3] == 1, "the leg to end")
        assert flow(lab, client, "outbound") == wanted(THERE, BACK)
        assert leg(metrics(lab), client, "outbound", "network") == (THERE, BACK, 1, 1)
        assert flow(lab, server, "inbound") == flow(lab, server, "inbound", via="direct") == wanted(BACK, THERE)
        assert flow(lab, client, "inbound") == flow(lab, server, "outbound") == NOTHING


ZTUNNEL = """
import select, socket, sys, threading
MARK, TRANSPARENT = 1337, 19
def marked():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, 36, MARK)
    return s
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
def serve(port, onward):
    l = socket.socket()  # ztunnel's is marked as well, and connection marks lead its answers; here the rule would turn them back
    l.bind(("", port))
    l.listen()
    a, peer = l.accept()
    b = marked()
    onward(b, peer)
    back = threading.Thread(target=copy, args=(b, a))
    back.start()
    copy(a, b)
    back.join()
def to_ztunnel(s, peer):
    s.connect((sys.argv[1], 15008))
def to_application(s, peer):
    s.setsockopt(socket.IPPROTO_IP, TRANSPARENT, 1)
    s.bind((peer[0], 0))
    s.connect((sys.argv[1], 9000))
serve(15001, to_ztunnel) if sys.argv[2] == "outbound" else serve(15008, to_application)
"""


def test_ambient(node):
    """A process of another pod has its sockets in the networks of both, as ztunnel has, and goes on with the client's address."""
    tunnel, ambient = node.pod("ztunnel"), {"ambient.istio.io/redirection": "enabled"}
    client, server = (pod_of(node, name, annotations=ambient) for name in ("ambient-client", "ambient-server"))
    rule = "chain c { type nat hook output priority -100; meta mark != 1337 tcp dport 9000 redirect to :15001; }"
    net.in_netns(client.netns, "nft", "-f", "-", stdin=f"table ip t {{ {rule}\n}}\n")
    net.ip_batch(server.netns, "rule add fwmark 1337 lookup 100", "route add local default dev lo table 100")
    net.in_netns(server.netns, "sysctl", "-qw", "net.ipv4.tcp_fwmark_accept=1")
    place = ["--cgroup", tunnel.container_cgroup(), "--pdeathsig"]
    halves = [subprocess.Popen([str(arg) for arg in (PROBE, "exec", "--netns", net.netns_path(pod.netns), *place, "--", PYTHON, "-c", ZTUNNEL, server.ip, way)])
              for pod, way in ((client, "outbound"), (server, "inbound"))]
    client.wait_listen(15001)
    server.wait_listen(15008)
    try:
        with Shell(client) as near, Shell(server) as far:
            far("l = tcp(); l.bind(('', 9000)); l.listen()")
            near(f"s = tcp(); s.connect(('{server.ip}', 9000)); s.sendall(bytes({THERE})); s.shutdown(SHUT_WR)")
            assert far("globals().update(c=l.accept()[0], got=b'') or c.getpeername()[0]") == client.ip
            assert far("len(b''.join(iter(lambda: c.recv(65536), b'')))") == THERE
            far(f"c.sendall(bytes({BACK})); c.close(); l.close()")
            assert near("len(b''.join(iter(lambda: s.recv(65536), b'')))") == BACK
            near("s.close()")
        for half in halves:
            half.wait(10)
    finally:
        for half in halves:
            half.kill()
            half.wait()
    wait_until(lambda: leg(metrics(node), client, "outbound", "network")[3] == leg(metrics(node), server, "inbound", "application")[3] == 1, "the legs to end")
    wait_until(lambda: flow(node, server, "inbound")["open"] == 0, "the connection to end")
    now = metrics(node)
    assert flow(node, client, "outbound") == flow(node, client, "outbound", port="9000", peer_workload=server.name) == wanted(THERE, BACK)
    assert leg(now, client, "outbound", "network") == (THERE, BACK, 1, 1)
    assert flow(node, server, "inbound") == flow(node, server, "inbound", port="15008", peer_workload=client.name) == wanted(BACK, THERE)
    assert leg(now, server, "inbound", "application") == (THERE, BACK, 1, 1)
    assert flow(node, client, "inbound") == flow(node, server, "outbound") == NOTHING

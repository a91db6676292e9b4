# SPDX-License-Identifier: Apache-2.0
"""Real proxies ask SO_ORIGINAL_DST in their own ways: Envoy as Istio's sidecar, and HAProxy as a transparent TCP proxy. Out and in, both families.

A proxy passes on what the application behind it says, so the probe's line is the far end's view: the last leg came from the proxy.
"""

import re
import signal

import pytest

from lab import envoy
from proxies import ENVOY, HAPROXY_TCP, endpoint, host
from support import APP, PYTHON, mesh_pod, plain, plain_pod

EACH = pytest.mark.parametrize("proxy", [ENVOY, HAPROXY_TCP])


def addresses(pod):
    return pod.ip, pod.ipv6


@EACH
def test_outbound(node, proxy):
    """The proxy connects to what was dialled; the peer sees the pod's address."""
    pod, peer = mesh_pod(node), plain_pod(node, 443)
    running = proxy(pod)
    for family in proxy.outbound_families:
        own, ip = (pod.ipv6, peer.ipv6) if family == "6" else (pod.ip, peer.ip)
        answer = pod.connect(endpoint(ip, 443), options=["--send=100000", f"--family={family}"], uid=APP)
        assert answer["ok"] and answer["intact"] and answer["body"] == 100000, answer
        assert plain(answer["acceptor"]["sockname"]) == endpoint(ip, 443)
        assert host(answer["acceptor"]["peername"]) == own
        assert plain(answer["peername"]) == endpoint(ip, 443)
        assert plain(answer["acceptor"]["peername"]) != plain(answer["sockname"])  # two connections, not one
        running.saw("outbound", ip, 443, own)


@EACH
def test_inbound(node, proxy):
    """The application is reached on the port that was dialled, from 127.0.0.6 or ::6."""
    pod, peer = mesh_pod(node), plain_pod(node)
    pod.serve("[::]:8080", "[::]:9090", uid=APP)
    running = proxy(pod)
    for ip, source in zip(addresses(pod), ("127.0.0.6", "::6")):
        for port in (8080, 9090):
            answer = peer.connect(endpoint(ip, port), options=["--send=100000"])
            assert answer["ok"] and answer["intact"] and answer["body"] == 100000, answer
            assert answer["acceptor"]["listener"] == f"[::]:{port}"
            assert plain(answer["acceptor"]["sockname"]) == endpoint(ip, port)
            assert host(answer["acceptor"]["peername"]) == source
            running.saw("inbound", ip, port, peer.ipv6 if ":" in ip else peer.ip)


@EACH
def test_from_mesh_to_mesh(node, proxy):
    """Through the client's proxy and the server's."""
    client, server = mesh_pod(node), mesh_pod(node)
    for pod in (client, server):
        pod.serve("[::]:8080", uid=APP)
    here, there = proxy(client), proxy(server)
    for family in set(proxy.outbound_families) - {"mapped"}:
        own, ip, source = (client.ipv6, server.ipv6, "::6") if family == "6" else (client.ip, server.ip, "127.0.0.6")
        answer = client.connect(endpoint(ip, 8080), options=["--send=5000000"], uid=APP)
        assert answer["ok"] and answer["intact"] and host(answer["acceptor"]["peername"]) == source
        here.saw("outbound", ip, 8080, own)
        there.saw("inbound", ip, 8080, own)


@EACH
def test_a_proxy_that_dies_refuses_and_comes_back(node, proxy):
    """Killed: nothing is let through; started again: everything is as before."""
    pod, peer = mesh_pod(node), plain_pod(node, 443)
    pod.serve("[::]:8080", uid=APP)
    for _ in range(2):
        running = proxy(pod)
        assert pod.connect(f"{peer.ip}:443", uid=APP)["ok"] and peer.connect(f"{pod.ip}:8080")["ok"]
        running.end()
        assert pod.connect(f"{peer.ip}:443", uid=APP)["errno"] == "ECONNREFUSED"
        assert peer.connect(f"{pod.ip}:8080")["errno"] == "ECONNREFUSED"


@EACH
def test_a_hundred_connections_at_once(node, proxy):
    pod, peer = mesh_pod(node), plain_pod(node, *range(1000, 1020))
    proxy(pod)
    targets = [f"{peer.ip}:{port}" for port in range(1000, 1020)]
    answers = pod.connect(*targets, options=["--count=5", "--hold=0.2"], uid=APP)
    assert len(answers) == 100
    assert all(plain(answer["acceptor"]["sockname"]) == answer["target"] for answer in answers)


@pytest.mark.skipif(not envoy.ENVOY.exists(), reason="no Envoy: run scripts/fetch-envoy")
def test_an_http_request_passes_both_of_envoys_filters(node):
    """A Service's address; both proxies leave their mark in the headers."""
    client, server = mesh_pod(node), mesh_pod(node)
    server.popen([PYTHON, "-m", "http.server", "8080", "--bind", "0.0.0.0", "--directory", "/var/empty"], uid=APP)
    server.wait_listen(8080)
    for pod in (client, server):
        envoy.start(pod, ipv6=True)
    node.service("web", "10.96.2.1", {80: 8080}, [server])
    done = client.run(["curl", "-sS", "-D", "-", "-o", "/dev/null", "http://10.96.2.1/nothing"], uid=APP)
    assert "HTTP/1.1 404" in done.stdout
    marks = ", ".join(re.findall(r"^via: (.*)$", done.stdout, re.M | re.I))
    assert f"{client.name}-outbound" in marks and f"{server.name}-inbound" in marks


@EACH
def test_the_agent_may_die_meanwhile(node, proxy):
    """A proxy that starts while no agent runs gets its connections all the same."""
    pod, peer = mesh_pod(node), plain_pod(node, 443)
    pod.serve("[::]:8080", uid=APP)
    node.agents[-1].stop(signal.SIGKILL)
    try:
        running = proxy(pod)
        assert pod.connect(f"{peer.ip}:443", uid=APP)["ok"] and peer.connect(f"{pod.ip}:8080")["ok"]
        running.saw("outbound", peer.ip, 443, pod.ip)
        running.saw("inbound", pod.ip, 8080, peer.ip)
    finally:
        node.agent()

# SPDX-License-Identifier: Apache-2.0
"""hostUsers: false: the ids in rules and policies are those of the user namespace that owns the pod's network namespace.

Real iptables rules are loaded by the pod's own root there, for the kernel takes no owner match from anybody else.
"""

import json
import pathlib

import pytest

from lab import Lab, iptables, net
from proxies import ENVOY, HAPROXY_TCP, host
from support import KINDS, entries, listener_port, plain, plain_pod, wait_state
from test_outcomes import BASIC

FIRST = 300000  # to the node
PROXY, APP = 1337, 1000  # to the pod


@pytest.fixture(scope="module")
def world():
    spaces = {kind: net.UserNamespace(FIRST) for kind in KINDS}
    with Lab("userns") as lab:
        lab.agent()
        made = {"lab": lab, "peer": plain_pod(lab, 443)}
        for kind in KINDS:
            pod = made[kind] = lab.pod(kind, mesh="istio", ipv6=None, userns=spaces[kind])
            if kind == "iptables":
                spaces[kind].run("env", "XTABLES_LOCKFILE=/dev/null", "iptables-restore", "--noflush", stdin=iptables.split(BASIC)[0])
            else:
                item = pod.object()
                item["spec"]["hostUsers"] = False
                pod.write(item)
                wait_state(lab, pod)
            pod.serve("0.0.0.0:15001", "0.0.0.0:15006", uid=FIRST + PROXY, container="istio-proxy")
            pod.serve("0.0.0.0:8080", uid=FIRST + APP)
        yield made
        for space in spaces.values():
            space.close()


@pytest.mark.parametrize("kind", KINDS)
def test_owners(world, kind):
    pod, peer = world[kind], world["peer"]

    def lands(to, uid, gid):
        answer = pod.connect(to, uid=uid, gid=gid, options=["--timeout=5"])
        assert answer["ok"], answer
        return listener_port(answer)

    far, own = f"{peer.ip}:443", f"{pod.ip}:8080"
    assert lands(far, FIRST + APP, FIRST + APP) == 15001
    assert lands(far, FIRST, FIRST) == 15001
    assert lands(far, FIRST + PROXY, FIRST + PROXY) == 443
    assert lands(far, FIRST + APP, FIRST + PROXY) == 443
    assert lands(own, FIRST + PROXY, FIRST + PROXY) == 15006
    assert lands(own, FIRST + APP, FIRST + APP) == 8080
    # the node's 1337 is nobody in there
    assert lands(far, PROXY, PROXY) == 15001
    assert lands(own, PROXY, PROXY) == 8080


def test_an_id_that_is_not_mapped_is_nobodys(world):
    """A proxy whose user does not exist in the pod: nobody is taken for it."""
    lab = world["lab"]
    space = net.UserNamespace(FIRST, count=1200)
    pod = lab.pod("narrow", mesh="istio", ipv6=None, userns=space)
    pod.write()
    wait_state(lab, pod)
    pod.serve("0.0.0.0:15001", uid=FIRST + APP, container="istio-proxy")
    for uid in (PROXY, FIRST + PROXY):
        assert listener_port(pod.connect(f"{world['peer'].ip}:443", uid=uid)) == 15001
    policies = {item["formatted"]["value"]["proxy_uid"] for item in entries(lab, "weir_pods") if item["formatted"]["value"]["mode"] == "WEIR_MODE_CAPTURE"}
    assert policies == {FIRST + PROXY, 0xFFFFFFFF}, json.dumps(entries(lab, "weir_pods"))[:2000]
    space.close()


@pytest.mark.parametrize("proxy", [ENVOY, HAPROXY_TCP])
def test_a_real_proxy(world, proxy):
    """It runs in the pod's user namespace, as the pod's 1337; out and in, and when it has died."""
    lab, peer = world["lab"], world["peer"]
    space = net.UserNamespace(FIRST)
    pod = lab.pod(f"real-{proxy.__name__.lower()}", mesh="istio", ipv6=None, userns=space)
    item = pod.object()
    item["spec"]["hostUsers"] = False
    wait_state(lab, pod.write(item))
    pod.serve("0.0.0.0:8080", uid=FIRST + APP)
    running = proxy(pod)
    pid = running.process.pid
    assert pathlib.Path(f"/proc/{pid}").stat().st_uid == FIRST + PROXY
    assert pathlib.Path(f"/proc/{pid}/ns/user").readlink() != pathlib.Path("/proc/self/ns/user").readlink()

    out = pod.connect(f"{peer.ip}:443", uid=FIRST + APP, options=["--send=100000"])
    assert out["ok"] and out["intact"] and plain(out["acceptor"]["sockname"]) == f"{peer.ip}:443", out
    assert host(out["acceptor"]["peername"]) == pod.ip and plain(out["acceptor"]["peername"]) != plain(out["sockname"])
    running.saw("outbound", peer.ip, 443, pod.ip)
    into = peer.connect(f"{pod.ip}:8080", options=["--send=100000"])
    assert into["ok"] and into["intact"] and host(into["acceptor"]["peername"]) == "127.0.0.6", into
    running.saw("inbound", pod.ip, 8080, peer.ip)

    running.end()
    assert pod.connect(f"{peer.ip}:443", uid=FIRST + APP)["errno"] == "ECONNREFUSED"
    assert peer.connect(f"{pod.ip}:8080")["errno"] == "ECONNREFUSED"
    space.close()


def test_explain_takes_the_nodes_ids(world):
    pod, to = world["weir"], f"--to={world['peer'].ip}:443"

    def explain(*options):
        return world["lab"].weir("explain", f"default/{pod.name}", to, *options, "-o", "json")["reason"]

    assert explain(f"--uid={FIRST + PROXY}") == "proxy_uid"
    assert explain(f"--uid={PROXY}") == "all_included"
    assert explain(f"--gid={FIRST + PROXY}") == "proxy_gid"

# SPDX-License-Identifier: Apache-2.0
"""TPROXY mode, in a pod with Istio's own rules for it loaded by the real iptables-restore and in one under weir.

In this mode the proxy runs as root with the mesh's group: rule 3b keeps its calls on lo out of table nat, and table mangle's mark brings
them to the inbound listener.
"""

import pytest

from lab import Lab
from support import APP, KINDS, PROXY, Shell, entries, listener_port, plain, plain_pod, wait_state

INTERCEPTION = "sidecar.istio.io/interceptionMode"
RULES = """* mangle
-N ISTIO_DIVERT
-N ISTIO_TPROXY
-N ISTIO_INBOUND
-A ISTIO_DIVERT -j MARK --set-mark 1337
-A ISTIO_DIVERT -j ACCEPT
-A ISTIO_TPROXY ! -d {one} -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
-A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN
-A OUTPUT ! -d {one} -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338
-A OUTPUT ! -d {one} -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338
-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
-I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN
-I ISTIO_INBOUND 2 -p tcp -s {six} -i lo -j RETURN
-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN
COMMIT
* nat
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -p tcp --dport 15020 -j RETURN
-A ISTIO_OUTPUT -o lo -s {six} -j RETURN
-A ISTIO_OUTPUT -o lo ! -d {one} -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d {one} -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d {one} -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
"""
TPROXY = RULES.format(six="127.0.0.6/32", one="127.0.0.1/32")


@pytest.fixture(scope="module")
def world():
    with Lab("tproxy") as lab:
        lab.agent()
        peer = plain_pod(lab, 80, 443)
        made = {"lab": lab, "peer": peer}
        for kind in KINDS:
            pod = made[kind] = lab.pod(kind, mesh="istio", annotations={INTERCEPTION: "TPROXY"})
            if kind == "iptables":
                lab.iptables(pod, TPROXY)
            else:
                pod.write()
                wait_state(lab, pod)
            pod.serve("0.0.0.0:15006", uid=0, gid=PROXY, container="istio-proxy", options=["--transparent"])
            pod.serve("0.0.0.0:15001", "0.0.0.0:15008", uid=0, gid=PROXY, container="istio-proxy")
            pod.serve("0.0.0.0:8080", "0.0.0.0:15020", uid=APP)
        yield made


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def seen(answer):
    assert answer["ok"], answer
    acceptor = answer["acceptor"]
    return listener_port(answer), acceptor["sockname"], acceptor["odst_ip"], acceptor["peername"].rpartition(":")[0]


@pytest.mark.parametrize("port,lands", [(8080, 15006), (9999, 15006), (15001, 15006), (15008, 15006), (15006, 15006), (15020, 15020)])
def test_from_outside(world, kind, port, lands):
    """Also 15008; the acceptor's own address is the dialled one."""
    pod = world[kind]
    to = f"{pod.ip}:{port}"
    assert seen(world["peer"].connect(to, options=["--timeout=5"])) == (lands, to, to, world["peer"].ip)


WHO = {"root and the mesh's group": (0, PROXY), "another user and the mesh's group": (APP, PROXY)}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("to", ["POD:8080", "POD:15008", "127.0.0.2:8080"])
def test_the_proxy_calls_its_own_pod(world, kind, who, to):
    """Over lo to the inbound listener, at the dialled address."""
    pod, (uid, gid) = world[kind], WHO[who]
    to = to.replace("POD", pod.ip)
    source = pod.ip if pod.ip in to else "127.0.0.1"
    answer = pod.connect(to, uid=uid, gid=gid, options=["--timeout=5"])
    assert seen(answer) == (15006, to, to, source)
    assert answer["peername"] == to


def test_by_uid_as_in_redirect_mode(world, kind):
    pod = world[kind]
    got = seen(pod.connect(f"{pod.ip}:8080", uid=PROXY, options=["--timeout=5"]))
    assert got == (15006, "127.0.0.1:15006", f"{pod.ip}:8080", pod.ip)


def test_what_is_not_the_proxys_stays(world, kind):
    pod = world[kind]
    to = f"{pod.ip}:8080"
    assert seen(pod.connect(to, uid=APP)) == (8080, to, to, pod.ip)
    assert seen(pod.connect(to, uid=0, gid=PROXY, options=["--bind=127.0.0.6"])) == (8080, to, to, "127.0.0.6")
    assert seen(pod.connect("127.0.0.1:8080", uid=0, gid=PROXY))[0] == 8080
    assert seen(pod.connect(f"{pod.ip}:15020", uid=0, gid=PROXY))[0] == 15020
    assert listener_port(pod.connect(f"{world['peer'].ip}:443", uid=APP)) == 15001
    assert pod.connect(f"{world['peer'].ip}:443", uid=0, gid=PROXY)["acceptor"]["listener"] == "[::]:443"


def test_the_proxy_goes_on_with_the_clients_address(world, kind):
    """Envoy's original_src: mark 1337 and the client's address as source; the application's answer comes back to the proxy."""
    pod, client = world[kind], world["peer"].ip
    with Shell(pod, uid=0, gid=PROXY) as proxy:
        proxy("s = tcp(); s.setsockopt(SOL_SOCKET, 36, 1337); s.setsockopt(SOL_IP, 19, 1)")
        proxy(f"s.bind(({client!r}, 0)); s.connect(({pod.ip!r}, 8080))")
        line = proxy("greeting(s)")
        assert line["listener"] == "0.0.0.0:8080"
        assert plain(line["sockname"]) == f"{pod.ip}:8080"
        assert line["peername"].rpartition(":")[0] == client
        proxy("s.sendall(b'x' * 100000)")
        assert proxy("len(s.recv(100000, MSG_WAITALL))") == 100000


def test_explain(world):
    pod = world["weir"]

    def explain(*options):
        return world["lab"].weir("explain", f"default/{pod.name}", *options, "-o", "json")

    got = explain(f"--to={pod.ip}:8080", "--uid=0", f"--gid={PROXY}")
    assert (got["verdict"], got["to"], got["reason"]) == ("redirect", f"{pod.ip}:15006", "self_call")
    got = explain(f"--to={pod.ip}:8080", f"--uid={PROXY}")
    assert (got["verdict"], got["to"], got["reason"]) == ("redirect", "127.0.0.1:15006", "self_call")
    assert explain("--inbound=15008")["verdict"] == "redirect"


def test_nothing_is_left_behind(world):
    """Handshakes that weir steered leave no entry."""
    assert entries(world["lab"], "weir_origdst") == []

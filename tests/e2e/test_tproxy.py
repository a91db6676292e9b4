# SPDX-License-Identifier: Apache-2.0
"""TPROXY mode, in a pod with Istio's own rules for it loaded by the real iptables-restore and in one under weir.

In this mode the proxy runs as root with the mesh's group: rule 3b keeps its calls on lo out of table nat, and table mangle's mark brings
them to the inbound listener.
"""

import pytest

from lab import Lab
from support import APP, KINDS, PROXY, Shell, as_container, entries, listener_port, plain, plain_pod, tproxy_pod


@pytest.fixture(scope="module")
def world():
    with Lab("tproxy") as lab:
        lab.agent(under=as_container("weir"))
        peer = plain_pod(lab, 80, 443)
        made = {"lab": lab, "peer": peer}
        for kind in KINDS:
            pod = made[kind] = tproxy_pod(lab, kind)
            pod.serve("[::]:15006", uid=0, gid=PROXY, container="istio-proxy", options=["--transparent"])
            pod.serve("[::]:15001", "[::]:15008", uid=0, gid=PROXY, container="istio-proxy")
            pod.serve("[::]:8080", "[::]:15020", uid=APP)
        yield made


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=["4", "6"])
def six(request):
    return request.param == "6"


def address(pod, six):
    return f"[{pod.ipv6}]" if six else pod.ip


def seen(answer):
    """Listener, the acceptor's own address, what SO_ORIGINAL_DST told it, and its client's address."""
    assert answer["ok"], answer
    acceptor = answer["acceptor"]
    six = not plain(acceptor["peername"])[0].isdigit()
    return listener_port(answer), plain(acceptor["sockname"]), plain(acceptor["odst_ipv6" if six else "odst_ip"]), plain(acceptor["peername"]).rpartition(":")[0]


@pytest.mark.parametrize("port,lands", [(8080, 15006), (9999, 15006), (15001, 15006), (15008, 15006), (15006, 15006), (15020, 15020)])
def test_from_outside(world, kind, six, port, lands):
    """Also 15008; the acceptor's own address is the dialled one."""
    to = f"{address(world[kind], six)}:{port}"
    assert seen(world["peer"].connect(to, options=["--timeout=5"])) == (lands, to, to, address(world["peer"], six))


WHO = {"root and the mesh's group": (0, PROXY), "another user and the mesh's group": (APP, PROXY)}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("six,to", [(False, "POD:8080"), (False, "POD:15008"), (False, "127.0.0.2:8080"), (True, "POD:8080"), (True, "POD:15008")])
def test_the_proxy_calls_its_own_pod(world, kind, six, who, to):
    """Over lo to the inbound listener, at the dialled address."""
    pod, (uid, gid) = world[kind], WHO[who]
    source = address(pod, six) if "POD" in to else "127.0.0.1"
    to = to.replace("POD", address(pod, six))
    answer = pod.connect(to, uid=uid, gid=gid, options=["--timeout=5"])
    assert seen(answer) == (15006, to, to, source)
    assert answer["peername"] == to


def test_by_uid_as_in_redirect_mode(world, kind, six):
    pod = world[kind]
    own = address(pod, six)
    got = seen(pod.connect(f"{own}:8080", uid=PROXY, options=["--timeout=5"]))
    assert got == (15006, f"{'[::1]' if six else '127.0.0.1'}:15006", f"{own}:8080", own)


def test_what_is_not_the_proxys_stays(world, kind, six):
    pod = world[kind]
    own, outside, one, mark = address(pod, six), address(world["peer"], six), "[::1]" if six else "127.0.0.1", "[::6]" if six else "127.0.0.6"
    to = f"{own}:8080"
    assert seen(pod.connect(to, uid=APP)) == (8080, to, to, own)
    assert seen(pod.connect(to, uid=0, gid=PROXY, options=[f"--bind={mark}"])) == (8080, to, to, mark)
    assert seen(pod.connect(f"{one}:8080", uid=0, gid=PROXY))[0] == 8080
    assert seen(pod.connect(f"{own}:15020", uid=0, gid=PROXY))[0] == 15020
    assert listener_port(pod.connect(f"{outside}:443", uid=APP)) == 15001
    assert pod.connect(f"{outside}:443", uid=0, gid=PROXY)["acceptor"]["listener"] == "[::]:443"


def test_the_proxy_goes_on_with_the_clients_address(world, kind, six):
    """Envoy's original_src: mark 1337 and the client's address as source; the application's answer comes back to the proxy."""
    pod, client = world[kind], world["peer"]
    own, source = (pod.ipv6, client.ipv6) if six else (pod.ip, client.ip)
    with Shell(pod, uid=0, gid=PROXY) as proxy:
        level, option = ("SOL_IPV6" if six else "SOL_IP"), (75 if six else 19)
        proxy(f"SOL_IPV6 = 41; s = socket({'AF_INET6' if six else 'AF_INET'}); s.setsockopt(SOL_SOCKET, 36, 1337); s.setsockopt({level}, {option}, 1)")
        proxy(f"s.bind(({source!r}, 0)); s.connect(({own!r}, 8080))")
        line = proxy("greeting(s)")
        assert line["listener"] == "[::]:8080"
        assert plain(line["sockname"]) == f"{address(pod, six)}:8080"
        assert plain(line["peername"]).rpartition(":")[0] == address(client, six)
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

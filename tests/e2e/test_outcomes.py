# SPDX-License-Identifier: Apache-2.0
"""Istio's default rule set, row by row: where each connection lands and what both ends see.

Every row runs twice, in a pod with Istio's own rules loaded by the real iptables-restore and in a pod under weir, for IPv4, for IPv6
and for IPv4-mapped addresses on AF_INET6 sockets. The one wanted difference: behind weir the inbound listener's own getsockname is what
was dialled, as in TPROXY mode, where REDIRECT shows port 15006.
"""

import re
from dataclasses import dataclass, field

import pytest

from lab import Lab

PROXY, APP = 1337, 1000
RULES = """* nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -p tcp --dport 15020 -j RETURN
-A ISTIO_OUTPUT -p udp --dport 15020 -j RETURN
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
BASIC = RULES.format(six="127.0.0.6/32", one="127.0.0.1/32") + RULES.format(six="::6/128", one="::1/128")


@dataclass
class Row:
    """One line of the table. Addresses: POD, PEER, VIP stand for the family's own; LOn is 127.0.0.n, or ::n."""

    number: str
    to: str
    lands: str  # listener:PORT by its number, "remote", "refused"
    uid: int = APP
    gid: int = None
    bind: str = None
    source: str = "POD"
    local: str = None  # of the acceptor, None: as dialled
    outside: bool = False
    v4_only: bool = False  # 127/8 has no like in IPv6
    families: tuple = field(default=("4", "6", "mapped"))

    def __str__(self):
        who = "outside" if self.outside else f"{self.uid}:{self.gid if self.gid is not None else self.uid}"
        return f"row{self.number}-{who}{'-bind-' + self.bind if self.bind else ''}-to-{self.to}"


OUT = {"lands": "15001", "local": "LO1:15001"}
SELF = {"lands": "15006", "local": "LO1:15006"}
ROWS = [
    Row("1", "VIP:80", **OUT),
    Row("1", "PEER:443", **OUT),
    Row("1", "PEER:15001", **OUT),
    Row("1", "PEER:15008", **OUT),
    Row("1", "PEER:443", uid=0, **OUT),
    Row("2", "POD:8080", "8080"),
    Row("3", "LO1:8080", "8080", source="LO1"),
    Row("3", "127.0.0.2:8080", "8080", source="LO1", v4_only=True),
    Row("4", "LO6:15002", "refused"),
    Row("5", "PEER:15020", "remote"),
    Row("6", "PEER:443", "remote", uid=PROXY),
    Row("6", "VIP:80", "remote", uid=PROXY),
    Row("7", "POD:8080", uid=PROXY, **SELF),
    Row("8", "POD:8080", "8080", uid=PROXY, bind="LO6", source="LO6"),
    Row("8", "POD:8080", "8080", bind="LO6", source="LO6"),
    Row("9", "LO1:8080", "8080", uid=PROXY, source="LO1"),
    Row("10", "127.0.0.2:8080", uid=PROXY, source="LO1", v4_only=True, **SELF),
    Row("10", "127.0.0.6:15002", uid=PROXY, source="LO1", v4_only=True, **SELF),
    Row("10", "LO6:15002", uid=PROXY, source="LO1", bind="LO1", **SELF),  # what istio-validation does
    Row("10", "LO6:8080", "8080", uid=PROXY, source="LO6", families=("6",)),  # an own address is its own source: rule 2
    Row("11", "POD:15008", "15008", uid=PROXY),
    Row("12", "POD:15006", uid=PROXY, **SELF),
    Row("13", "PEER:443", "remote", uid=PROXY, gid=APP),
    Row("13", "POD:8080", uid=PROXY, gid=APP, **SELF),
    Row("14", "PEER:443", "remote", uid=APP, gid=PROXY),
    Row("14", "PEER:443", "remote", uid=0, gid=PROXY),
    Row("15", "POD:8080", "8080", uid=APP, gid=PROXY),
    Row("15", "POD:8080", "8080", uid=0, gid=PROXY),
    Row("15", "127.0.0.2:8080", "8080", uid=APP, gid=PROXY, source="LO1", v4_only=True),
    Row("15", "127.0.0.6:15002", "refused", uid=APP, gid=PROXY, v4_only=True),
    *[Row("16", f"POD:{port}", "15006", outside=True, source="PEER") for port in (8080, 9090, 22, 53, 15000, 15001, 15004, 15053)],
    Row("17", "POD:15006", "15006", outside=True, source="PEER"),
    *[Row("18", f"POD:{port}", str(port), outside=True, source="PEER") for port in (15008, 15020, 15021, 15090)],
]
PROXY_PORTS = (15001, 15006, 15008, 15020, 15021, 15090)
APP_PORTS = (8080, 9090)


class World:
    """A pod with a proxy and an application, and a peer outside it."""

    def __init__(self, lab, name):
        self.pod = lab.pod(name, mesh="istio")
        self.peer = lab.pod(f"{name}-peer")
        self.vips = {"4": f"10.96.0.{self.pod.ip.rsplit('.')[-1]}", "6": f"fd00:10:96::{self.pod.ip.rsplit('.')[-1]}"}
        lab.service(name, list(self.vips.values()), {80: 80}, [self.peer])
        self.pod.serve(*[f"[::]:{port}" for port in PROXY_PORTS], uid=PROXY, container="istio-proxy")
        self.pod.serve(*[f"[::]:{port}" for port in APP_PORTS], uid=APP)
        self.peer.serve(*[f"[::]:{port}" for port in (80, 443, 15001, 15008, 15020)])

    def addresses(self, family):
        six = family == "6"
        return {"POD": self.pod.ipv6 if six else self.pod.ip, "PEER": self.peer.ipv6 if six else self.peer.ip,
                "VIP": self.vips["6" if six else "4"], "LO1": "::1" if six else "127.0.0.1", "LO6": "::6" if six else "127.0.0.6"}

    def real(self, text, family):
        """POD:80 -> 10.244.0.10:80 or [fd00::]:80."""
        host, _, port = text.partition(":") if text[0] in "PVL" else text.rpartition(":")
        host = self.addresses(family).get(host, host)
        if not port:
            return f"[{host}]" if ":" in host else host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def run(self, row, family):
        options = [f"--family={family}", "--timeout=5"]
        if row.bind:
            options.append(f"--bind={self.real(row.bind, family)}")
        client = self.peer if row.outside else self.pod
        gid = row.gid if row.gid is not None else row.uid
        return client.connect(self.real(row.to, family), options=options, uid=row.uid, gid=gid)


@pytest.fixture(scope="module")
def worlds():
    with Lab("outcomes") as lab:
        made = {kind: World(lab, kind) for kind in ("iptables", "weir")}
        lab.iptables(made["iptables"].pod, BASIC)
        pod = made["weir"].pod.object()
        for container in pod["spec"]["containers"]:
            if container["name"] == "istio-proxy":
                container.setdefault("env", []).append({"name": "ISTIO_DUAL_STACK", "value": "true"})
        made["weir"].pod.write(pod)
        made["weir"].peer.write()
        lab.agent()
        made["lab"] = lab
        yield made


def plain(endpoint):
    """[::ffff:1.2.3.4]:80 -> 1.2.3.4:80"""
    return re.sub(r"\[::ffff:([\d.]+)\]", r"\1", endpoint or "")


def host(endpoint):
    return plain(endpoint).rpartition(":")[0].strip("[]")


def families(row):
    return ("4", "mapped") if row.v4_only else row.families


CASES = [pytest.param(kind, row, family, id=f"{kind}-{row}-{'ipv' if family != 'mapped' else ''}{family}")
         for kind in ("iptables", "weir") for row in ROWS for family in families(row)]


@pytest.mark.parametrize("kind,row,family", CASES)
def test_row(worlds, kind, row, family):
    world = worlds[kind]
    got = world.run(row, family)
    if row.lands == "refused":
        assert got["errno"] == "ECONNREFUSED"
        return
    assert got["ok"], got
    real = world.addresses(family)
    dialled = world.real(row.to, family)
    acceptor = got["acceptor"]
    if row.lands == "remote":
        assert host(acceptor["listener"]) == "::" and acceptor["sockname"].endswith(row.to.rpartition(":")[2])
        assert host(acceptor["peername"]) == real["POD"]
    else:
        assert acceptor["listener"] == f"[::]:{row.lands}"
        assert host(acceptor["peername"]) == real.get(row.source, row.source)
        assert original_destination(acceptor, family) == dialled
        check_local(kind, world, row, family, acceptor)
    assert plain(got["peername"]) == dialled


def original_destination(acceptor, family):
    return plain(acceptor["odst_ipv6" if family == "6" else "odst_ip"])


def check_local(kind, world, row, family, acceptor):
    local = row.local or row.to
    if kind == "iptables" and row.outside and row.lands == "15006":
        local = "POD:15006"
    assert plain(acceptor["sockname"]) == world.real(local, family)


def test_udp_is_untouched(worlds):
    """Row 19: a datagram from the pod reaches the peer under weir."""
    script = ("import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(5)\n"
              "s.sendto(b'x',(sys.argv[1],53))\n")
    world = worlds["weir"]
    server = world.peer.popen(["/usr/bin/python3", "-c", "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                               "s.bind(('',53))\ns.settimeout(10)\nprint(s.recvfrom(9)[1][0])"], stdout=-1, stderr=-2)
    for _ in range(20):
        world.pod.run(["/usr/bin/python3", "-c", script, world.peer.ip], uid=APP)
        try:
            seen = server.communicate(timeout=0.3)[0].decode().strip()
            break
        except Exception:  # not bound yet
            continue
    assert seen == world.pod.ip


def test_nothing_in_the_pod(worlds):
    """No rule and no conntrack entry: weir needs neither."""
    pod = worlds["weir"].pod
    assert pod.run(["nft", "list", "ruleset"]).stdout.strip() == ""
    count = pod.run(["cat", "/proc/sys/net/netfilter/nf_conntrack_count"], check=False)
    assert count.returncode or int(count.stdout) == 0

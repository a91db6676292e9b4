# SPDX-License-Identifier: Apache-2.0
"""Several uids and gids of the proxy, and owner groups: beside real iptables, and as weir explain tells it."""

import pytest

from books import metrics
from lab import Lab
from lab.agent import total
from support import APP, KINDS, Shell, listener_port, plain_pod, wait_state

UIDS, GIDS = (1337, 1338, 1339), (1337, 2337)
SELF = "-o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner"


def rules(groups=()):
    """As istio-iptables makes them of -u 1337,1338,1339 -g 1337,2337; groups: lines of rule 5."""
    lines = ["* nat", "-N ISTIO_OUTPUT", "-A OUTPUT -j ISTIO_OUTPUT", "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN"]
    for kind, ids in (("uid", UIDS), ("gid", GIDS)):
        for number in ids:
            lines += [f"-A ISTIO_OUTPUT {SELF} --{kind}-owner {number} -j REDIRECT --to-ports 15006",
                      f"-A ISTIO_OUTPUT -o lo -m owner ! --{kind}-owner {number} -j RETURN",
                      f"-A ISTIO_OUTPUT -m owner --{kind}-owner {number} -j RETURN"]
    lines += [f"-A ISTIO_OUTPUT {line} -j RETURN" for line in groups]
    return "\n".join([*lines, "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN", "-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001", "COMMIT", ""])


WORLDS = {  # name: rule 5, the environment that makes it
    "all": ((), {}),
    "included": (["-m owner ! --gid-owner 2000 -m owner ! --gid-owner 3000"], {"ISTIO_OUTBOUND_OWNER_GROUPS": "2000,3000"}),
    "excluded": (["-m owner --gid-owner 2000", "-m owner --gid-owner 3000"], {"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "2000,3000"}),
}


def new_pod(lab, name):
    """istio-init has loaded no rules here, so capture is asked for."""
    return lab.pod(name, mesh="istio", ipv6=None, annotations={"weir.io/capture": "on"})


def announce(lab, pod, env):
    """istio-init's arguments are the only place where several ids stand."""
    item = pod.object()
    args = ["istio-iptables", "-p", "15001", "-z", "15006", "-u", ",".join(map(str, UIDS)), "-g", ",".join(map(str, GIDS)), "-m", "REDIRECT",
            "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"]
    item["spec"]["initContainers"] = [{"name": "istio-init", "image": "proxyv2", "args": args,
                                       "env": [{"name": key, "value": value} for key, value in env.items()]}]
    pod.write(item)
    return wait_state(lab, pod)


@pytest.fixture(scope="module")
def world():
    with Lab("owners") as lab:
        lab.agent("--metrics.udp")
        made = {"lab": lab, "peer": plain_pod(lab, 443)}
        for name, (groups, env) in WORLDS.items():
            for kind in KINDS:
                if kind == "weir":
                    pod = announce(lab, new_pod(lab, f"weir-{name}"), env)
                else:
                    pod = lab.pod(f"iptables-{name}", mesh="istio", ipv6=None)
                    lab.iptables(pod, rules(groups))
                pod.serve("0.0.0.0:15001", "0.0.0.0:15006", uid=UIDS[0], container="istio-proxy")
                pod.serve("0.0.0.0:8080", uid=APP)
                made[kind, name] = pod
        yield made


CALLERS = [(uid, gid) for uid in (*UIDS, APP, 0) for gid in (*GIDS, APP, 2000, 3000)]


def expected(name, uid, gid, own):
    """What follows from the order of the rules."""
    if own:
        return 15006 if uid == UIDS[0] else 8080
    if uid in UIDS or gid in GIDS:
        return 443
    captured = {"all": True, "included": gid in (2000, 3000), "excluded": gid not in (2000, 3000)}[name]
    return 15001 if captured else 443


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WORLDS)
def test_owners(world, kind, name):
    pod = world[kind, name]
    for uid, gid in CALLERS:
        for own, to in ((True, f"{pod.ip}:8080"), (False, f"{world['peer'].ip}:443")):
            answer = pod.connect(to, uid=uid, gid=gid, options=["--timeout=5"])
            assert answer["ok"], (uid, gid, to, answer)
            assert listener_port(answer) == expected(name, uid, gid, own), (uid, gid, to)


@pytest.mark.parametrize("name", WORLDS)
def test_explain(world, name):
    pod = world["weir", name]
    for uid, gid in CALLERS:
        for own, to in ((True, f"{pod.ip}:8080"), (False, f"{world['peer'].ip}:443")):
            got = world["lab"].weir("explain", f"default/{pod.name}", f"--to={to}", f"--uid={uid}", f"--gid={gid}", "-o", "json")
            assert int(got["to"].rpartition(":")[2]) == expected(name, uid, gid, own), (uid, gid, to, got)
            if got["reason"] == "owner_group":
                assert "ISTIO_OUTBOUND_OWNER_GROUPS" in got["because"] or "istio-init" in got["because"], got


@pytest.mark.parametrize("uid,gid,proxy", [(UIDS[0], APP, True), (UIDS[1], APP, True), (APP, GIDS[1], True), (APP, APP, False)])
def test_what_no_verdict_was_passed_on(world, uid, gid, proxy):
    """A connection that was there before its pod was known, and datagrams: the proxy's by any of its ids."""
    lab, peer = world["lab"], world["peer"]
    pod = new_pod(lab, f"found-{uid}-{gid}")
    with Shell(pod, uid=uid, gid=gid) as shell:
        shell(f"s, u = tcp(), socket(AF_INET, SOCK_DGRAM); s.connect(('{peer.ip}', 443))")
        announce(lab, pod, {})
        shell(f"u.sendto(b'12345', ('{peer.ip}', 5000))")
        shell("s.sendall(b'123') and None")
        for kind, size in (("tcp", 3), ("udp", 5)):
            for prefix, wanted in ((f"weir_{kind}", 0 if proxy else size), (f"weir_proxy_{kind}", size if proxy else 0)):
                assert total(metrics(lab), f"{prefix}_sent_bytes_total", workload=pod.name) == wanted, prefix
    pod.delete()

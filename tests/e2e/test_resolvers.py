# SPDX-License-Identifier: Apache-2.0
"""A real DNS server as the responder on 15053 and real resolvers before it: glibc's, musl's, Go's own and c-ares; in pods under weir and in such with
Istio's own rules for DNS capture.

dnsmasq runs as the proxy in the pods; what it does not know it asks of another one in a pod of its own, which the pods' resolv.conf names. That
one has other addresses for the same names, so an answer tells who gave it.
"""

import functools
import json
import re
import shutil

import pytest

import clients
from lab import Lab, iptables
from support import APP, KINDS, PROXY, wait_state
from test_dns import rules
from test_outcomes import BASIC

DNSMASQ = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(not DNSMASQ, reason="no dnsmasq: run scripts/setup")

DEAD = "192.0.2.53"
WEB, FAR = ["10.96.0.80", "fd00:96::80"], ["2001:db8::7", "203.0.113.7"]  # in the order of their texts
MANY = [f"198.51.100.{n}" for n in range(1, 101)]  # more than a datagram of 512 or 1232 bytes holds
RESPONDER = {"web.default.svc.cluster.local": WEB, "four.test": ["10.96.0.4"], "six.test": ["fd00:96::6"], "many.test": MANY}
UPSTREAM = {"web.default.svc.cluster.local": ["203.0.113.80"], "four.test": ["203.0.113.4"], "far.test": FAR}
SEARCH = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
MUSL_LIMIT = 48  # addresses that its getaddrinfo() returns at most
# Runs a program with a resolv.conf and nsswitch.conf of its own, as the application's user.
IN_CONTAINER = """mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/nsswitch.conf && mount --bind "$3" /etc/hosts && shift 3 &&
exec setpriv --reuid {user} --regid {user} --clear-groups -- "$@" """.format(user=APP)


class Dnsmasq:
    """A running server with these names; what else it is asked it asks of `upstream`. Its log shows who asked."""

    def __init__(self, pod, names, addresses, port=53, upstream=None, **place):
        lab = pod.lab
        hosts = lab.run_dir.parent / f"{pod.name}.names"
        hosts.write_text("".join(f"{address} {name}\n" for name, found in names.items() for address in found))
        self.log = lab.log_path(f"{pod.name}_dnsmasq")
        argv = [DNSMASQ, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-hosts", f"--addn-hosts={hosts}",
                f"--server={upstream}" if upstream else "--local=/#/", "--no-resolv", "--edns-packet-max=1232",
                f"--port={port}", "--bind-interfaces", f"--listen-address={','.join(addresses)}", "--cache-size=0", "--log-queries=extra",
                "--log-facility=-"]
        with open(self.log, "w", encoding="utf-8") as out:
            self.process = pod.popen(argv, stdout=out, stderr=out, **place)
        pod.wait_listen(port)

    def clients_of(self, name):
        """The addresses that questions for a name came from."""
        return set(re.findall(rf"query\[\w+\] {re.escape(name)} from (\S+)", self.log.read_text()))


class World:
    """The server that is really there, and pods with DNS capture, or without."""

    def __init__(self, lab):
        self.lab = lab
        self.server = lab.pod("server")
        self.upstream = Dnsmasq(self.server, UPSTREAM, [self.server.ip, self.server.ipv6])
        for name in ("nsswitch", "hosts"):
            (lab.run_dir.parent / name).write_text("hosts: files dns\n" if name == "nsswitch" else "127.0.0.1 localhost\n")

    @functools.cache
    def pod(self, kind, capture=True):
        env = {"ISTIO_DUAL_STACK": "true", **({"ISTIO_META_DNS_CAPTURE": "true"} if capture else {})}
        pod = self.lab.pod(f"{kind}-{'captured' if capture else 'plain'}", mesh="istio", proxy_env=env)
        if kind == "iptables":
            iptables.load(pod, rules() if capture else BASIC)
        else:
            wait_state(self.lab, pod.write())
        pod.serve("[::]:15001", uid=PROXY, container="istio-proxy")
        pod.responder = Dnsmasq(pod, RESPONDER, ["127.0.0.1", "::1"], 15053, self.server.ip, uid=PROXY, container="istio-proxy")
        return pod

    def resolve(self, pod, resolver, resolv_conf, *names):
        """{name: its addresses or an error}"""
        folder = self.lab.run_dir.parent
        (folder / "resolv.conf").write_text(resolv_conf)
        files = [folder / name for name in ("resolv.conf", "nsswitch", "hosts")]
        argv = ["unshare", "--mount", "sh", "-c", IN_CONTAINER, "sh", *files, *clients.RESOLVERS[resolver](), *names]
        found = json.loads(pod.run(argv).stdout)
        return {name: sorted(found[name]) if isinstance(found[name], list) else found[name] for name in names}


@pytest.fixture(scope="module")
def world():
    with Lab("resolvers") as lab:
        lab.agent()
        yield World(lab)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


EACH = pytest.mark.parametrize("resolver", clients.RESOLVERS)


@EACH
@pytest.mark.parametrize("servers", ["one", "ipv6", "dead and alive", "none alive"])
def test_names(world, kind, resolver, servers):
    """The responder answers whichever server is asked, and asks the real one itself; both families; names that are not there."""
    addresses = {"one": [world.server.ip], "ipv6": [world.server.ipv6], "dead and alive": [DEAD, world.server.ip],
                 "none alive": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}[servers]
    conf = "".join(f"nameserver {address}\n" for address in addresses)
    pod = world.pod(kind)
    got = world.resolve(pod, resolver, conf, "web.default.svc.cluster.local", "four.test", "six.test", "far.test", "missing.test")
    assert got == {"web.default.svc.cluster.local": WEB, "four.test": ["10.96.0.4"], "six.test": ["fd00:96::6"],
                   "far.test": FAR, "missing.test": "not found"}
    assert world.upstream.clients_of("far.test") <= {item.ip for item in (world.pod(kind) for kind in KINDS)}
    assert not world.upstream.clients_of("web.default.svc.cluster.local")
    assert pod.ip in pod.responder.clients_of("four.test") or pod.ipv6 in pod.responder.clients_of("four.test")


@EACH
def test_search_list(world, kind, resolver):
    """As in any pod: five dots, three domains. c-ares has no search list in Node."""
    conf = f"nameserver {world.server.ip}\n{SEARCH}"
    got = world.resolve(world.pod(kind), resolver, conf, "web", "web.default", "four.test", "missing")
    short = "not found" if resolver == "c-ares" else WEB
    assert got == {"web": short, "web.default": short, "four.test": ["10.96.0.4"], "missing": "not found"}


@EACH
@pytest.mark.parametrize("family", ["4", "6"])
def test_an_answer_that_is_too_long(world, kind, resolver, family):
    """It comes truncated, and the resolver asks again over TCP; musl before 1.2.4 does not, and takes what it got."""
    conf = f"nameserver {world.server.ipv6 if family == '6' else world.server.ip}\n"
    found = world.resolve(world.pod(kind), resolver, conf, "many.test")["many.test"]
    if resolver == "musl":
        assert 0 < len(found) <= MUSL_LIMIT and set(found) <= set(MANY)
    else:
        assert found == sorted(MANY)


GLIBC_OPTIONS = ["use-vc", "single-request", "single-request-reopen", "rotate", "edns0", "trust-ad"]


@pytest.mark.parametrize("option", GLIBC_OPTIONS)
def test_habits_of_glibc(world, kind, option):
    conf = f"nameserver {DEAD}\nnameserver {world.server.ip}\n{SEARCH}options {option}\n"
    assert world.resolve(world.pod(kind), "glibc", conf, "web", "four.test", "many.test") == {"web": WEB, "four.test": ["10.96.0.4"], "many.test": sorted(MANY)}


@EACH
def test_without_capture(world, kind, resolver):
    """The server that is really there answers; when the first one is dead, the second."""
    conf = f"nameserver {DEAD}\nnameserver {world.server.ip}\noptions timeout:1 attempts:2\n"
    got = world.resolve(world.pod(kind, capture=False), resolver, conf, "four.test", "far.test")
    assert got == {"four.test": ["203.0.113.4"], "far.test": FAR}

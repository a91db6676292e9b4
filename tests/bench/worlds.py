# SPDX-License-Identifier: Apache-2.0
"""What is compared: the same pod with the same proxy, without redirection, behind iptables and behind weir; and pods without a proxy.

The pods of weir's world are below the kubepods cgroup, where its hooks are; the others are outside it, as on a node that has no weir.
"""

import contextlib
import json
import os
import pathlib

from lab import LabError
from lab.command import BUILD

RELAY, LOAD = BUILD / "tests" / "relay", BUILD / "tests" / "load"
OUTBOUND, INBOUND = 15001, 15006  # the proxy's ports, Istio's
HOP = 9001  # what is sent to this port the proxy answers itself
ECHO, APPLICATION = 9000, 8080
CLOSED = 9
PROXY_UID, APP_UID = 1337, 1000
RULES = pathlib.Path(__file__).with_name("istio-basic.rules")


@contextlib.contextmanager
def priority(realtime):
    """What is started within runs before everything else on its processor: a neighbour that computes would double every figure.

    The first in, first out policy also means that a wake-up never interrupts: client, proxy and server take turns when they block.
    """
    if not realtime:
        yield
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        raise LabError("the kernel refuses SCHED_FIFO here: use --normal-priority") from None
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class Place:
    """Where and how load and relays run: one processor for all."""

    def __init__(self, cpu, realtime):
        self.cpu, self.realtime = cpu, realtime

    def priority(self):
        return priority(self.realtime)


class Relay:
    """A running relay; stop() returns its books."""

    def __init__(self, pod, place, options, wait, **identity):
        self.name = pod.name
        self.log = pod.lab.log_path(f"{pod.name}_relay")
        with open(self.log, "w", encoding="utf-8") as out, place.priority():
            self.process = pod.popen([RELAY, "--cpu", place.cpu, *options], stdout=out, stderr=out, **identity)
        try:
            pod.wait_listen(*wait)
        except LabError as error:
            raise LabError(f"{error}\n{self.log.read_text()}") from None

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        last = self.log.read_text().splitlines()[-1:]
        if self.process.returncode or not last or not last[0].startswith("{"):
            raise LabError(f"{self.name}: the relay ended with status {self.process.returncode}: {''.join(last)}")
        return json.loads(last[0])


class Client:
    """A pod that runs the load."""

    def __init__(self, pod, place):
        self.pod, self.place = pod, place

    def run(self, mode, to, count, size=None):
        argv = [LOAD, mode, "--to", to, "--count", count, "--cpu", self.place.cpu, *(["--size", size] if size else [])]
        with self.place.priority():
            done = self.pod.run(argv, check=False, uid=APP_UID, timeout=120)
        if done.returncode:
            raise LabError(f"{self.pod.name}: load {mode} to {to}: {done.stderr.strip()}")
        return json.loads(done.stdout)


class Meshed:
    """A pod with application and proxy, and a peer: client of the one, server of the other."""

    def __init__(self, pod, peer, place, redirects):
        self.pod, self.peer, self.redirects = pod, peer, redirects
        self.connections = 0
        self.echo = Relay(peer, place, ["--answer", ECHO], [ECHO], uid=APP_UID)
        self.application = Relay(pod, place, ["--answer", APPLICATION], [APPLICATION], uid=APP_UID)
        fixed = ["--outbound", OUTBOUND, "--upstream", f"{peer.ip}:{ECHO}", "--inbound", INBOUND, "--application", f"{pod.ip}:{APPLICATION}"]
        self.proxy = Relay(pod, place, [*fixed, "--answer", HOP], [OUTBOUND, INBOUND, HOP], uid=PROXY_UID, container="istio-proxy")
        self.inside, self.outside = Client(pod, place), Client(peer, place)

    def target(self, path):
        """Whom the client dials: the proxy itself where nothing redirects, else a port that only the redirection connects to it."""
        if path == "in":
            return f"{self.pod.ip}:{APPLICATION if self.redirects else INBOUND}"
        direct, redirected = {"hop": (HOP, HOP), "out": (OUTBOUND, ECHO)}[path]
        return f"{self.peer.ip}:{redirected}" if self.redirects else f"127.0.0.1:{direct}"

    def run(self, path, mode, count, size=None):
        client = self.outside if path == "in" else self.inside
        result = client.run(mode, self.target(path), count, size)
        self.connections += 1 if mode == "stream" else result["operations"]
        return result

    def check_books(self):
        """Proof that all went through the proxy, and by redirection only where there is one."""
        books = self.proxy.stop()
        undiverted = 0 if self.redirects else self.connections
        if (books["accepted"], books["undiverted"], books["failed"]) != (self.connections, undiverted, 0):
            raise LabError(f"{self.pod.name}: {self.connections} connections were made, but its proxy says {books}\n"
                           f"{self.proxy.log.read_text()[-2000:]}")
        return books


class Unmeshed:
    """A pod without a proxy, and a peer that answers it."""

    def __init__(self, pod, peer, place):
        self.pod, self.peer = pod, peer
        self.client = Client(pod, place)
        self.echo = Relay(peer, place, ["--answer", ECHO], [ECHO], uid=APP_UID)

    def run(self, path, mode, count, size=None):
        return self.client.run(mode, f"{self.peer.ip}:{CLOSED if path == 'closed' else ECHO}", count, size)

    def check_books(self):
        return self.echo.stop()


class Outside:
    """Makes pods that are not below the kubepods cgroup."""

    def __init__(self, lab):
        self.lab, self.count = lab, 0

    def __call__(self, name, **options):
        self.count += 1
        return self.lab.outside(name, ip=f"203.0.113.{self.count}", ipv6=False, **options)


def rules():
    """iptables-restore reads comments, the lab does not."""
    return "".join(line for line in RULES.read_text().splitlines(True) if not line.startswith("#"))


def build(lab, place):
    """All worlds by their names, and the agent: ready, with every pod in its place."""
    outside = Outside(lab)
    direct, iptables = outside("direct", mesh="istio"), outside("iptables", mesh="istio")
    lab.iptables(iptables, rules())
    weir, weir_peer = lab.pod("weir", mesh="istio", ipv6=False).write(), lab.pod("weir-peer", ipv6=False).write()
    known, unknown = lab.pod("known", ipv6=False).write(), lab.pod("unknown", ipv6=False)
    agent = lab.agent()  # ready: it has reconciled the pods that were there
    return agent, {
        "direct": Meshed(direct, outside("direct-peer"), place, redirects=False),
        "iptables": Meshed(iptables, outside("iptables-peer"), place, redirects=True),
        "weir": Meshed(weir, weir_peer, place, redirects=True),
        "no weir": Unmeshed(outside("bare"), outside("bare-peer"), place),
        "unknown": Unmeshed(unknown, outside("unknown-peer"), place),
        "known": Unmeshed(known, outside("known-peer"), place),
    }

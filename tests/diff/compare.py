# SPDX-License-Identifier: Apache-2.0
"""What both ends of a probe saw, side by side, and the one table of differences that are wanted."""

import re
from dataclasses import dataclass
from typing import Callable

from .rules import IstioOptions, items
from .worlds import BEHIND_SECOND4, BEHIND_SECOND6, MACHINE

MAPPED = re.compile(r"\[::ffff:([\d.]+)\]")


def plain(endpoint):
    """[::ffff:1.2.3.4]:80 -> 1.2.3.4:80"""
    return MAPPED.sub(r"\1", endpoint or "")


def host(endpoint):
    return plain(endpoint).rpartition(":")[0].strip("[]")


def port(endpoint):
    return int(endpoint.rpartition(":")[2])


def outcome(probe, answer):
    """The fields that are compared. A source port is the kernel's choice; where nothing was accepted there is only an errno."""
    if answer["errno"]:
        return {"errno": answer["errno"]}
    acceptor = answer["acceptor"]
    seen = {"errno": None, "accepted by": f"{acceptor['tag']} {port(acceptor['listener'])}", "acceptor's local": plain(acceptor["sockname"]),
            "source seen": host(acceptor["peername"]), "getsockname": host(answer["sockname"])}
    if probe.kind != "udp":
        seen["getpeername"] = plain(answer["peername"])
    if probe.kind == "tcp":
        seen["original destination"] = plain(acceptor["odst_ipv6" if probe.ipv6 else "odst_ip"])
    else:
        seen["answer from"] = plain(answer["from"])
        if probe.kind == "udp":
            del seen["getsockname"]  # an unconnected socket has none
    return seen


@dataclass(frozen=True)
class Wanted:
    """A difference that is wanted: its row of docs/FIDELITY.md (the text of the first column), where it shows, and when."""

    row: str
    field: str  # "*": all of them
    when: Callable  # (probe, options, iptables' outcome, weir's outcome)
    reason: str


def dialled(probe):
    return plain(f"[{probe.to}]:{probe.port}" if ":" in probe.to else f"{probe.to}:{probe.port}")


def is_inbound_listener(probe, options, there, here):
    return probe.outside and there["accepted by"] == here["accepted by"] and there["accepted by"].startswith("proxy") \
        and here["acceptor's local"] == dialled(probe) and port(there["acceptor's local"]) == port(there["accepted by"].replace(" ", ":"))


def has_bound(probe, options, there, here):
    """A client that bound its port before it connected: another address of the pod's takes the place of 127.0.0.1."""
    return probe.bind != "-" and not probe.outside and there["accepted by"] == here["accepted by"] \
        and port(there["acceptor's local"]) == port(here["acceptor's local"])


def is_untracked(probe, options, there, here):
    """Connections of a family without rules, or that no conntrack entry stands for."""
    return there["original destination"] == "ENOENT" and here["original destination"] == here["acceptor's local"]


def is_by_another_interface(probe, options, there, here):
    """The route leads over another interface than the one of the pod's first address."""
    return probe.to.removeprefix("::ffff:") in (BEHIND_SECOND4, BEHIND_SECOND6) and there["accepted by"] == here["accepted by"]


def has_no_route(probe, options, there, here):
    """A broadcast address, or none that the routes know."""
    return there["errno"] in ("ENETUNREACH", "EACCES") and here.get("accepted by", "").startswith("proxy")


def is_forwarded(probe, options, there, here):
    """What a machine behind an interface that is not called virtual sends through the pod; Linkerd has no such interfaces."""
    taken = there["errno"] == "TIMEOUT" or there.get("accepted by", "").endswith(inbound_port(options))
    return probe.at == MACHINE and not is_by_virtual(probe, options) and taken and here.get("accepted by", "").startswith("remote")


def is_answer_by_virtual(probe, options, there, here):
    """The interface that leads to the network is called virtual: what comes in by it is delivered here, answers to others included."""
    virtual = items(getattr(options, "reroute_virtual_interfaces", ""))
    return probe.at == MACHINE and not is_by_virtual(probe, options) and {"eth0", "eth1"} & set(virtual) and here.get("errno") == "TIMEOUT"


def is_tproxied_machine(probe, options, there, here):
    """In TPROXY mode table mangle hands what comes by a virtual interface to the inbound listener, before table nat sees it."""
    return getattr(options, "inbound_interception_mode", "") == "TPROXY" and is_by_virtual(probe, options) \
        and there.get("accepted by", "").endswith(options.inbound_capture_port)


def inbound_port(options):
    return str(options.inbound_capture_port if isinstance(options, IstioOptions) else options.incoming_port)


def is_by_virtual(probe, options):
    """It comes in by an interface that leads to a machine in the pod, as the annotations have it."""
    return probe.came_by in items(getattr(options, "reroute_virtual_interfaces", ""))


WANTED = [
    Wanted("TPROXY mode: what comes by a virtual interface to a captured inbound port", "*", is_tproxied_machine,
           "what a machine in the pod sends is outbound; mangle comes before nat"),
    Wanted("connections that a pod forwards, of containers or machines within it", "*", is_forwarded,
           "iptables takes them for inbound ones and hands them to the inbound listener; Linkerd's skip-subnets exists to stop that"),
    Wanted("a virtual interface that leads to the network as well, in a pod that forwards", "*", is_answer_by_virtual,
           "a routing rule, unlike NAT, concerns every packet that comes in by the interface"),
    Wanted("a destination without a route", "errno", has_no_route, "the route is not asked at connect()"),
    *[Wanted("source address of a pod with several interfaces, or routes with a `src` hint", field, is_by_another_interface,
             "the source is bound before the route is known") for field in ("source seen", "getsockname")],
    Wanted("SO_ORIGINAL_DST without conntrack", "original destination", is_untracked,
           "Envoy's pass-through clusters need an answer; weir has no conntrack and answers always"),
    Wanted("getsockname() of the inbound listener's accepted sockets", "acceptor's local", is_inbound_listener,
           "no NAT: the socket keeps the dialled address, as in TPROXY mode"),
    Wanted("acceptor's local address, when the client had bound a port before", "acceptor's local", has_bound,
           "the port is taken on 127.0.0.1 or may be: another address of the pod's leads to the proxy"),
]


@dataclass
class Difference:
    """A probe whose outcomes are not equal, in the fields that no wanted row explains."""

    probe: object
    iptables: dict
    weir: dict
    fields: list

    def __str__(self):
        def show(seen):
            return ", ".join(f"{field}: {seen[field]}" for field in self.fields if field in seen) or seen

        return f"{self.probe}\n      iptables  {show(self.iptables)}\n      weir      {show(self.weir)}"


def compare(probe, options, there, here):
    """(Difference or None, wanted rows that applied)"""
    if there.get("errno") or here.get("errno"):
        fields = ["errno"] if there.get("errno") != here.get("errno") else []
    else:
        fields = [field for field in there if there[field] != here.get(field)]
    used = [row for row in WANTED if fields and row.field in (*fields, "*")
            and (row.field in ("errno", "*") or not (there["errno"] or here["errno"])) and row.when(probe, options, there, here)]
    covered = {row.field for row in used}
    left = [field for field in fields if field not in covered and "*" not in covered]
    if not left:
        return None, used
    if left == ["errno"]:  # one of them connected: to whom tells more than that it did
        left = list(dict.fromkeys([*there, *here]))
    return Difference(probe, there, here, left), used

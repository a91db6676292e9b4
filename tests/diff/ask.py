# SPDX-License-Identifier: Apache-2.0
"""`weir explain` against what happened: the same question for a probe, and whether its answer was the truth."""

from .compare import plain, port
from .probes import POD4, POD6, bracketed
from .worlds import MACHINE, MACHINE4, MACHINE6, OUTSIDE, SECOND4, SECOND6, TAP4, TAP6

OWN = (POD4, POD6, SECOND4, SECOND6, TAP4, TAP6)


def question(pod, probe):
    """The probe's connection as options of `weir explain`."""
    if probe.at == OUTSIDE:
        return [f"--inbound={probe.port}", f"--from={probe.bind}", f"--interface={'eth1' if probe.to in (SECOND4, SECOND6) else 'eth0'}"]
    if probe.at == MACHINE:
        sender = f"--from={MACHINE6 if probe.ipv6 else MACHINE4}"
        where = f"--inbound={probe.port}" if probe.to in OWN else f"--to={bracketed(probe.to)}:{probe.port}"
        return [where, sender, "--interface=tap0"]
    to = probe.to.removeprefix("::ffff:")
    options = [f"--to={bracketed(to)}:{probe.port}", f"--uid={probe.uid}", f"--gid={probe.gid}"]
    if probe.kind != "tcp":
        options.append("--proto=udp")
    return options + ([f"--from={probe.bind}"] if probe.bind != "-" else [])


def contradiction(probe, said, seen):
    """None when explain told what happened; else the contradiction in words. Which of the pod's addresses an inbound connection is for,
    explain is not asked: there the port must be right."""
    if seen["errno"]:
        # Nobody listened there, or weir refused.
        return f"redirect to {said['to']}, but {seen['errno']}" if said["verdict"] == "redirect" else None
    by_proxy = seen["accepted by"].startswith("proxy")
    where = plain(seen["acceptor's local"])
    if said["verdict"] == "refuse":
        return f"refuse, but {seen['accepted by']} took it"
    if said["verdict"] == "redirect":
        return None if by_proxy and port(said["to"]) == port(seen["accepted by"].replace(" ", ":")) else f"redirect to {said['to']}, but {seen['accepted by']}"
    right = said["to"] == where or (probe.outside and port(said["to"]) == port(where))
    return None if right else f"direct to {said['to']}, but {seen['accepted by']} at {where}"


def explain(world, probe):
    return world.lab.weir("explain", f"{world.pod.namespace}/{world.pod.name}", *question(world.pod, probe), "-o", "json")



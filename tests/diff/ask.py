# SPDX-License-Identifier: Apache-2.0
"""`weir explain` against what happened: the same question for each probe, whether its answer was the truth, and what the counters of
verdicts must have gained by then."""

import collections
import json

from lab.agent import directories
from lab.command import WEIR, run

from .compare import is_by_virtual, plain, port
from .probes import bracketed
from .rules import IstioOptions
from .worlds import MACHINE, MACHINE4, MACHINE6, OUTSIDE, POD


def question(probe, ids=lambda number: number):
    """The probe's connection as options of `weir explain`; ids: what the node calls a user of the pod's."""
    if probe.at == OUTSIDE:
        return [f"--inbound={bracketed(probe.to)}:{probe.port}", f"--from={probe.bind}", f"--interface={probe.came_by}"]
    if probe.at == MACHINE:
        sender = f"--from={MACHINE6 if probe.ipv6 else MACHINE4}"
        return [f"--to={bracketed(probe.to)}:{probe.port}", sender, f"--interface={probe.came_by}"]
    to = probe.to.removeprefix("::ffff:")
    options = [f"--to={bracketed(to)}:{probe.port}", f"--uid={ids(probe.uid)}", f"--gid={ids(probe.gid)}"]
    if probe.kind != "tcp":
        options.append("--proto=udp")
    return options + ([f"--from={probe.bind}"] if probe.bind != "-" else [])


def explain(world, probes):
    """{probe: answer}, by the program that users run, in one batch."""
    lines = [" ".join(question(probe, world.ids)) for probe in probes]
    done = run(WEIR, "explain", *directories(world.lab), f"{world.pod.namespace}/{world.pod.name}", "--batch", "-o", "json",
               stdin="\n".join(lines) + "\n")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(probes), done.stdout[-2000:]
    return dict(zip(probes, answers))


def has_assumed_a_network(said):
    return any(text.startswith(("a route leads to", "something ")) for text in said["assumed"])


def contradiction(probe, said, seen):
    """None when explain told what happened; else the contradiction in words."""
    if seen["errno"]:
        if said["verdict"] == "redirect":
            return f"redirect to {said['to']}, but {seen['errno']}"
        if said["verdict"] == "refuse":
            return None if probe.kind != "tcp" or seen["errno"] == "ECONNREFUSED" else f"refuse, but {seen['errno']}"
        return None if has_assumed_a_network(said) else f"direct to {said['to']}, but {seen['errno']}, and no route and no listener assumed"
    where, listener = plain(seen["acceptor's local"]), port(seen["accepted by"].replace(" ", ":"))
    if said["verdict"] == "refuse":
        return f"refuse, but {seen['accepted by']} took it"
    if said["verdict"] == "redirect":
        right = seen["accepted by"].startswith("proxy") and port(said["to"]) == listener
        return None if right else f"redirect to {said['to']}, but {seen['accepted by']}"
    return None if said["to"] == where and listener == probe.port else f"direct to {said['to']}, but {seen['accepted by']} at {where}"


# -- weir_verdicts_total -----------------------------------------------------------------------------------------------------

def verdict_of(said, seen):
    """How it went. A direct connection to a port that the proxy listens on is accepted by it as well."""
    if seen["errno"]:
        return said["verdict"]
    return "redirect" if seen["accepted by"].startswith("proxy") and said["verdict"] == "redirect" else "direct"


def is_counted(probe, options, said, seen):
    """Each connect() of a captured pod, and of one whose capture is off; of datagrams those to port 53, where lookups are captured; inbound
    what a listener took or weir refused. What the pod forwards passes no hook."""
    if probe.kind != "tcp":
        return options.captured and probe.port == 53 and isinstance(options, IstioOptions) and options.captures_dns
    if probe.at == POD:
        return seen["errno"] != "EADDRNOTAVAIL"  # bind() has failed, nothing was connected
    if seen["errno"]:
        return said["verdict"] == "refuse"
    return not seen["accepted by"].startswith("remote")


def tally(options, answers, outcomes):
    """{(direction, verdict, reason): times} that the counters must gain by these probes."""
    counted = collections.Counter()
    for probe, said in answers.items():
        if is_counted(probe, options, said, outcomes[probe]):
            direction = "outbound" if probe.at == POD or (options.captured and is_by_virtual(probe, options)) else "inbound"
            counted[direction, verdict_of(said, outcomes[probe]), said["reason"]] += 1
    return counted


def verdicts(world):
    """What the counters say of the workload that the pod is now."""
    series = (dict(labels) | {"value": int(value)} for (name, labels), value in world.agent.metrics().items() if name == "weir_verdicts_total")
    return collections.Counter({(one["direction"], one["verdict"], one["reason"]): one["value"] for one in series if one["workload"] == world.workload})


def miscounted(before, after, wanted):
    """In words, where the counters have not gained what they must; []: nowhere."""
    gained = {key: after[key] - before[key] for key in {*before, *after, *wanted}}
    return [f"weir_verdicts_total {' '.join(key)}: {gained[key]} counted, {wanted[key]} tried"
            for key in sorted(gained) if gained[key] != wanted[key]]

# SPDX-License-Identifier: Apache-2.0
"""Before the proxy has listened, and after it has gone: `weir.io/before-proxy` and `weir.io/proxy-down`.

iptables has nothing of the kind. What happens is compared with what explain says and what the counters gain, as everywhere, and with
what explain said of the same probe while the proxy listened: what was redirected then must meet the pod's policy now, and nothing else
may have changed.
"""

from lab import Lab

from .configs import KINDS, Draw, describe
from .inputs import options_of
from .probes import sample
from .worlds import WeirWorld

POLICIES = {"before_proxy": "weir.io/before-proxy", "proxy_down": "weir.io/proxy-down"}  # reason: annotation
VERDICTS = ("refuse", "direct")
KINDS_HERE = ("istio", "linkerd", "declared")


def random_pod(draw, kind, fresh):
    """A pod of that kind with policies; without a virtual machine, whose refused connections are told nothing (docs/FIDELITY.md)."""
    pod = fresh()
    KINDS[kind][3](draw, pod)
    if getattr(options_of(pod), "reroute_virtual_interfaces", ""):
        return random_pod(draw, kind, fresh)
    for annotation in POLICIES.values():
        if draw.chance(75):
            pod["metadata"]["annotations"][annotation] = draw.choice(VERDICTS)
    return pod


def changed(probe, listening, absent, reason, policy):
    """In words, what is not as it must be."""
    if listening["verdict"] == "redirect":
        right = (absent["verdict"], absent["reason"]) == (policy, reason)
        return None if right else f"{probe}: {absent['verdict']} ({absent['reason']}), not {policy} ({reason})"
    same = all(listening[key] == absent[key] for key in ("verdict", "to", "reason"))
    return None if same else f"{probe}: {absent['verdict']} ({absent['reason']}) without the proxy, else {listening['verdict']} ({listening['reason']})"


def compare_absence(harness, seed, index, probes):
    """One pod of its own, asked three times: before its proxy listens, while it does, and afterwards."""
    draw = Draw(f"absence {seed} {index}")
    kind = draw.choice(KINDS_HERE)
    with Lab("diff-absence") as lab:
        world = WeirWorld(lab, KINDS[kind][1], userns=False)
        pod = random_pod(draw, kind, world.pod.object)
        options, annotations = options_of(pod), pod["metadata"]["annotations"]
        name, chosen = f"seed {seed} index {index}: {describe(pod)}", sample(options, draw, probes)
        said = {}
        for phase, step in (("before_proxy", lambda: world.write(pod)), ("listening", lambda: world.serve(options)), ("proxy_down", world.stop_proxy)):
            step()
            said[phase] = harness.ask_weir(f"{name}, {phase}", world, options, chosen)[0]
        harness.books.configurations += 1
        for reason, annotation in POLICIES.items():
            policy = annotations.get(annotation, "refuse")
            texts = [changed(probe, said["listening"][probe], said[reason][probe], reason, policy) for probe in chosen]
            harness.books.contradictions += [(f"{name}, {reason}", text) for text in texts if text]
        world.close()

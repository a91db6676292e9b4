# SPDX-License-Identifier: Apache-2.0
"""Pods that are there before weir, and what becomes of them."""

from . import objects
from .load import Load
from .objects import SHOP, deployment, service
from .step import Step
from .steps_mesh import first_answer, pid_of
from .weir import Weir

PLAIN_SERVER, BARE, LEGACY = "plain-server", "bare", "legacy"
# Istio's rules for a sidecar, as istio-init loads them by default (docs/FIDELITY.md goes through them).
ISTIO_RULES = """*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
"""


def injected_client(name):
    """An injected client that nothing has redirected yet: without its validation it starts all the same."""
    template = objects.inject_istio(objects.client(name, objects.PLAIN_ADDRESS))
    template["spec"]["initContainers"] = [c for c in template["spec"]["initContainers"] if c["name"] != "istio-validation"]
    return template


def start_before(cluster, report):
    """Both clients ask a server outside the mesh: one through Istio's own rules, one past its proxy because nobody redirects it."""
    cluster.apply(deployment(PLAIN_SERVER, objects.server(PLAIN_SERVER)),
                  service(PLAIN_SERVER, objects.PLAIN_ADDRESS, {objects.SERVICE_PORT: objects.HTTP_PORT, objects.STREAM_PORT: objects.STREAM_PORT}))
    for name in (BARE, LEGACY):
        cluster.apply(objects.envoy_config(name), deployment(name, injected_client(name)))
    for name in (PLAIN_SERVER, BARE, LEGACY):
        cluster.wait_pod(SHOP, name)
    cluster.node.run(f"nsenter -t {pid_of(cluster, LEGACY, 'app')} -n iptables-restore --noflush <<'END'\n{ISTIO_RULES}END")
    first_answer(Load(cluster, LEGACY), "legacy-outbound")
    report.check(True, "before weir: iptables rules lead one client through its Envoy")
    via = Load(cluster, BARE).stats()["last"]["via"]
    report.check(not via, "before weir: the other client's connections pass its Envoy by", via)
    for name in (BARE, LEGACY):
        Load(cluster, name).begin()


def adopt(cluster, report):
    weir = Weir(cluster)
    for name, want in (("database", "not_captured"), (PLAIN_SERVER, "not_captured"), (BARE, "captured"), (LEGACY, "not_captured")):
        said = weir.wait_state(cluster.pod(SHOP, name), want)
        report.check(True, f"{name} was there before weir: {said['state']}, {said['reason']}")
    bare, legacy = Load(cluster, BARE), Load(cluster, LEGACY)
    first_answer(bare, "bare-outbound")
    bare.check(report, "weir captured it live, and new connections pass its Envoy")
    report.check(legacy.stats()["last"]["via"] == "legacy-outbound", "legacy: still redirected by its own rules")
    legacy.check(report, "weir came")
    for load in (bare, legacy):
        load.count_from_here(weir)


def take_over(cluster, report):
    """From iptables, live: an annotation, then the rules go by the command that weir tells."""
    weir, load = Weir(cluster), Load(cluster, LEGACY)
    load.begin()
    pod = cluster.pod(SHOP, LEGACY)
    cluster.kubectl("annotate", "pod", pod["metadata"]["name"], "-n", SHOP, "weir.io/takeover=on")
    said = weir.wait_state(pod, "captured")
    before = load.stats()["requests"]["done"]
    cluster.wait(lambda: load.stats()["requests"]["done"] > before + 3, "requests after the takeover")
    report.check(load.stats()["last"]["via"] == "legacy-outbound", "its requests pass its Envoy as before")
    load.check(report, "weir took over from iptables")
    load.check_totals(report, weir, "after weir took over from iptables")
    warnings = [warning for warning in said.get("warnings", []) if "they can go" in warning]
    if report.check(len(warnings) == 1, "weir.io/takeover: captured, and weir tells by which command the rules can go", said):
        cluster.node.run(warnings[0].split("on its node: ")[1])
        left = cluster.node.out(f"nsenter -t {pid_of(cluster, LEGACY, 'app')} -n iptables-save | grep ISTIO; true")
        report.check(not left, "that command removed all of them", left)

    def told():
        return [e for e in cluster.get("events", namespace=SHOP) if e["involvedObject"]["name"] == pod["metadata"]["name"]
                and e.get("reportingComponent") == "weir.io/agent" and "they can go" in e["message"]]

    report.check(bool(cluster.wait(told, "an event about the takeover")), "kubectl get events says so too")
    before = load.stats()["requests"]["done"]
    cluster.wait(lambda: load.stats()["requests"]["done"] > before + 3, "requests after the rules went")
    report.check(load.stats()["last"]["via"] == "legacy-outbound", "without the rules its requests pass its Envoy as before")
    load.check(report, "the rules were gone")
    for name in (BARE, LEGACY):
        Load(cluster, name).check_totals(report, weir, "since weir had found it")


BEFORE = [Step("before", "pods that are there before weir", start_before)]
AFTER = [Step("adopt", "pods that were there before weir", adopt), Step("takeover", "a pod with iptables rules is taken over", take_over)]

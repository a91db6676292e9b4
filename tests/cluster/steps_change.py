# SPDX-License-Identifier: Apache-2.0
"""Everything around the pods changes; traffic goes on, and every byte of it is counted."""

import json
import time

from . import objects
from .cluster import container_status
from .load import Load
from .node import PRIMARY_CNI
from .objects import SHOP, deployment
from .step import ONE, Step
from .steps_mesh import CLIENTS
from .weir import DAEMONSET, FIRST, NAMESPACE, REPOSITORY, SECOND, Weir

API_AWAY_SECONDS = 30


def loads(cluster):
    """The loads of both meshes, whose failures are looked at from now on."""
    both = [Load(cluster, name, server) for name, server in CLIENTS.items()]
    for load in both:
        load.begin()
    return both


def check_loads(both, report, weir, what):
    for load in both:
        load.check(report, what)
        load.check_totals(report, weir, f"after {what}")


def delete_agent(cluster, report):
    weir, both = Weir(cluster), loads(cluster)
    old = weir.pod()["metadata"]["name"]
    cluster.kubectl("delete", "pod", old, "-n", NAMESPACE)
    weir.wait_ready()
    new = weir.pod()["metadata"]["name"]
    report.check(new != old, f"{old} is gone, {new} is ready")
    check_loads(both, report, weir, "the agent's pod was deleted")


def image_of(weir):
    return next(c["image"] for c in weir.pod()["spec"]["containers"] if c["name"] == "weir")


def upgrade(cluster, report):
    weir, both = Weir(cluster), loads(cluster)
    weir.helm("upgrade", SECOND)
    report.check(image_of(weir) == f"{REPOSITORY}:{SECOND}", f"helm upgrade: the agent runs {image_of(weir)}")
    check_loads(both, report, weir, "the DaemonSet was upgraded")
    weir.rollback()
    report.check(image_of(weir) == f"{REPOSITORY}:{FIRST}", f"helm rollback: the agent runs {image_of(weir)}")
    check_loads(both, report, weir, "it was rolled back")


def captured_of(metrics):
    infos = [dict(labels) for name, labels in metrics if name == "weir_pod_info"]
    return {(info["namespace"], info["pod"]) for info in infos if info["state"] == "captured"}


def restart_agent(cluster, weir, before):
    """Killed; the kubelet starts its container anew, with or without an API server."""
    cluster.node.run("kill -KILL $(pgrep -f '^/usr/sbin/weir agent')")

    def is_another():
        try:
            return weir.metrics()[("process_start_time_seconds", frozenset())] != before[("process_start_time_seconds", frozenset())]
        except OSError:
            return False

    cluster.wait(is_another, "another agent's /metrics")


def kill_api(cluster, report):
    """Abruptly, so that no watch is told; the agent is restarted meanwhile as well."""
    weir, both = Weir(cluster), loads(cluster)
    cluster.control.kill_api()
    time.sleep(API_AWAY_SECONDS)
    before = weir.metrics()
    stale = time.time() - max(value for (name, _), value in before.items() if name == "weir_kubernetes_last_sync_timestamp_seconds")
    report.check(stale > API_AWAY_SECONDS / 2, f"the API server is away; /metrics says that what is known is {stale:.0f} s old")
    restart_agent(cluster, weir, before)
    cluster.wait(lambda: captured_of(weir.metrics()) == captured_of(before), "the captured pods, of the agent that started without an API server")
    report.check(True, f"an agent that starts meanwhile knows the {len(captured_of(before))} captured pods")
    cluster.control.start_api()
    cluster.wait_node()

    def watching():
        up = [value for (name, _), value in weir.metrics().items() if name == "weir_kubernetes_up"]
        return up and all(up)

    cluster.wait(watching, "all watches of the agent")
    report.check(True, "the API server is back, and so are the agent's watches")
    check_loads(both, report, weir, f"the API server was away for {API_AWAY_SECONDS} s")


def chain(cluster):
    """The plugins of each conflist in the node's directory."""
    listed = cluster.node.out("cd /etc/cni/net.d && for f in *.conflist; do echo $f; tr -d '\\n' <$f; echo; done").splitlines()
    return {name: [plugin["type"] for plugin in json.loads(text)["plugins"]] for name, text in zip(listed[::2], listed[1::2])}


def rewrite_cni(cluster, report):
    """The primary plugin's installer writes its file anew, as on each of its own upgrades."""
    weir, both = Weir(cluster), loads(cluster)
    before = chain(cluster)
    fresh = json.dumps({**PRIMARY_CNI, "plugins": [*PRIMARY_CNI["plugins"], {"type": "tuning"}]})
    cluster.node.run(f"cat > /etc/cni/net.d/.part <<'END'\n{fresh}\nEND\nmv /etc/cni/net.d/.part /etc/cni/net.d/10-bridge.conflist")
    want = ["bridge", "portmap", "tuning", "weir-cni"]
    cluster.wait(lambda: want in chain(cluster).values(), f"weir-cni to be in the chain again; it was {before}, is {chain(cluster)}")
    report.check(True, f"the node's CNI configuration was rewritten; the chain is {' '.join(want)} again")
    cluster.apply(deployment("late", objects.inject_linkerd(objects.pod("late", objects.app("pause")))))
    pod = cluster.wait_pod(SHOP, "late")
    report.check(container_status(pod, "linkerd-network-validator")["restartCount"] == 0 and weir.says(pod)["state"] == "captured",
                 "a pod that starts then is captured before its first container", weir.says(pod))
    cluster.kubectl("delete", "deployment", "late", "-n", SHOP)
    check_loads(both, report, weir, "the CNI configuration was rewritten")


def without_agent(cluster, report):
    """No agent on the node, and its image is gone too: pods that must not wait start, captured ones do not slip through."""
    weir, both = Weir(cluster), loads(cluster)
    nowhere = {"spec": {"template": {"spec": {"nodeSelector": {"weir.io/nowhere": "true"}}}}}
    cluster.kubectl("patch", DAEMONSET, "-n", NAMESPACE, "-p", json.dumps(nowhere))
    cluster.wait(lambda: not cluster.get("pods", namespace=NAMESPACE), "the agent's pod to go")
    system = deployment("essential", objects.pod("essential", objects.app("pause")), namespace="kube-system")
    plain = deployment("plain", objects.pod("plain", objects.app("pause")), namespace="plain")
    meshed = objects.inject_istio(objects.pod("held", objects.app("pause")))
    cluster.apply(objects.namespace("plain"), objects.envoy_config("held"), system, plain, deployment("held", meshed))
    cluster.wait_pod("kube-system", "essential")
    report.check(True, "without an agent a pod of kube-system starts")
    cluster.wait_pod("plain", "plain")
    report.check(True, "so does a pod of no mesh")

    def told():
        events = cluster.get("events", namespace=SHOP)
        return [e["message"] for e in events if "weir" in e.get("message", "") and e["involvedObject"]["name"].startswith("held-")]

    messages = cluster.wait(told, "an event that says why the pod waits")
    held, reason = cluster.pod(SHOP, "held"), messages[-1].rpartition("(add): ")[2]
    report.check(not any("running" in status.get("state", {}) for status in held["status"].get("containerStatuses", [])),
                 f"a pod that would be captured waits; kubelet says: {reason[:200]}")
    back = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
    cluster.kubectl("patch", DAEMONSET, "-n", NAMESPACE, "-p", json.dumps(back))
    weir.wait_ready()
    said = weir.wait_state(cluster.wait_pod(SHOP, "held"), "captured")
    report.check(said["state"] == "captured", "the agent is back: that pod starts, captured")
    for name, where in (("essential", "kube-system"), ("plain", "plain"), ("held", SHOP)):
        cluster.kubectl("delete", "deployment", name, "-n", where)
    check_loads(both, report, weir, "there was no agent on the node")


def wrong_annotation(cluster, report):
    """What is wrong with a pod is told where its author looks, and everywhere the same."""
    weir = Weir(cluster)
    template = objects.inject_istio(objects.pod("wrong", objects.app("pause")))
    template["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeOutboundPorts"] = "http"
    cluster.apply(objects.envoy_config("wrong"), deployment("wrong", template))

    def told():
        return [e for e in cluster.get("events", namespace=SHOP) if e["involvedObject"]["name"].startswith("wrong-")
                and "excludeOutboundPorts" in e["message"] and e.get("reportingComponent") == "weir.io/agent"]

    event = cluster.wait(told, "an event about the annotation")[0]
    report.check(True, f"kubectl get events: {event['reason']}: {event['message'][:200]}")
    said = weir.says(cluster.pods(SHOP, "wrong")[0])
    report.check(bool(said) and said["state"] == "failed" and "excludeOutboundPorts" in said["reason"], "weir pods says the same", said)
    cluster.kubectl("delete", "deployment", "wrong", "-n", SHOP)


def left_in_kernel(node):
    return node.out("ls -d /sys/fs/bpf/weir 2>/dev/null; bpftool map list | grep weir_; bpftool prog list | grep weir_; true")


def left_on(node):
    """In the kernel, in weir's own directories, and in those of others to which it wrote."""
    files = node.out("find /opt/cni /etc/cni -name '*weir*' 2>/dev/null; find /run/weir /var/lib/weir -mindepth 1 2>/dev/null; grep -rl weir-cni /etc/cni; true")
    return files + left_in_kernel(node)


def uninstall(cluster, report):
    weir, both = Weir(cluster), loads(cluster)
    for load in both:
        load.check_totals(report, weir, "before the end")
    weir.uninstall()
    cluster.wait(lambda: not cluster.get("pods", namespace=NAMESPACE), "the agent's pod to go")
    for load in both:
        load.check(report, "weir was uninstalled")
    report.check(not left_on(cluster.node), "nothing of weir is left on the node: no file, no map, no program", left_on(cluster.node))
    report.check(all("weir-cni" not in plugins for plugins in chain(cluster).values()), f"the CNI chain is the primary plugin's own: {chain(cluster)}")
    cluster.apply(deployment("after", objects.pod("after", objects.app("pause"), inits=[
        objects.app("dial", f"{objects.DATABASE_ADDRESS}:{objects.DATABASE_PORT}", "--wait", name="dial")])))
    said = container_status(cluster.wait_pod(SHOP, "after"), "dial")["state"]["terminated"]["message"]
    report.check(said == "connected", f"pods start as before weir; a connection to the database: {said}")


CHANGE = [
    Step("agent", "the agent's pod is deleted", delete_agent),
    Step("upgrade", "the DaemonSet is upgraded and rolled back", upgrade),
    Step("api", "the API server is killed", kill_api),
    Step("cni", "the node's CNI configuration is rewritten", rewrite_cni),
    Step("absent", "no agent on the node", without_agent, drivers=ONE),
    Step("annotation", "an annotation that is wrong", wrong_annotation, drivers=ONE),
    Step("uninstall", "helm uninstall", uninstall),
]

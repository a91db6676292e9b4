# SPDX-License-Identifier: Apache-2.0
"""weir is installed, and pods of both meshes run on it."""

import json

from lab.command import LabError

from . import objects
from .cluster import container_status
from .load import Load
from .objects import HTTP_PORT, SHOP, STREAM_PORT, deployment, service
from .step import Step
from .weir import FIRST, NAMESPACE, Weir

ISTIO_CLIENT, ISTIO_SERVER, LINKERD_CLIENT, LINKERD_SERVER = "client", "server", "linkerd-client", "linkerd-server"
CLIENTS = {ISTIO_CLIENT: ISTIO_SERVER, LINKERD_CLIENT: LINKERD_SERVER}
SERVED = {objects.SERVICE_PORT: HTTP_PORT, STREAM_PORT: STREAM_PORT}


def install(cluster, report):
    weir = Weir(cluster)
    cluster.apply(objects.namespace(NAMESPACE))
    weir.helm("install", FIRST)
    pod = weir.pod()
    report.check(True, f"helm install: {pod['metadata']['name']} is ready")
    privileged = [c["name"] for c in pod["spec"]["containers"] if c["securityContext"].get("privileged")]
    report.check(not privileged, "no container of it is privileged", privileged)
    done = weir.cluster.kubectl("exec", "-n", NAMESPACE, "daemonset/weir", "-c", "weir", "--", "/usr/sbin/weir", "check", check=False)
    report.check(done.returncode == 0, "weir check finds nothing wrong", done.stdout)
    plugins = [plugin["type"] for plugin in json.loads(cluster.node.out("cat /etc/cni/net.d/*.conflist"))["plugins"]]
    report.check(plugins[-1] == "weir-cni" and plugins[0] == "bridge", f"the node's CNI chain is {' '.join(plugins)}")


def start_istio(cluster, report):
    """Two pods with a real Envoy each; neither has an init container that writes rules."""
    weir = Weir(cluster)
    cluster.apply(objects.namespace(SHOP, **{"istio-injection": "enabled"}))
    for name, template in ((ISTIO_SERVER, objects.server(ISTIO_SERVER)), (ISTIO_CLIENT, objects.client(ISTIO_CLIENT, objects.SERVER_ADDRESS))):
        cluster.apply(objects.envoy_config(name), deployment(name, objects.inject_istio(template)))
    cluster.apply(service(ISTIO_SERVER, objects.SERVER_ADDRESS, SERVED))
    for name in (ISTIO_SERVER, ISTIO_CLIENT):
        pod = cluster.wait_pod(SHOP, name)
        validation = container_status(pod, "istio-validation")
        report.check(validation["restartCount"] == 0 and validation["state"]["terminated"]["exitCode"] == 0,
                     f"{name}: istio-validation passed at once, before the first container", validation)
        said = weir.wait_state(pod, "captured")
        report.check(said["mesh"] == "istio", f"{name}: weir pods says captured, istio", said)


def first_answer(load, via):
    """The first requests may have met a proxy that did not listen yet."""
    load.cluster.wait(lambda: load.stats()["last"].get("via") == via, f"{load.name}: an answer that came via {via}")


def through_envoys(cluster, report):
    load = Load(cluster, ISTIO_CLIENT)
    first_answer(load, "client-outbound, server-inbound")
    last = load.stats()["last"]
    server = cluster.pod(SHOP, ISTIO_SERVER)["status"]["podIP"]
    report.check(last["via"] == "client-outbound, server-inbound", f"a request to the ClusterIP passes both Envoys: via {last['via']}")
    report.check(last["peer"].startswith("127.0.0.6:") and last["own"] == f"{server}:{HTTP_PORT}",
                 f"server's application sees {last['peer']} -> {last['own']}, as behind iptables", last)
    client = cluster.pod(SHOP, ISTIO_CLIENT)["status"]["podIP"]
    lines = [line.split() for line in cluster.logs(SHOP, "deployment/server", "istio-proxy").splitlines() if line.startswith("access inbound")]
    report.check(bool(lines) and all(line[2].startswith(f"{client}:") for line in lines), f"server's Envoy saw {len(lines)} times the client's own address {client}", lines[:3])
    lines = [line.split() for line in cluster.logs(SHOP, "deployment/client", "istio-proxy").splitlines() if line.startswith("access outbound")]
    dialled = {line[3] for line in lines}
    report.check(dialled <= {f"{objects.SERVER_ADDRESS}:80", f"{objects.SERVER_ADDRESS}:{STREAM_PORT}"} and bool(dialled),
                 f"client's Envoy was told what was dialled: {' '.join(sorted(dialled))}")


def start_linkerd(cluster, report):
    weir = Weir(cluster)
    for name, template in ((LINKERD_SERVER, objects.server(LINKERD_SERVER)), (LINKERD_CLIENT, objects.client(LINKERD_CLIENT, objects.LINKERD_SERVER_ADDRESS))):
        cluster.apply(deployment(name, objects.inject_linkerd(template)))
    cluster.apply(service(LINKERD_SERVER, objects.LINKERD_SERVER_ADDRESS, SERVED))
    for name in (LINKERD_SERVER, LINKERD_CLIENT):
        pod = cluster.wait_pod(SHOP, name)
        validator = container_status(pod, "linkerd-network-validator")
        report.check(validator["restartCount"] == 0 and validator["state"]["terminated"]["exitCode"] == 0,
                     f"{name}: linkerd-network-validator passed at once", validator)
        said = weir.wait_state(pod, "captured")
        report.check(said["mesh"] == "linkerd", f"{name}: weir pods says captured, linkerd", said)
    load = Load(cluster, LINKERD_CLIENT)
    cluster.wait(lambda: load.stats()["requests"]["done"], "linkerd-client: an answer")
    addresses = {name: cluster.pod(SHOP, name)["status"]["podIP"] for name in (LINKERD_CLIENT, LINKERD_SERVER)}
    outbound = [line.split() for line in cluster.logs(SHOP, f"deployment/{LINKERD_CLIENT}", "linkerd-proxy").splitlines() if line.startswith("access outbound")]
    report.check(any(line[3] == f"{objects.LINKERD_SERVER_ADDRESS}:80" for line in outbound),
                 f"client's proxy was told what was dialled: {outbound[0][3] if outbound else 'nothing'}")
    inbound = [line.split() for line in cluster.logs(SHOP, f"deployment/{LINKERD_SERVER}", "linkerd-proxy").splitlines() if line.startswith("access inbound")]
    report.check(any(line[2].startswith(f"{addresses[LINKERD_CLIENT]}:") and line[3] == f"{addresses[LINKERD_SERVER]}:{HTTP_PORT}" for line in inbound),
                 "server's proxy saw the client's own address and the port that was dialled", inbound[:3])


def init_containers(cluster, report):
    """A user's init containers run before the proxy listens, if the proxy is no native sidecar; behind istio-validation, as always."""
    weir = Weir(cluster)
    database = f"{objects.DATABASE_ADDRESS}:{objects.DATABASE_PORT}"
    cases = {"refuse": "refused", "direct": "connected"}
    for name in cases:
        template = objects.inject_istio(objects.pod(f"early-{name}", objects.app("pause"), inits=[objects.app("dial", database, name="dial")],
                                                    annotations={"weir.io/before-proxy": name}))
        proxy = template["spec"]["initContainers"].pop(1)  # as before native sidecars: the proxy starts with the containers
        del proxy["restartPolicy"], proxy["startupProbe"]
        template["spec"]["containers"].insert(0, proxy)
        cluster.apply(objects.envoy_config(f"early-{name}"), deployment(f"early-{name}", template))
    for name, want in cases.items():
        pod = cluster.wait_pod(SHOP, f"early-{name}", lambda pod: "terminated" in container_status(pod, "dial")["state"])
        said = container_status(pod, "dial")["state"]["terminated"]["message"]
        report.check(said == want, f"an init container that dials the database, before-proxy {name}: {said}", f"want {want}; weir says {weir.says(pod)}")
        cluster.kubectl("delete", "deployment", f"early-{name}", "-n", SHOP)
    report.check(any(dict(labels).get("workload") == "database" for name, labels in weir.metrics() if name.startswith("weir_tcp_")),
                 "the database outside the mesh is counted like everybody else")


def pid_of(cluster, app, container):
    """A process of a pod's container, as the node numbers it."""
    ident = container_status(cluster.pod(SHOP, app), container)["containerID"].removeprefix("containerd://")
    pid = cluster.node.out(f"cat /sys/fs/cgroup/kubepods*/*/*/*{ident}*/cgroup.procs /sys/fs/cgroup/kubepods*/*/*{ident}*/cgroup.procs 2>/dev/null | head -n1")
    if not pid:
        raise LabError(f"{app}: no process of container {ident}")
    return pid


def view_from_pods(cluster, report):
    """No rule, no conntrack entry, and the addresses that the network plugin gave."""
    for app in (ISTIO_CLIENT, ISTIO_SERVER, LINKERD_CLIENT, LINKERD_SERVER):
        pid = pid_of(cluster, app, "app")
        rules = cluster.node.out(f"nsenter -t {pid} -n sh -c 'nft list ruleset; {{ iptables-legacy-save; ip6tables-legacy-save; }} | grep ^-A; conntrack -L' 2>/dev/null; true")
        address = cluster.node.out(f"nsenter -t {pid} -n ip -4 -o address show eth0 | awk '{{print $4}}'")
        want = cluster.pod(SHOP, app)["status"]["podIP"]
        report.check(not rules and address == f"{want}/24", f"{app}: no iptables or nftables rule, no conntrack entry; its address is {address}", rules)


def view_from_node(cluster, report):
    """weir pods, events and metrics agree."""
    weir = Weir(cluster)
    pods, metrics = weir.pods(), weir.metrics()
    infos = {(dict(labels)["namespace"], dict(labels)["pod"]): dict(labels)["state"] for name, labels in metrics if name == "weir_pod_info"}
    states = {key: pod["state"] for key, pod in pods.items()}
    report.check(infos == states, f"weir pods and weir_pod_info say the same of {len(states)} pods", f"{states}\n{infos}")
    known = {(p["metadata"]["namespace"], p["metadata"]["name"]) for p in cluster.get("pods") if not p["spec"].get("hostNetwork")}
    report.check(known <= set(states), "every pod of the node is known", known - set(states))
    for name, peer in ((ISTIO_CLIENT, ISTIO_SERVER), (LINKERD_CLIENT, LINKERD_SERVER)):
        found = {(labels["peer_service"], labels["peer_workload"], labels["via"]) for series, labels in ((n, dict(l)) for n, l in metrics)
                 if series == "weir_tcp_sent_bytes_total" and labels["workload"] == name and labels["direction"] == "outbound" and labels["port"] == "80"}
        report.check(found == {(peer, peer, "proxy")}, f"/metrics names Service and workload behind what {name} dialled: {sorted(found)}")


def totals(cluster, report):
    weir = Weir(cluster)
    for name, server in CLIENTS.items():
        Load(cluster, name).check_totals(report, weir, "after the start")
        # At the server's end from now on: what was said while its application did not listen yet never came there.
        Load(cluster, name, server).count_from_here(weir)


MESH = [
    Step("install", "helm install", install, needed=True),
    Step("istio", "Deployments injected as Istio injects", start_istio, needed=True),
    Step("envoys", "through both Envoys, by ClusterIP", through_envoys),
    Step("linkerd", "Deployments injected as Linkerd injects (the proxy is a stand-in)", start_linkerd, needed=True),
    Step("inits", "init containers under before-proxy's policy", init_containers),
    Step("pods-view", "what the pods see", view_from_pods),
    Step("node-view", "what weir says: pods, metrics", view_from_node),
    Step("totals", "what weir counted is what the applications counted", totals),
]

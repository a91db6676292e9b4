# SPDX-License-Identifier: Apache-2.0
"""The same agent at a real API server, over HTTP/2, with the rights that it asks for and no others."""

import pytest

from lab import kube, kubernetes
from lab.agent import total
from lab.command import wait_until
from test_kube import RESOURCES, metric, pod_of, wait_metric, wait_objects, why
from test_kube_events import add, said, wrong_pod

READ = ["list", "watch"]
RULES = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", *READ]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": READ},
    {"apiGroups": [""], "resources": ["services"], "verbs": READ},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
]


def role(rules):
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "weir"}, "rules": rules}


def account(name):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}}


def clean(pod):
    """A pod as a user would create it; the server adds the rest."""
    for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
        container.pop("restartPolicy", None)
    pod["status"].pop("containerStatuses", None)
    pod["metadata"].pop("uid", None)
    pod["metadata"].pop("creationTimestamp", None)
    return pod


@pytest.fixture
def cluster(lab, request):
    if kubernetes.missing():
        pytest.skip(kubernetes.missing())
    with kubernetes.Kubernetes(lab.work / "kubernetes", *getattr(request, "param", ())) as cluster:
        cluster.apply(account("default"), account("weir"), role(RULES), {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "weir"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir"},
            "subjects": [{"kind": "ServiceAccount", "name": "weir", "namespace": "default"}]})
        yield cluster


def start(lab, cluster, *options, wait=True):
    return lab.agent(f"--kubeconfig={cluster.kubeconfig('weir', cluster.token('weir'))}", *options, wait=wait)


def all_watches(agent):
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES), "all watches", 60)


def test_real_api_server(lab, cluster):
    """Lists, watches, a captured pod, an Event, a killed server, versions too old, and no call that is forbidden."""
    pod, wrong = lab.pod("web", mesh="istio"), wrong_pod(lab, "wrong")
    cluster.apply(clean(pod.object()), clean(wrong.object()), clean(pod_of("there")), clean(pod_of("gone", ip="10.244.9.8")),
                  kube.service("cart", "default", ["10.96.0.9"], [(80, 8080, "TCP")], {"app": "there"}))
    agent = start(lab, cluster, "--kubernetes.watch-timeout=20")
    all_watches(agent)
    assert metric(agent, "objects", "pods") == 2 and metric(agent, "objects", "peer_pods") == 2
    assert metric(agent, "objects", "services") == 2 and metric(agent, "objects", "namespaces") >= 4
    # the pods' uids are the server's
    for one in (pod, wrong):
        one.uid = cluster.kubectl("get", "pod", one.name, "-o", "jsonpath={.metadata.uid}").stdout
    assert add(lab, pod)["state"] == "captured"
    assert "excludeInboundPorts" in str(add(lab, wrong)["error"])

    def told():
        return cluster.kubectl("get", "events.events.k8s.io", "-o", "jsonpath={.items[*].note}").stdout

    wait_until(told, "the Event", 20, 0.5)
    assert told() == said(lab, wrong)["reason"]
    cluster.apply(clean(pod_of("new", ip="10.244.9.7")))
    wait_objects(agent, "peer_pods", 3)
    wait_until(lambda: agent.metrics() and total(agent.metrics(), "weir_kubernetes_errors_total") == 0, "no error")

    cluster.kill()
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == 0, "no watch to be open", 20)
    assert metric(agent, "objects", "peer_pods") == 3 and said(lab, pod)["state"] == "captured"
    cluster.start()
    cluster.kubectl("delete", "pod", "gone", "--grace-period=0", "--force")
    wait_objects(agent, "peer_pods", 2, 60)
    all_watches(agent)
    assert "ClusterRole lacks" not in agent.stderr(), "a server that has just started refuses at first what it allows"


def test_real_rbac(lab, cluster):
    """The rule that the agent names is the one that helps."""
    cluster.apply(role(RULES[1:]))
    agent = start(lab, cluster, wait=False)
    rule = '{apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}'
    wait_until(lambda: rule in why(agent), "the missing rule in /readyz", 20)
    cluster.apply(role(RULES))
    agent.wait_ready(60)
    wait_metric(agent, "up", "pods", 1, 60)


@pytest.mark.parametrize("cluster", [["--goaway-chance=0.02"]], indirect=True)
def test_real_server_that_sends_connections_away(lab, cluster):
    """HTTP/2's GOAWAY, as a server behind a load balancer sends it at random: no request fails, and no watch ends."""
    agent = start(lab, cluster)
    all_watches(agent)
    before = total(agent.metrics(), "weir_kubernetes_lists_total")
    for number in range(300):  # each is asked for
        pod = lab.pod("web", network=False) if not number else pod
        pod.name, pod.uid = f"unknown-{number}", f"6f9d9c55-0000-4000-8000-{number:012}"
        add(lab, pod, timeout_ms=40)
    cluster.apply(clean(pod_of("there")))
    wait_objects(agent, "peer_pods", 1)
    assert agent.stderr().count("level=error") == 0 == agent.stderr().count("path=/api")
    assert total(agent.metrics(), "weir_kubernetes_errors_total") == 0
    assert total(agent.metrics(), "weir_kubernetes_lists_total") == before
    asked = [line for line in cluster.kubectl("get", "--raw", "/metrics").stdout.splitlines()
             if line.startswith("apiserver_request_total{") and 'code="404"' in line and 'resource="pods"' in line and 'verb="GET"' in line]
    assert sum(float(line.split()[-1]) for line in asked) > 250


def test_real_large_list(lab, cluster):
    """Larger than 128 KiB a server sends it compressed; the versions of a server that starts again with its storage go on."""
    cluster.apply(*(clean(pod_of(f"there-{number}", ip=f"10.244.{number // 250}.{number % 250 + 1}", annotations={"a": "x" * 2000}))
                    for number in range(120)))
    agent = start(lab, cluster, "--kubernetes.watch-timeout=20")
    all_watches(agent)
    assert metric(agent, "objects", "peer_pods") == 120


def test_real_storage_is_restored(lab, cluster):
    """From a backup: versions are older than those that the agent knows. What was made since is gone, what comes is seen."""
    cluster.apply(clean(pod_of("old")))
    agent = start(lab, cluster, "--kubernetes.watch-timeout=20")
    all_watches(agent)
    cluster.backup()
    all_watches(agent)
    cluster.apply(*(clean(pod_of(f"lost-{number}", ip=f"10.244.8.{number + 1}")) for number in range(20)))
    wait_objects(agent, "peer_pods", 21)
    cluster.restore()
    wait_objects(agent, "peer_pods", 1, 90)
    cluster.apply(clean(pod_of("new", ip="10.244.9.7")))
    wait_objects(agent, "peer_pods", 2, 30)
    all_watches(agent)

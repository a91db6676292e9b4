# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API, asked of a stand-in over real TLS that can be told to fail in every way a real one does."""

import pytest

from lab import kube
from lab.agent import total
from lab.apiserver import ApiServer
from lab.command import wait_until

RESOURCES = ("pods", "peer_pods", "namespaces", "services", "endpointslices")


@pytest.fixture
def api(lab):
    with ApiServer(lab.work / "api") as server:
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        yield server


def pod_of(name, node="node-b", ip="10.244.9.9", **metadata):
    """A pod as the API has it."""
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"app": name}, **metadata},
        "spec": {"nodeName": node, "containers": [kube.container("app", "example/app", (8080,))]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}}


def objects(agent, resource):
    return total(agent.metrics(), "weir_kubernetes_objects", resource=resource)


def wait_objects(agent, resource, number, timeout=10):
    wait_until(lambda: objects(agent, resource) == number, f"{number} {resource}", timeout)


def test_list_and_watch(lab, api):
    """Ready when all is listed; then events, each resource over one watch."""
    api.put(pod_of("here", "node-a", "10.244.0.9"))
    api.put(pod_of("there"))
    agent = lab.agent(f"--kubeconfig={api.kubeconfig()}")
    metrics = agent.metrics()
    assert {name: total(metrics, "weir_kubernetes_objects", resource=name) for name in RESOURCES} == {
        "pods": 1, "peer_pods": 1, "namespaces": 1, "services": 0, "endpointslices": 0}
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES), "all watches")
    api.put(kube.service("cart", "default", ["10.96.0.9"], [(80, 8080, "TCP")], {"app": "there"}))
    wait_objects(agent, "services", 1)
    api.delete(pod_of("there"))
    wait_objects(agent, "peer_pods", 0)
    moved = pod_of("moved", "")
    api.put(moved)
    wait_objects(agent, "peer_pods", 1)
    api.put(pod_of("moved", "node-a"))
    wait_objects(agent, "pods", 2)
    wait_objects(agent, "peer_pods", 0)
    assert len(api.requests("list")) == len(RESOURCES)

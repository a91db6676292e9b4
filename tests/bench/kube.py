#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Memory and time that the view of a cluster costs the agent: pods here and elsewhere, Services, from a stand-in for the API server.

usage: tests/bench/kube.py [PODS_HERE [PODS_ELSEWHERE [SERVICES]]]      (250 5000 2000)
"""

import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lab import Lab, kube  # noqa: E402
from lab.agent import total  # noqa: E402
from lab.apiserver import ApiServer  # noqa: E402
from lab.command import wait_until  # noqa: E402

MIB = 1 << 20


def managed_fields():
    """Half of a real object is who wrote which field."""
    fields = {f"f:field-{number}": {"f:a": {}, "f:b": {}} for number in range(60)}
    return [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields}] * 2


def pod(number, node):
    """A pod of a Deployment that Istio has injected, with about as much in it as a real one."""
    name, ip = f"shop-{number // 5}-7d9f8c6b5d-{number:05}", f"10.{10 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
    labels = {"app": f"shop-{number // 5}", "pod-template-hash": "7d9f8c6b5d", "app.kubernetes.io/name": f"shop-{number // 5}",
              "app.kubernetes.io/instance": "prod", "app.kubernetes.io/version": "1.2.3", "team": "payments"}
    item = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": f"team-{number % 40}", "uid": f"{number:08}-0000-4000-8000-000000000000", "labels": labels,
                     "creationTimestamp": kube.CREATED, "managedFields": managed_fields(), "annotations": {"prometheus.io/scrape": "true"},
                     **kube.owner_metadata(f"Deployment/shop-{number // 5}", labels, name)},
        "spec": {"nodeName": node, "serviceAccountName": "default", "initContainers": [],
                 "volumes": [{"name": f"v{n}", "configMap": {"name": f"config-{n}", "defaultMode": 420}} for n in range(8)],
                 "containers": [kube.container("app", "example/app", (8080, 9090), {f"VARIABLE_{n}": "value " * 4 for n in range(15)})]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "192.0.2.1", "conditions": [
            {"type": f"Condition{n}", "status": "True", "lastTransitionTime": kube.CREATED} for n in range(5)]}}
    kube.inject_istio(item, 1337, {f"ISTIO_META_{n}": "value" for n in range(20)})
    return item


class Backend:
    """What kube.endpoint_slice wants of a pod."""

    def __init__(self, item):
        self.ip, self.ipv6, self.name = item["status"]["podIP"], None, item["metadata"]["name"]
        self.namespace, self.uid = item["metadata"]["namespace"], item["metadata"]["uid"]


def fill(api, here, elsewhere, services):
    pods = [pod(number, "node-a" if number < here else f"node-{number % 100}-b") for number in range(here + elsewhere)]
    for number in range(40):
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"team-{number}", "labels": {"istio-injection": "enabled"}}},
                tell=False)
    for item in pods:
        api.put(item, tell=False)
    for number in range(services):
        name, namespace, ports = f"service-{number}", f"team-{number % 40}", [(80, 8080, "TCP"), (9090, 9090, "TCP")]
        backends = [Backend(item) for item in pods[number * 3 % len(pods):][:5]]
        api.put(kube.service(name, namespace, [f"10.96.{number // 250}.{number % 250 + 1}"], ports, {"app": f"shop-{number}"}), tell=False)
        api.put(kube.endpoint_slice(name, namespace, False, ports, backends), tell=False)


def resident(agent):
    return total(agent.metrics(), "process_resident_memory_bytes")


def peak(agent):
    """The largest it ever was, in bytes."""
    text = pathlib.Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) * 1024


def cpu(agent):
    return total(agent.metrics(), "process_cpu_seconds_total")


def measure(lab, api, numbers):
    bare = lab.agent()
    before = resident(bare)
    bare.stop()
    began = time.monotonic()
    agent = lab.agent(f"--kubeconfig={api.kubeconfig()}", wait=False)
    agent.wait_ready(300)
    ready, used = time.monotonic() - began, cpu(agent)
    known, highest = resident(agent), peak(agent)
    lists = sum(api.sent.values())
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == 6, "all watches", 60)
    api.compact()
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_lists_total") == 12, "everything to be listed again", 300, 0.2)
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == 6, "all watches", 60)
    print(f"| | {numbers[0]} pods here, {numbers[1]} elsewhere, {numbers[2]} Services with their EndpointSlices |")
    print("|---|---:|")
    print(f"| resident memory, without an API | {before / MIB:.1f} MiB |")
    print(f"| resident memory, all known | {known / MIB:.1f} MiB |")
    print(f"| at most, while it is listed | {highest / MIB:.1f} MiB |")
    print(f"| at most, while all is listed anew beside what is known | {peak(agent) / MIB:.1f} MiB |")
    print(f"| size of the lists as JSON | {lists / MIB:.0f} MiB |")
    print(f"| from the start to ready | {ready:.1f} s |")
    print(f"| of that, the agent's processor time | {used:.1f} s |")


def main():
    numbers = [int(text) for text in sys.argv[1:4]] + [250, 5000, 2000][len(sys.argv) - 1:]
    with Lab("bench-kube") as lab, ApiServer(lab.work / "api") as api:
        fill(api, *numbers)
        measure(lab, api, numbers)


if __name__ == "__main__":
    main()

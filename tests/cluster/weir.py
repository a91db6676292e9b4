# SPDX-License-Identifier: Apache-2.0
"""weir as its administrator knows it: the chart, the agent's pod, its commands and its metrics."""

import json
import urllib.request

from lab.agent import parse_metrics, total
from lab.command import ROOT, LabError

from .control import NODE_ADDRESS
from .node import METRICS_PORT

CHART, VALUES = ROOT / "deploy" / "helm" / "weir", ROOT / "deploy" / "helm" / "values"
NAMESPACE, RELEASE = "weir-system", "weir"
DAEMONSET = f"daemonset/{RELEASE}"
REPOSITORY, FIRST, SECOND = "localhost/weir", "first", "second"
COUNTED = (("opened", "connections_opened"), ("sent", "sent_bytes"), ("received", "received_bytes"))
IMAGES = (f"{REPOSITORY}:{FIRST}", f"{REPOSITORY}:{SECOND}")


class Weir:
    def __init__(self, cluster):
        self.cluster = cluster

    # -- the chart -----------------------------------------------------------------------------------------------------

    def helm(self, verb, tag, *more):
        """install or upgrade. Helm's own --wait is content with as many pods missing as an update may take away: on one node, all."""
        self.cluster.helm(verb, RELEASE, CHART, "-n", NAMESPACE, *self._image(tag), *more)
        self.wait_ready()

    def _image(self, tag):
        return ("--set", f"image.repository={REPOSITORY},image.tag={tag},image.pullPolicy=Never")

    def manifests(self, tag, *more):
        """What the chart says, for who does not use Helm."""
        return self.cluster.helm("template", RELEASE, CHART, "-n", NAMESPACE, *self._image(tag), *more).stdout

    def rollback(self):
        self.cluster.helm("rollback", RELEASE, "-n", NAMESPACE)
        self.wait_ready()

    def uninstall(self):
        return self.cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--wait", "--timeout", "10m")

    # -- the agent -----------------------------------------------------------------------------------------------------

    def pod(self):
        """The agent's pod of the node."""
        found = [pod for pod in self.cluster.get("pods", namespace=NAMESPACE, selector=f"app.kubernetes.io/instance={RELEASE}")
                 if "deletionTimestamp" not in pod["metadata"]]
        if len(found) != 1:
            raise LabError(f"{len(found)} agent's pods, not one")
        return found[0]

    def wait_ready(self):
        self.cluster.wait_rollout(DAEMONSET, NAMESPACE)

    def run(self, *argv, check=True):
        """Runs a command of weir in the agent's pod."""
        return self.cluster.exec(NAMESPACE, DAEMONSET, "weir", "/usr/sbin/weir", *argv, check=check)

    def log(self):
        return self.cluster.logs(NAMESPACE, DAEMONSET, "weir")

    def pods(self):
        """{(namespace, name): what `weir pods` says}"""
        return {(pod["namespace"], pod["name"]): pod for pod in json.loads(self.run("pods", "-o", "json"))["pods"]}

    def says(self, pod):
        """What `weir pods` says of a Kubernetes pod."""
        return self.pods().get((pod["metadata"]["namespace"], pod["metadata"]["name"]))

    def wait_state(self, pod, state):
        """Waits until weir has a pod in this state; returns what it says of it."""
        def found():
            said = self.says(pod)
            return said if said and said["state"] == state else None

        try:
            return self.cluster.wait(found, "the state")
        except LabError:
            raise LabError(f"{pod['metadata']['name']} is not {state} but {self.says(pod)}") from None

    def metrics(self):
        with urllib.request.urlopen(f"http://{NODE_ADDRESS}:{METRICS_PORT}/metrics", timeout=60) as answer:
            return parse_metrics(answer.read().decode())

    def tcp(self, workload, metrics=None, **labels):
        """What weir counted of a workload's connections: opened, sent, received."""
        metrics = metrics or self.metrics()
        return {name: int(total(metrics, f"weir_tcp_{series}_total", workload=workload, **labels)) for name, series in COUNTED}

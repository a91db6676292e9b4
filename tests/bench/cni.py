#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Time from CNI ADD to captured: the plugin as a runtime runs it, alone on the node, with other captured pods present, and while pods
come and go and Prometheus scrapes.

usage: tests/bench/cni.py [PODS_PRESENT [ADDS]]      (250 100)
"""

import pathlib
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lab import Lab, LabError, net  # noqa: E402
from lab.agent import ask  # noqa: E402
from lab.cni import weir_cni  # noqa: E402
from lab.command import run, wait_until  # noqa: E402

SETTLED_S = 0.7  # a sandbox is made well after the pod is known: the run over all pods that the news of it brings has ended


def told(pod):
    """Its object as the API server has it before the pod has a network."""
    item = pod.object()
    for key in ("weir.io/netns", "weir.io/cgroup"):
        del item["metadata"]["annotations"][key]
    pod.write(item)


def call(lab, command, pod):
    """Milliseconds from the plugin's start to its end."""
    text = {"cniVersion": "1.0.0", "name": "pods", "type": "weir-cni", "prevResult": {"cniVersion": "1.0.0", "ips": []},
            "runDir": str(lab.run_dir), "stateDir": str(lab.state_dir)}
    env = {"CNI_CONTAINERID": pod.uid, "CNI_NETNS": net.netns_path(pod.netns),
           "CNI_ARGS": f"K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name};K8S_POD_UID={pod.uid}"}
    began = time.monotonic()
    status, answer = weir_cni(command, text, env)
    took = (time.monotonic() - began) * 1000
    if status:
        raise LabError(answer)
    return took


def captured(lab):
    return sum(pod["state"] == "captured" for pod in ask(lab, "pods")["pods"])


def show(what, took):
    took = sorted(took)
    print(f"{what:22} median {statistics.median(took):6.1f} ms, p90 {took[len(took) * 90 // 100]:6.1f} ms, "
          f"p99 {took[len(took) * 99 // 100]:6.1f} ms, max {took[-1]:6.1f} ms", flush=True)


def cpu(agent):
    """Milliseconds that the agent has had the CPU: those do not depend on what else the machine does."""
    return int(pathlib.Path(f"/proc/{agent.process.pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6


class Churn:
    """Use as a context: one pod after the other comes and goes, and the agent is scraped once a second."""

    def __init__(self, lab, agent):
        self.lab, self.agent, self.over, self.pods = lab, agent, threading.Event(), 0
        self.threads = [threading.Thread(target=self._come_and_go), threading.Thread(target=self._scrape)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _come_and_go(self):
        while not self.over.wait(0.1):
            pod = self.lab.pod(f"guest-{self.pods}", mesh="istio", network=False)
            told(pod)
            call(self.lab, "ADD", pod)
            call(self.lab, "DEL", pod)
            pod.delete()
            self.pods += 1

    def _scrape(self):
        while not self.over.wait(1):
            self.agent.metrics()


def measure_churn(lab, agent, present, adds):
    took = []
    with Churn(lab, agent) as churn:
        for number in range(adds):
            pod = lab.pod(f"busy-{number}", mesh="istio", network=False)
            told(pod)
            time.sleep(SETTLED_S)
            took.append(call(lab, "ADD", pod))
            call(lab, "DEL", pod)
            pod.delete()
    show("ADD while pods churn", took)
    print(f"{churn.pods} other pods came and went beside {present}")


def measure(lab, agent, present, adds):
    """As many pods are present all the while: each new one is let go again."""
    took, used, deleted = [], [], []
    for number in range(adds):
        pod = lab.pod(f"new-{present}-{number}", mesh="istio", network=False)
        told(pod)
        time.sleep(SETTLED_S)
        before = cpu(agent)
        took.append(call(lab, "ADD", pod))
        used.append(cpu(agent) - before)
        assert captured(lab) == present + 1
        deleted.append(call(lab, "DEL", pod))
        pod.delete()
        wait_until(lambda: captured(lab) == present, "the pod to be let go", 20)
    show(f"ADD, {present} pods present", took)
    show("  CPU of the agent", used)
    show(f"DEL, {present} pods present", deleted)


def main():
    present, adds = (int(text) for text in (sys.argv[1:] + ["250", "100"][len(sys.argv) - 1:])[:2])
    with Lab("bench-cni") as lab:
        agent = lab.agent()
        nobody = lab.pod("none", network=False)
        show("the process alone", [call(lab, "VERSION", nobody) for _ in range(adds)])
        measure(lab, agent, 0, adds)
        pods = [lab.pod(f"there-{number}", mesh="istio", network=False) for number in range(present)]
        for pod in pods:
            told(pod)
            call(lab, "ADD", pod)
        wait_until(lambda: captured(lab) == present, "the pods to be captured", 60)
        measure(lab, agent, present, adds)
        measure_churn(lab, agent, present, adds)
    print(run("uptime").stdout.strip())


if __name__ == "__main__":
    main()

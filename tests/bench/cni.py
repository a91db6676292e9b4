#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Time from CNI ADD to captured: the plugin as a runtime runs it, alone on the node, with other captured pods present, and while pods
come and go and Prometheus scrapes.

usage: tests/bench/cni.py [--write] [PODS_PRESENT [ADDS]]      (250 100)     --write: into docs/PERFORMANCE.md
"""

import os
import pathlib
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from lab import Lab, LabError, net  # noqa: E402
from lab.agent import ask  # noqa: E402
from lab.cni import weir_cni  # noqa: E402
from lab.command import ROOT, wait_until  # noqa: E402

import report  # noqa: E402

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


ROWS = []


def show(what, took):
    """A row of the table; told at once as well, for all of them take minutes."""
    took = sorted(took)
    ROWS.append([what, *(f"{ms:.1f}" for ms in (statistics.median(took), took[len(took) * 90 // 100], took[len(took) * 99 // 100], took[-1]))])
    print("; ".join(ROWS[-1]), file=sys.stderr, flush=True)


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
    show(f"ADD, {present} pods present, {churn.pods} others come and go", took)


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
    show("processor time of the agent in it", used)
    show(f"DEL, {present} pods present", deleted)


def main():
    write, argv = "--write" in sys.argv, [text for text in sys.argv[1:] if text != "--write"]
    present, adds = (int(text) for text in (argv + ["250", "100"][len(argv):])[:2])
    load = os.getloadavg()[0]
    with Lab("bench-cni") as lab:
        agent = lab.agent()
        nobody = lab.pod("none", network=False)
        show("the process alone (VERSION)", [call(lab, "VERSION", nobody) for _ in range(adds)])
        measure(lab, agent, 0, adds)
        pods = [lab.pod(f"there-{number}", mesh="istio", network=False) for number in range(present)]
        for pod in pods:
            told(pod)
            call(lab, "ADD", pod)
        wait_until(lambda: captured(lab) == present, "the pods to be captured", 60)
        measure(lab, agent, present, adds)
        measure_churn(lab, agent, present, adds)
    text = f"Load of the machine before and after: {load:.1f}, {os.getloadavg()[0]:.1f}.\n\n" + report.markdown(["ms", "median", "p90", "p99", "at most"], ROWS)
    print(text)
    if write:
        report.write_between_markers(ROOT / "docs" / "PERFORMANCE.md", "cni", text)


if __name__ == "__main__":
    main()

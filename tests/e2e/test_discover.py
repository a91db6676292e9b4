# SPDX-License-Identifier: Apache-2.0
"""Pods that nobody says where they run: found by their cgroup and their processes, as each runtime lays them."""

import hashlib
import os
import pathlib
import subprocess
import uuid

import pytest

from lab import cgroup, net
from lab.command import PROBE, wait_until
from support import APP, INBOUND, OUTBOUND, assert_redirected, known, listener_port, plain_pod, start_proxy, wait_state
from test_cni import told

ID = uuid.uuid4().hex * 2
# Below the kubepods cgroup: pod, sandbox's container, another container. {u}: the uid, {U}: with "_" for "-", {i}: a container's id.
LAYOUTS = {
    "containerd-systemd": ("kubepods-burstable.slice/kubepods-burstable-pod{U}.slice", "cri-containerd-{i}.scope"),
    "containerd-systemd-guaranteed": ("kubepods-pod{U}.slice", "cri-containerd-{i}.scope"),
    "containerd-cgroupfs": ("burstable/pod{u}", "{i}"),
    "containerd-cgroupfs-guaranteed": ("pod{u}", "{i}"),
    "crio-systemd": ("kubepods-besteffort.slice/kubepods-besteffort-pod{U}.slice", "crio-{i}.scope"),
    "crio-systemd-crun": ("kubepods-besteffort.slice/kubepods-besteffort-pod{U}.slice", "crio-{i}.scope/container"),
    "crio-cgroupfs": ("besteffort/pod{u}", "crio-{i}"),
    "kind": ("kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{U}.slice", "cri-containerd-{i}.scope"),
    "cgroup-root": ("a-b-kubepods-burstable.slice/a-b-kubepods-burstable-pod{U}.slice", "cri-containerd-{i}.scope"),
    "systemd-in-a-pod": ("burstable/pod{u}", "{i}/init.scope"),
}


def relay(pod, layout):
    """The pod's cgroups, laid out anew."""
    folder, container = LAYOUTS[layout]
    cgroup.remove(pod.kubepods / pod.cgroup)
    pod.cgroup = pathlib.Path(folder.format(u=pod.uid, U=pod.uid.replace("-", "_")))
    places = {name: pod.kubepods / pod.cgroup / container.format(i=ident) for name, ident in pod.containers.items()}
    for place in places.values():
        place.mkdir(parents=True)
    pod.container_cgroup = lambda name="app": places[name]


def pause(pod, **place):
    """The process that holds a pod's namespaces."""
    return pod.popen(["sleep", "600"], **place)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(lab, agent, layout):
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80)
    relay(pod, layout)
    told(pod)
    wait_until(lambda: (known(lab, pod) or {}).get("state") == "pending", "the pod to be seen")
    assert "no process" in known(lab, pod)["reason"]
    pause(pod)
    wait_state(lab, pod)
    found = known(lab, pod)
    assert (found["found_by"], found["cgroup"]) == ("process", str(pod.cgroup))
    assert os.stat(found["netns"]).st_ino == os.stat(net.netns_path(pod.netns)).st_ino
    start_proxy(pod)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)


def test_a_static_pod(lab, agent):
    """Its object is a mirror: the cgroup has the hash of its manifest, which an annotation names."""
    pod = lab.pod("proxy", mesh="istio")
    mirror, pod.uid = pod.uid, hashlib.md5(b"manifest").hexdigest()
    relay(pod, "containerd-cgroupfs")
    pod.annotations.update({"kubernetes.io/config.hash": pod.uid, "kubernetes.io/config.mirror": pod.uid, "kubernetes.io/config.source": "file"})
    pod.uid = mirror
    told(pod)
    pause(pod)
    wait_state(lab, pod)
    assert known(lab, pod)["found_by"] == "process"


def test_a_process_with_a_network_namespace_of_its_own(lab, agent):
    """A user's process may unshare, and more of them than there are others; the pod's addresses decide."""
    pod = lab.pod("web", mesh="istio")
    for _ in range(3):
        pod.popen(["unshare", "--net", "sleep", "600"])
    wait_until(lambda: len(cgroup.processes(pod.kubepods / pod.cgroup)) == 3, "three processes")
    first = told_with_address(pod)
    pause(first)
    wait_until(lambda: same_netns(lab, pod), "the pod's own network namespace")
    assert known(lab, pod)["state"] == "captured"


def told_with_address(pod, item=None):
    """Its object, or this one, without a word of where it runs."""
    item = item or pod.object()
    for key in ("weir.io/netns", "weir.io/cgroup"):
        del item["metadata"]["annotations"][key]
    return pod.write(item)


def same_netns(lab, pod):
    path = (known(lab, pod) or {}).get("netns")
    try:
        return path and os.stat(path).st_ino == os.stat(net.netns_path(pod.netns)).st_ino
    except OSError:
        return False


def test_without_addresses_the_oldest_process_is_the_sandbox(lab, agent):
    pod = lab.pod("web", mesh="istio")
    pause(pod)
    wait_until(lambda: cgroup.processes(pod.kubepods / pod.cgroup), "the sandbox")
    pod.popen(["unshare", "--net", "sleep", "600"], container="istio-proxy")
    told(pod)
    wait_state(lab, pod)
    assert same_netns(lab, pod)


def test_processes_of_the_host_network_do_not_count(lab, agent):
    """CRI-O's monitor lies in the pod's cgroup; so may a process that joined the host's namespace."""
    pod = lab.pod("web", mesh="istio")
    relay(pod, "crio-systemd")
    told(pod)
    monitor = pod.kubepods / pod.cgroup / f"crio-conmon-{ID}.scope"
    monitor.mkdir()
    processes = [subprocess.Popen([str(PROBE), "exec", "--pdeathsig", "--cgroup", str(place), "--", "sleep", "600"])
                 for place in (monitor, pod.container_cgroup())]
    wait_until(lambda: len(cgroup.processes(pod.kubepods / pod.cgroup)) == 2, "two processes")
    wait_until(lambda: (known(lab, pod) or {}).get("state") == "pending", "the pod to be seen")
    pause(pod)
    wait_state(lab, pod)
    assert same_netns(lab, pod)
    for process in processes:
        process.kill()
        process.wait()


def test_a_pod_whose_processes_end_for_a_moment_stays_captured(lab, agent):
    """CRI-O runs no pause process: between two starts of the only container there is none."""
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80)
    told(pod)
    only = pause(pod)
    wait_state(lab, pod)
    cookie = known(lab, pod)["netns_cookie"]
    only.kill()
    only.wait()
    agent.weir("pods")
    os.utime(pod.file)
    start_proxy(pod)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert (known(lab, pod)["state"], known(lab, pod)["netns_cookie"]) == ("captured", cookie)


def test_a_peer_without_a_cgroup_here_is_none_of_ours(lab, agent):
    pod = plain_pod(lab)
    cgroup.remove(pod.kubepods / pod.cgroup)
    told_with_address(pod)
    other = lab.pod("web", mesh="istio")
    wait_state(lab, other.write())
    assert known(lab, pod) is None


def test_processes_that_come_and_go(lab, agent):
    """Pids are used again at once; what is found is the pod's, or nothing."""
    pod = lab.pod("web", mesh="istio")
    churn = pod.popen(["sh", "-c", "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done"])
    told(pod)
    wait_state(lab, pod)
    for _ in range(20):
        os.utime(pod.file)
        assert known(lab, pod)["state"] == "captured"
    churn.kill()
    churn.wait()


def test_adopted_live(lab):
    """A pod with a proxy and traffic that runs before the agent: what is established stays, what is new is diverted."""
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80)
    start_proxy(pod)
    told_with_address(pod)
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == 80
    lab.agent()
    assert known(lab, pod)["state"] == "captured"  # ready means: all that run are captured
    assert known(lab, pod)["found_by"] == "process"
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)
    pod.delete()
    wait_until(lambda: known(lab, pod) is None, "the pod to be let go")

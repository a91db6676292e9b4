# SPDX-License-Identifier: Apache-2.0
"""Where a pod is that nobody says where it runs, when its processes and cgroups are not as simple as a kubelet leaves them."""

import hashlib
import pathlib
import signal
import subprocess
import time
import uuid

import pytest

from lab import cgroup, net
from lab.apiserver import ApiServer
from lab.command import PROBE, run, wait_until
from support import (APP, INBOUND, OUTBOUND, PROXY, Shell, as_container, assert_redirected, cookies_in, dual_stack, known, plain_pod, start_proxy,
                     wait_state)
from test_discover import pause, relay, same_netns, told_with_address

FIRST = 300000  # of a pod's user namespace, to the node

# A thread goes on after the process's first one has ended: /proc/PID/ns then shows nothing.
HEADLESS = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); ctypes.CDLL(None).syscall(60, 0)"


def start(argv, *place):
    return subprocess.Popen([str(arg) for arg in (PROBE, "exec", "--pdeathsig", *place, "--", *argv)], stdin=subprocess.DEVNULL)


def test_a_process_whose_first_thread_has_ended(lab, agent):
    pod = lab.pod("web", mesh="istio")
    only = pod.popen(["/usr/bin/python3", "-c", HEADLESS])
    wait_until(lambda: "Z" in pathlib.Path(f"/proc/{only.pid}/stat").read_text().rsplit(")", 1)[1].split()[0], "the first thread to end")
    told_with_address(pod)
    wait_state(lab, pod)
    assert same_netns(lab, pod)


def test_a_user_namespace(lab):
    """hostUsers: false, by an agent that has no more rights than its container."""
    space = net.UserNamespace(FIRST)
    pod = lab.pod("web", mesh="istio", ipv6=None, userns=space)
    lab.agent(under=as_container("weir"))
    pause(pod, uid=FIRST)
    item = pod.object()
    item["spec"]["hostUsers"] = False
    wait_state(lab, told_with_address(pod, item))
    assert same_netns(lab, pod)
    pod.serve("0.0.0.0:15001", uid=FIRST + PROXY, container="istio-proxy")
    peer = plain_pod(lab, 80)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=FIRST + APP), f"{peer.ip}:80", OUTBOUND)
    space.close()


def test_a_sandbox_made_anew(lab, agent):
    """The pause process has died and the kubelet makes another sandbox for the same pod; the status tells the former address for a while."""
    pod, place = lab.pod("web", mesh="istio"), lab.pod("place", mesh="istio")
    first = pause(pod)
    told_with_address(pod)
    wait_state(lab, pod)
    former = known(lab, pod)["netns_cookie"]
    first.kill()
    first.wait()
    run("ip", "netns", "del", pod.netns)
    start(["sleep", "600"], "--netns", net.netns_path(place.netns), "--cgroup", pod.container_cgroup())
    wait_until(lambda: (known(lab, pod)["netns_cookie"] or former) != former and known(lab, pod)["state"] == "captured", "the new sandbox", 5)
    wait_until(lambda: former not in cookies_in(lab, "weir_pods"), "the former one to be let go")
    pod.netns, pod.ip, pod.ipv6 = place.netns, place.ip, place.ipv6
    assert same_netns(lab, pod)
    told_with_address(pod)
    wait_state(lab, pod)
    assert same_netns(lab, pod)


def test_an_address_that_a_process_gives_itself(lab, agent):
    """In a network namespace of its own, where it has made the pod's address: nothing that a pod does moves it."""
    pod = lab.pod("web", mesh="istio")
    pause(pod)
    wait_until(lambda: cgroup.processes(pod.kubepods / pod.cgroup), "the sandbox")
    pod.popen(["unshare", "--net", "sh", "-c", f"ip link add x type dummy; ip addr add {pod.ip} dev x; ip link set x up; exec sleep 600"],
              container="istio-proxy")
    wait_until(lambda: len(cgroup.processes(pod.kubepods / pod.cgroup)) == 2, "both")
    for again in range(2):
        told_with_address(pod)
        wait_state(lab, pod)
        assert same_netns(lab, pod)
        if not again:
            agent.stop(signal.SIGKILL)
            lab.agent()


def test_a_node_within_a_pod(lab, agent):
    """Docker and kind in a pod: its cgroups have cgroups that are called like pods, of the same uid as another pod of this node at worst."""
    outer, inner = lab.pod("outer", mesh="istio"), lab.pod("inner", mesh="istio")
    fake = outer.container_cgroup() / "kubepods.slice" / "kubepods-burstable.slice" / f"kubepods-burstable-pod{inner.uid.replace('-', '_')}.slice"
    fake.mkdir(parents=True)
    cgroup.remove(inner.kubepods / inner.cgroup)
    pause(outer)
    wait_until(lambda: cgroup.processes(outer.container_cgroup()), "the sandbox")
    start(["unshare", "--net", "sleep", "600"], "--netns", net.netns_path(outer.netns), "--cgroup", fake)
    told_with_address(outer), told_with_address(inner)
    wait_state(lab, outer)
    assert same_netns(lab, outer)
    assert known(lab, inner) is None


def test_a_cgroup_of_a_former_class(lab, agent):
    """Two cgroups of one uid: that which has processes counts."""
    pod = lab.pod("web", mesh="istio")
    for qos in ("besteffort", "guaranteed"):
        name = f"kubepods-pod{pod.uid.replace('-', '_')}.slice" if qos == "guaranteed" else cgroup.pod_path("systemd", pod.uid, qos)
        (pod.kubepods / name).mkdir(parents=True)
    pause(pod)
    told_with_address(pod)
    wait_state(lab, pod)
    assert same_netns(lab, pod) and known(lab, pod)["cgroup"] == str(pod.cgroup)


def test_two_pods_of_one_network(lab, agent):
    """By mistake, or by a process that joined it: it stays that of the pod that has its address."""
    pod, other = lab.pod("web", mesh="istio"), lab.pod("other", mesh="istio")
    pause(pod)
    start(["sleep", "600"], "--netns", net.netns_path(pod.netns), "--cgroup", other.container_cgroup())
    told_with_address(pod), told_with_address(other)
    wait_state(lab, pod)
    assert same_netns(lab, pod)
    wait_state(lab, other, "pending")
    pause(other)
    wait_state(lab, other)
    assert same_netns(lab, other)


def test_a_pod_in_the_hosts_network_by_mistake(lab, agent):
    pod = lab.pod("web", mesh="istio")
    process = start(["sleep", "600"], "--cgroup", pod.container_cgroup())
    told_with_address(pod)
    wait_until(lambda: "host" in ((known(lab, pod) or {}).get("reason") or ""), "the reason to be told")
    assert known(lab, pod)["state"] == "pending"
    process.kill()
    process.wait()


def test_while_it_ends(lab, agent):
    """deletionTimestamp is set and the processes run: it is captured until it has ended."""
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80)
    start_proxy(pod)
    told_with_address(pod)
    wait_state(lab, pod)
    item = pod.object()
    item["metadata"].update(deletionTimestamp="2026-01-02T03:05:05Z", deletionGracePeriodSeconds=30)
    told_with_address(pod, item)
    later = plain_pod(lab)
    wait_state(lab, told_with_address(later), "not_captured")  # what was written before it has been read
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
    assert known(lab, pod)["state"] == "captured"


def test_the_cgroup_comes_after_the_monitor(lab, agent):
    """CRI-O's monitor is in the pod's cgroup before the sandbox is."""
    pod = lab.pod("web", mesh="istio")
    relay(pod, "crio-systemd")
    monitor = pod.kubepods / pod.cgroup / f"crio-conmon-{uuid.uuid4().hex}.scope"
    monitor.mkdir()
    process = start(["sleep", "600"], "--cgroup", monitor)
    told_with_address(pod)
    wait_until(lambda: (known(lab, pod) or {}).get("state") == "pending", "the pod to be seen")
    assert "no process" in known(lab, pod)["reason"]
    pause(pod)
    wait_state(lab, pod)
    process.kill()
    process.wait()


# -- what runs when the agent comes ----------------------------------------------------------------------------------------

# The proxy's uid and ports, and how many families its rules are for: Linkerd's IPv6 is off by default.
MESHES = {"istio": (1337, OUTBOUND, INBOUND, 2), "linkerd": (2102, 4140, 4143, 1)}
LISTENERS = {"all addresses": ("[::]:{0}", "[::]:{1}"), "loopback": ("127.0.0.1:{0}", "[::1]:{0}", "[::]:{1}"), "late": ("[::]:{0}", "[::]:{1}")}


@pytest.mark.parametrize("where", LISTENERS)
@pytest.mark.parametrize("mesh", MESHES)
def test_adopted_with_its_connections(lab, mesh, where):
    """Both families, in and out: what is established goes on byte by byte, what is new is diverted at once, or refused while no proxy listens."""
    pod, peer, (uid, outbound, inbound, families) = lab.pod("web", mesh=mesh), plain_pod(lab, 80), MESHES[mesh]
    listeners = [text.format(outbound, inbound) for text in LISTENERS[where]]
    pod.serve("[::]:8080", uid=APP)
    if where != "late":
        pod.serve(*listeners, uid=uid, container=f"{mesh}-proxy")
    out, into = (f"{peer.ip}:80", f"[{peer.ipv6}]:80"), (f"{pod.ip}:8080", f"[{pod.ipv6}]:8080")
    out, into = out[:families], into[:families]
    with Shell(pod) as near, Shell(peer) as far:
        for shell, end in ((near, (peer, 80)), (far, (pod, 8080))):
            shell("def echoed(s, data):\n s.sendall(data)\n return s.recv(len(data), MSG_WAITALL) == data")
            shell(f"four, six = tcp(), tcp(AF_INET6); four.connect(('{end[0].ip}', {end[1]})); six.connect(('{end[0].ipv6}', {end[1]}))")
            assert shell("[greeting(s)['listener'] for s in (four, six)]") == [f"[::]:{end[1]}"] * 2
        told_with_address(pod, dual_stack(pod))
        lab.agent()
        assert known(lab, pod)["state"] == "captured"
        if where == "late":
            assert [pod.connect(to, uid=APP)["errno"] for to in out] == ["ECONNREFUSED"] * families
            assert [peer.connect(to)["errno"] for to in into] == ["ECONNREFUSED"] * families
        for shell in (near, far):
            assert shell("[echoed(s, os.urandom(20000)) for s in (four, six)]") == [True, True]
    if where == "late":
        pod.serve(*listeners, uid=uid, container=f"{mesh}-proxy")
    for to in out:
        assert_redirected(pod.connect(to, uid=APP), to, outbound)
    for to in into:
        assert_redirected(peer.connect(to), to, inbound)


def test_a_static_pod_whose_mirror_is_deleted(lab):
    """It runs on and stays captured; the kubelet makes another mirror, of another uid, and only its end is its end."""
    pod, peer = lab.pod("proxy", mesh="istio"), plain_pod(lab, 80)
    mirror, pod.uid = pod.uid, hashlib.md5(b"manifest").hexdigest()
    relay(pod, "containerd-cgroupfs")
    pod.annotations.update({f"kubernetes.io/config.{key}": pod.uid for key in ("hash", "mirror")})
    pod.uid = mirror
    with ApiServer(lab.work / "api") as api:
        def put():
            item = pod.object()
            for key in ("weir.io/netns", "weir.io/cgroup"):
                del item["metadata"]["annotations"][key]
            api.put(item)

        lab.agent(f"--kubeconfig={api.kubeconfig()}")
        put()
        start_proxy(pod)
        wait_state(lab, pod)
        cookie = known(lab, pod)["netns_cookie"]
        api.delete(pod.object())
        time.sleep(4)  # twice as long as a pod may be absent
        assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
        former, pod.uid = pod.uid, str(uuid.uuid4())
        put()
        wait_state(lab, pod)
        assert known(lab, pod)["netns_cookie"] == cookie
        uid, pod.uid = pod.uid, former
        wait_until(lambda: known(lab, pod) is None, "the former mirror to go")
        pod.uid = uid
        api.delete(pod.object())
        cgroup.kill(pod.kubepods / pod.cgroup)
        wait_until(lambda: known(lab, pod) is None, "the pod to be let go")

# SPDX-License-Identifier: Apache-2.0
"""An agent that stands still while pods come and go, until the kernel's queues are full and the API has forgotten: what is there counts."""

import contextlib
import pathlib
import signal
import uuid

import pytest

from lab import cgroup, net
from lab.apiserver import ApiServer
from lab.command import BUILD, run, wait_until
from support import APP, INBOUND, OUTBOUND, Shell, assert_redirected, cookies_in, known, plain_pod, start_proxy, wait_state
from test_discover import pause, told_with_address

QUEUED = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
def api(lab):
    with ApiServer(lab.work / "api") as server:
        yield server


@contextlib.contextmanager
def standing_still(agent):
    agent.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.process.send_signal(signal.SIGCONT)


def overflow_inotify(lab):
    """Each pair is two events; what the queue has no room for is lost."""
    folder = lab.cgroup_root / "kubepods-burstable.slice"
    folder.mkdir(exist_ok=True)
    for _ in range(QUEUED // 2 + 100):
        path = folder / cgroup.pod_path("systemd", str(uuid.uuid4())).name
        path.mkdir()
        path.rmdir()


def overflow_netlink(pod):
    """Addresses that come and go in a network namespace that the agent follows."""
    lines = "".join(f"addr {verb} 198.51.100.{n}/32 dev eth0\n" for _ in range(10) for verb in ("add", "del") for n in range(1, 100))
    run("ip", "-n", pod.netns, "-batch", "-", stdin=lines)


def tell(api, pod, told=True):
    item = pod.object()
    for key in ("weir.io/netns", "weir.io/cgroup"):
        del item["metadata"]["annotations"][key]
    api.put(item, tell=told)
    return pod


def is_in_step(lab, living, gone):
    return all((known(lab, pod) or {}).get("state") == "captured" for pod in living) and not any(known(lab, pod) for pod in gone)


def test_all_queues_at_once(lab, api):
    names = [f"{kind}-{number}" for kind in ("stays", "goes", "comes") for number in range(3)]
    pods, peer = {name: lab.pod(name, mesh="istio") for name in names}, plain_pod(lab, 80)
    for name, pod in pods.items():
        if not name.startswith("comes"):
            pause(tell(api, pod))
    agent = lab.agent(f"--kubeconfig={api.kubeconfig()}")
    stays, goes, comes = ([pods[name] for name in names if name.startswith(kind)] for kind in ("stays", "goes", "comes"))
    for pod in stays + goes:
        wait_state(lab, pod)
    before = {known(lab, pod)["netns_cookie"] for pod in goes}
    start_proxy(stays[0])
    with Shell(stays[0]) as shell:
        shell(f"s = tcp(); s.connect(('{peer.ip}', 80)); first = greeting(s)")
        with standing_still(agent):
            overflow_netlink(stays[0])
            overflow_inotify(lab)
            for pod in goes:
                api.delete(pod.object(), tell=False)
                pod.delete()
            for pod in comes:
                tell(api, pod, told=False)
                pause(pod)
            net.ip_batch(stays[1].netns, "addr add 198.51.100.200/32 dev eth0")
            api.compact()  # and nothing of it is in the watch any more
            api.drop_connections()
        wait_until(lambda: is_in_step(lab, stays + comes, goes), "the agent to be in step", 120, 0.5)
        wait_until(lambda: not before & cookies_in(lab, "weir_pods"), "what went to be gone", 30)
        assert shell("s.send(b'x') and s.recv(1).decode()") == "x"
    for pod in comes:
        start_proxy(pod)
        assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
        assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)


def test_no_inotify_instance_is_left(lab):
    """Other programs of the node have taken all that a user may have: what nobody tells of is found, later."""
    agent = lab.agent(under=("env", f"LD_PRELOAD={BUILD / 'tests' / 'deaf.so'}"))
    assert "fs.inotify.max_user_instances" in agent.stderr()
    pod = lab.pod("web", mesh="istio")
    pause(pod)
    wait_state(lab, told_with_address(pod), timeout=25)

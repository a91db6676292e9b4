# SPDX-License-Identifier: Apache-2.0
"""What the agent does when nobody asks it anything: nothing, whatever the pods send; and what wakes it is told, not looked for."""

import pathlib
import time

import pytest

from books import pod_of, settled
from lab import LabError, net
from lab.command import run, wait_until
from support import cookies_in, entries, known

pytestmark = pytest.mark.alone  # agents are told of every network namespace that is made, of other tests' too

REST = 12  # seconds: longer than any interval at which the agent was ever woken without reason

NAMESPACES = pathlib.Path("/run/netns")


def wakeups(pid):
    """How often its threads have been given a processor, and for how long, in ns."""
    threads = [(task / "schedstat").read_text().split() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(fields[2]) for fields in threads), sum(int(fields[0]) for fields in threads)


def at_rest(pid):
    """Returns once it has slept for three seconds: new pods' IPv6 addresses are news until the kernel has tried them."""
    def sleeps():
        before = wakeups(pid)
        time.sleep(3)
        return wakeups(pid) == before

    try:
        wait_until(sleeps, "the agent to come to rest", 60)
    except LabError:
        if busy_neighbours():
            pytest.skip("others make network namespaces on this machine all the time, and agents are told of that")
        raise


def busy_neighbours():
    """Whether network namespaces come and go within a few seconds: the folder with their names is watched for those of pods."""
    before = NAMESPACES.stat().st_mtime_ns
    time.sleep(3)
    return NAMESPACES.stat().st_mtime_ns != before


def test_traffic_never_wakes_the_agent(node):
    """Connections by the thousand and bytes by the gigabyte, in pods with and without a mesh, while nobody scrapes."""
    client, server, captured = pod_of(node, "busy"), pod_of(node, "busy-server"), pod_of(node, "busy-captured", mesh="istio")
    for pod in (client, server, captured):  # a process each: a cgroup that becomes empty is news
        pod.serve("[::]:8080")
    pid, made = node.agents[-1].process.pid, 0
    for _ in range(5):
        at_rest(pid)
        named, before, until = NAMESPACES.stat().st_mtime_ns, wakeups(pid), time.monotonic() + REST
        while time.monotonic() < until:
            client.connect(f"{server.ip}:8080", options=["--count=200", "--send=100000"])
            captured.connect(f"{server.ip}:8080")  # refused: it has no proxy
            made += 200
        after = wakeups(pid)
        if NAMESPACES.stat().st_mtime_ns == named:
            assert after == before
            break
    else:
        pytest.skip("others made network namespaces on this machine all the while, and agents are told of that")
    assert settled(node, client, "outbound", made)["opened"] == made >= 200


def test_an_address_that_comes_later_is_told(node):
    """What goes to it stays in the pod then, as what goes to the first one does, and is not left to a proxy that is not there."""
    pod = pod_of(node, "grows", mesh="istio")
    pod.serve("0.0.0.0:8080")
    assert not pod.connect(f"{pod.ip}:8080").get("errno")

    before = len(entries(node, "weir_local"))
    net.in_netns(pod.netns, "ip", "address", "add", "10.77.0.7/32", "dev", "eth0")
    wait_until(lambda: len(entries(node, "weir_local")) == before + 1, "the new address to be known", 3)
    wait_until(lambda: not pod.connect("10.77.0.7:8080").get("errno"), "the new address to be the pod's own", 3)
    net.in_netns(pod.netns, "ip", "address", "del", "10.77.0.7/32", "dev", "eth0")
    wait_until(lambda: len(entries(node, "weir_local")) == before, "the address to be forgotten", 3)


@pytest.mark.parametrize("mesh", ["istio", None])
def test_a_network_namespace_that_ends_is_told(node, mesh):
    """Its pod's file stays; nothing but the kernel says that the namespace is gone, and what held it is let go."""
    pod = pod_of(node, f"ends-{mesh}", mesh=mesh)
    cookie = known(node, pod)["netns_cookie"]
    run("ip", "netns", "del", pod.netns)
    wait_until(lambda: known(node, pod)["state"] == "failed", "the pod to be seen without its namespace", 5)
    if mesh:
        wait_until(lambda: cookie not in cookies_in(node, "weir_pods"), "it to be let go", 20)

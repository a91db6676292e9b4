# SPDX-License-Identifier: Apache-2.0
"""The agent: pods come, change and go; bad input leaves the last good state; what cannot work is refused in one clear line."""

import itertools
import json
import os
import re
import signal
import time

import pytest

from lab import Lab, cgroup
from lab.command import BUILD, run, wait_until
from support import (APP, BPFTOOL, INBOUND, OUTBOUND, Traffic, assert_redirected, assert_unhurt, cookies_in, dual_stack, known, link_ids, listener_port,
                     mesh_pod, plain_pod, start_proxy, wait_state)

POD_MAPS = ("weir_pods", "weir_pod_names", "weir_ports", "weir_cidrs", "weir_local", "weir_seen")
EXCLUDE = "traffic.sidecar.istio.io/excludeOutboundPorts"


def cookie_of(lab, pod):
    return known(lab, pod)["netns_cookie"]


def is_let_go(lab, cookie):
    """Neither a link nor an entry of that network namespace is left."""
    return not (lab.bpf_dir / "netns" / str(cookie)).exists() and not any(cookie in cookies_in(lab, name) for name in POD_MAPS)


def reconciled(agent):
    """The number of changes of each run, from the agent's log at level debug."""
    return [int(number) for number in re.findall(r"msg=reconciled changes=(\d+)", agent.stderr())]


def touch(lab, pod):
    """Makes the agent look again."""
    os.utime(pod.file)


# -- reconciliation --------------------------------------------------------------------------------------------------------

def test_a_second_run_changes_nothing(lab):
    agent = lab.agent("--log.level=debug")
    pod, peer = mesh_pod(lab), plain_pod(lab)
    peer.write()
    lab.service("web", "10.96.0.10", {80: 8080}, [peer])
    wait_state(lab, peer, "not_captured")
    for again in (lambda: touch(lab, pod), lambda: pod.write(dual_stack(pod))):
        time.sleep(0.2)
        before = len(reconciled(agent))
        again()
        wait_until(lambda: len(reconciled(agent)) > before, "another run")
        assert set(reconciled(agent)[before:]) == {0}


def test_a_restart_changes_nothing(lab):
    agent = lab.agent()
    pod = mesh_pod(lab)
    start_proxy(pod)
    before = link_ids(lab)
    agent.stop()
    lab.agent("--log.level=debug")
    assert known(lab, pod)["state"] == "captured"
    assert link_ids(lab) == before


def test_a_pod_file_comes_changes_and_goes(lab, agent):
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80, 443)
    start_proxy(pod)
    to = f"{peer.ip}:443"
    assert listener_port(pod.connect(to, uid=APP)) == 443
    wait_state(lab, pod.write())
    assert listener_port(pod.connect(to, uid=APP)) == OUTBOUND
    pod.annotations[EXCLUDE] = "443"
    pod.write()
    wait_until(lambda: listener_port(pod.connect(to, uid=APP)) == 443, "the changed annotation to be in force")
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == OUTBOUND
    cookie = cookie_of(lab, pod)
    pod.remove_file()
    time.sleep(0.5)
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == OUTBOUND  # it may be about to be replaced
    wait_until(lambda: is_let_go(lab, cookie), "the pod to be let go", timeout=4)
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == 80
    assert known(lab, pod) is None


def test_a_file_that_is_removed_and_written_again_leaves_no_gap(lab, agent):
    """Editors and `kubectl get > file` do that."""
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    streams = [Traffic(pod, peer.ip, 80, OUTBOUND, uid=APP), Traffic(peer, pod.ip, 8080, INBOUND)]
    for pause in (0, 0, 0.05, 0.1, 0.3, 0.6):
        pod.remove_file()
        time.sleep(pause)
        pod.file.write_text(json.dumps(dual_stack(pod)))
        time.sleep(0.2)  # long enough to be seen
    assert_unhurt(streams)


def test_a_directory_that_never_rests_is_looked_at_nevertheless(lab, agent):
    """Events a few milliseconds apart do not put the work off for ever."""
    pod, busy = lab.pod("web", mesh="istio"), plain_pod(lab).write()
    pod.write()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        os.utime(busy.file)
        if (known(lab, pod) or {}).get("state") == "captured":
            return
        time.sleep(0.005)
    pytest.fail("two seconds of events, and the pod is not captured")


def test_a_changed_policy_is_put_in_force_without_a_gap(lab, agent):
    """Connections that either policy redirects are never let through while one replaces the other."""
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    streams = [Traffic(pod, peer.ip, 80, OUTBOUND, uid=APP), Traffic(peer, pod.ip, 8080, INBOUND)]
    for port in range(1000, 1020):
        pod.annotations[EXCLUDE] = f"{port},{port + 5000}"
        pod.write(dual_stack(pod))
        time.sleep(0.05)
    assert_unhurt(streams)


def test_a_pod_whose_network_namespace_ended_is_let_go(lab, agent):
    pod, other = mesh_pod(lab), mesh_pod(lab)
    cookie = cookie_of(lab, pod)
    cgroup.kill(lab.cgroup_root / pod.cgroup)
    run("ip", "netns", "del", pod.netns)
    touch(lab, pod)
    wait_until(lambda: is_let_go(lab, cookie), "the pod to be let go")
    assert known(lab, pod)["state"] == "failed" and "does not exist" in known(lab, pod)["reason"]
    assert known(lab, other)["state"] == "captured"


def test_a_network_namespace_of_the_same_name_is_another_one(lab, agent):
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    cookie = cookie_of(lab, pod)
    cgroup.kill(lab.cgroup_root / pod.cgroup)
    run("ip", "netns", "del", pod.netns)
    lab.node.connect(pod.netns, pod.ip, pod.ipv6)
    touch(lab, pod)
    wait_until(lambda: known(lab, pod)["state"] == "captured" and cookie_of(lab, pod) != cookie, "the new network namespace")
    assert is_let_go(lab, cookie)
    start_proxy(pod)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert_redirected(peer.connect(f"{pod.ip}:80"), f"{pod.ip}:80", INBOUND)


def test_two_pods_in_one_network_namespace(lab, agent):
    """The first one keeps it; the second one's error names the first."""
    pod, thief, peer = mesh_pod(lab), lab.pod("thief", mesh="istio"), plain_pod(lab, 80)
    start_proxy(pod)
    item = thief.object()
    item["metadata"]["annotations"]["weir.io/netns"] = pod.object()["metadata"]["annotations"]["weir.io/netns"]
    wait_state(lab, thief.write(item), "failed")
    assert f"{pod.namespace}/{pod.name}" in known(lab, thief)["reason"]
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    thief.remove_file()
    wait_until(lambda: known(lab, thief) is None, "the thief to be forgotten")
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")


def test_a_successor_takes_the_network_namespace_over(lab, agent):
    """A pod of the same name with another uid, as a StatefulSet makes it, before the old file is gone."""
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    stream = Traffic(pod, peer.ip, 80, OUTBOUND, uid=APP)
    pod.uid = "5bd0ea4c-0000-4000-8000-000000000000"
    pod.write(dual_stack(pod))
    wait_state(lab, pod)
    time.sleep(1.5)  # past the moment at which the old pod is let go
    assert_unhurt([stream])


def test_the_hosts_own_network_namespace_is_never_captured(lab, agent):
    pod = lab.pod("host", mesh="istio")
    item = pod.object()
    item["metadata"]["annotations"]["weir.io/netns"] = "/proc/self/ns/net"
    wait_state(lab, pod.write(item), "failed")
    assert "host" in known(lab, pod)["reason"]
    assert not list((lab.bpf_dir / "netns").iterdir())


# -- bad input -------------------------------------------------------------------------------------------------------------

def without(*path):
    """The pod's object with a field taken out."""
    def edit(item):
        place = item
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        return json.dumps(item)
    return edit


def with_netns(path):
    def edit(item):
        item["metadata"]["annotations"]["weir.io/netns"] = path
        return json.dumps(item)
    return edit


BAD_FILES = {
    "not JSON": lambda item: "{ this is not JSON",
    "truncated": lambda item: json.dumps(item)[:-30],
    "empty": lambda item: "",
    "a list of numbers": lambda item: "[1, 2, 3]",
    "another kind": lambda item: json.dumps({**item, "kind": "ConfigMap"}),
    "no metadata": without("metadata"),
    "no name": without("metadata", "name"),
    "no namespace": without("metadata", "namespace"),
    "a name that is no name": lambda item: json.dumps({**item, "metadata": {**item["metadata"], "name": "../../etc"}}),
    "containers are a string": lambda item: json.dumps({**item, "spec": {**item["spec"], "containers": "istio-proxy"}}),
    "NUL bytes": lambda item: "\0" * 100,
    "not UTF-8": lambda item: json.dumps(item).replace("istio-proxy", "\udcff"),
    "nested too deep": lambda item: "[" * 100000,
}


def write_raw(pod, text):
    part = pod.file.with_name(f".{pod.file.name}.part")
    part.write_bytes(text.encode(errors="surrogateescape"))
    part.rename(pod.file)


def file_errors(lab):
    return {error["file"]: error["error"] for error in lab.weir("pods", "-o", "json")["errors"]}


@pytest.fixture(scope="module")
def busy():
    """A lab with an agent and a captured pod that must not notice anything."""
    with Lab("badfiles") as lab:
        lab.agent()
        pod, peer = mesh_pod(lab), plain_pod(lab, 80)
        start_proxy(pod)
        yield lab, pod, peer


NUMBER = itertools.count(1)


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_file_is_named_once_and_hurts_nobody(busy, bad):
    """A pod that was never good: an error on standard error and in `weir pods`; the others stay."""
    lab, good, peer = busy
    pod = lab.pod(f"bad-{next(NUMBER)}", mesh="istio")
    write_raw(pod, BAD_FILES[bad](pod.object()))
    wait_until(lambda: pod.file.name in file_errors(lab), "the error to be shown")
    for _ in range(3):
        touch(lab, good)
        time.sleep(0.05)
    said = [line for line in lab.agents[0].stderr().splitlines() if str(pod.file) in line]
    assert len(said) == 1 and "level=error" in said[0]
    assert_redirected(good.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    pod.remove_file()
    wait_until(lambda: pod.file.name not in file_errors(lab), "the error to be forgotten")


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_file_that_becomes_bad_leaves_the_last_good_state(busy, bad):
    lab, _, peer = busy
    pod = lab.pod(f"turned-{next(NUMBER)}", mesh="istio")
    wait_state(lab, pod.write())
    start_proxy(pod)
    write_raw(pod, BAD_FILES[bad](pod.object()))
    wait_until(lambda: pod.file.name in file_errors(lab), "the error to be shown")
    time.sleep(1.2)  # longer than a missing pod is kept
    touch(lab, pod)
    time.sleep(0.1)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert known(lab, pod)["state"] == "captured"
    pod.write()
    wait_until(lambda: pod.file.name not in file_errors(lab), "the error to be forgotten")


@pytest.mark.parametrize("path,says", [("/etc/hostname", "not a network namespace"), ("/run/netns/weir-nowhere", "does not exist"),
                                       ("/proc/self/ns/mnt", "not a network namespace"), ("", "netns")])
def test_a_wrong_network_namespace_is_said(busy, path, says):
    lab, good, peer = busy
    pod = lab.pod(f"nowhere-{next(NUMBER)}", mesh="istio")
    write_raw(pod, with_netns(path)(pod.object()))
    wait_until(lambda: known(lab, pod), "the pod to be known")
    assert known(lab, pod)["state"] == "failed" and says in known(lab, pod)["reason"]
    assert_redirected(good.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")


def test_a_wrong_path_leaves_the_last_good_state(busy):
    lab, _, peer = busy
    pod = lab.pod(f"moved-{next(NUMBER)}", mesh="istio")
    wait_state(lab, pod.write())
    start_proxy(pod)
    write_raw(pod, with_netns("/run/netns/weir-nowhere")(pod.object()))
    wait_state(lab, pod, "failed")
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert_redirected(peer.connect(f"{pod.ip}:80"), f"{pod.ip}:80", INBOUND)


def test_a_wrong_annotation_refuses_a_new_pod_and_spares_a_captured_one(busy):
    """What should be captured and cannot be is not let through; what is in force stays in force."""
    lab, _, peer = busy
    new = lab.pod(f"wrong-{next(NUMBER)}", mesh="istio", annotations={EXCLUDE: "http"})
    wait_state(lab, new.write(), "failed")
    start_proxy(new)
    new.serve("[::]:8080", uid=APP)
    assert EXCLUDE in known(lab, new)["reason"] or "excludeOutboundPorts" in known(lab, new)["reason"]
    assert new.connect(f"{peer.ip}:80", uid=APP)["errno"] == "ECONNREFUSED"
    assert peer.connect(f"{new.ip}:8080")["errno"] == "ECONNREFUSED"
    assert listener_port(new.connect("127.0.0.1:8080", uid=APP)) == 8080
    old = mesh_pod(lab)
    start_proxy(old)
    old.annotations[EXCLUDE] = "http"
    wait_state(lab, old.write(), "failed")
    assert_redirected(old.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    new.annotations = {}
    wait_state(lab, new.write())
    assert_redirected(new.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")


def test_a_bad_file_at_the_start_does_not_let_a_known_pod_go(lab):
    """An agent that cannot read a file does not take its pod for gone."""
    agent = lab.agent()
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    agent.stop()
    write_raw(pod, "{")
    lab.agent()
    time.sleep(1.2)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")


def test_the_directory_may_vanish(lab, agent):
    """The known pods stay."""
    pod, other, peer = mesh_pod(lab), mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    hidden = lab.pods_dir.rename(lab.pods_dir.with_name("hidden"))
    time.sleep(1.5)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    hidden.rename(lab.pods_dir)
    touch(lab, other)
    assert known(lab, pod)["state"] == "captured"


# -- start -----------------------------------------------------------------------------------------------------------------

def refusal(lab, *args):
    """Starts an agent that must not start; its standard error."""
    agent = lab.agent(*args, wait=False)
    assert agent.process.wait(20) not in (0, -signal.SIGSEGV, -signal.SIGABRT)
    return agent.stderr()


def test_a_second_agent_is_refused(lab, agent):
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    links = link_ids(lab)
    assert "another weir agent already uses" in refusal(lab)
    assert link_ids(lab) == links
    assert known(lab, pod)["state"] == "captured"  # the first one still answers
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")


def test_places_that_cannot_be_right_are_refused(lab):
    places = {"--cgroup-root=/sys/fs/cgroup/no/such/cgroup": "No such file", f"--cgroup-root={cgroup.mount_point()}": "--allow-root-cgroup",
              "--cgroup-root=/tmp": "not in a cgroup v2", "--cgroup-root=/proc/self": "not in a cgroup v2", "--bpf-dir=/tmp/weir": "not on a bpffs",
              "--bpf-dir=": "--bpf-dir", f"--pods-dir={lab.work}/nowhere": "--pods-dir", f"--pods-dir={BUILD}/tests/probe": "--pods-dir",
              f"--run-dir={lab.run_dir}/{'x' * 120}": "--run-dir"}
    for option, says in places.items():
        text = refusal(lab, option)
        assert says in text or (says == "--run-dir" and "weir.sock" in text), (option, text)
        assert len(text.strip().splitlines()) == 1, text


@pytest.mark.parametrize("option", ["--pods-dir=/etc/hostname", "--web.listen-address=nonsense", "--run-dir=/etc/hostname"])
def test_a_start_that_fails_leaves_nothing_attached(lab, option):
    """Where no agent ran before."""
    refusal(lab, option)
    assert "weir_" not in run(BPFTOOL, "cgroup", "show", lab.cgroup_root).stdout


def test_a_cgroup_of_version_1_is_refused(lab):
    path = "/sys/fs/cgroup/memory"
    if not os.path.exists(f"{path}/tasks"):
        pytest.skip("no cgroup v1 is mounted here")
    assert "not in a cgroup v2 hierarchy" in refusal(lab, f"--cgroup-root={path}")


@pytest.mark.parametrize("option", ["--no-such-option", "--log.level=loud", "--log.format=xml", "--mesh=spaghetti", "surplus", "--web.listen-address=nonsense",
                                    "--web.listen-address=127.0.0.1:99999", "--kubeconfig", "--web.telemetry-path=metrics"])
def test_a_wrong_option_is_refused(lab, option):
    text = refusal(lab, option)
    assert option.split("=")[-1].lstrip("-") in text
    assert not lab.run_dir.joinpath("weir.sock").exists()


def test_a_port_in_use_is_said(lab, agent):
    with Lab("portinuse") as other:
        assert str(agent.port) in refusal(other, f"--web.listen-address=127.0.0.1:{agent.port}")


# -- life ------------------------------------------------------------------------------------------------------------------

def test_the_log_is_json_when_asked(lab):
    agent = lab.agent("--log.format=json", "--log.level=debug")
    pod = mesh_pod(lab)
    write_raw(lab.pod("bad"), "{\"a\": \"\x01\\u0007 \"")
    wait_until(lambda: "default_bad" in agent.stderr(), "the error")
    agent.stop()
    lines = [json.loads(line) for line in agent.stderr().splitlines()]
    assert {"ready", "pod", "reconciled"} <= {line["msg"] for line in lines}
    assert all({"ts", "level", "msg"} <= set(line) for line in lines)
    assert any(line.get("pod") == f"default/{pod.name}" and line.get("state") == "captured" for line in lines)


def test_killed_at_any_moment_the_next_agent_finishes_the_work(lab):
    """Also while it starts and while it writes."""
    pods = [lab.pod(f"pod{number}", mesh="istio", annotations={EXCLUDE: "1000,2000"}).write() for number in range(8)]
    peer = plain_pod(lab, 80)
    for delay in (0.1, 0.4, 0.8, 1.0, 1.1, 1.2, 1.4):
        agent = lab.agent(wait=False)
        time.sleep(delay)
        agent.process.kill()
        agent.process.wait()
    lab.agent()
    for pod in pods:
        wait_state(lab, pod)
        start_proxy(pod)
        assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
        assert_redirected(peer.connect(f"{pod.ip}:80"), f"{pod.ip}:80", INBOUND)
    assert len(list((lab.bpf_dir / "netns").iterdir())) == len(pods)
    attached = run(BPFTOOL, "cgroup", "show", lab.cgroup_root).stdout
    assert attached.count("weir_") == len(list((lab.bpf_dir / "links").iterdir()))  # each hook once


@pytest.mark.parametrize("layout", ["systemd", "cgroupfs"])
def test_both_layouts_of_cgroups(request, layout):
    with Lab(request.node.name, layout=layout) as lab:
        lab.agent()
        pod, peer = mesh_pod(lab), plain_pod(lab, 80)
        start_proxy(pod)
        assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
        assert known(lab, pod)["cgroup"] == str(pod.cgroup)


def test_it_says_ready_once_and_after_the_known_pods_are_in_force(lab):
    pod, peer = lab.pod("web", mesh="istio").write(), plain_pod(lab, 80)
    start_proxy(pod)
    agent = lab.agent()
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    lines = agent.stderr().splitlines()
    assert sum("msg=ready" in line for line in lines) == 1
    assert "default/web" in lines[0] and "msg=ready" in lines[-1]


# -- full tables -----------------------------------------------------------------------------------------------------------

CIDRS = 60000  # a pod's; weir_cidrs holds 262144 of all pods together


def ranges(number):
    """That many different ranges."""
    return ",".join(f"{20 + number // 65536}.{number // 256 % 256}.{number % 256}.0/24" for number in range(number))


def test_a_policy_that_does_not_fit_refuses_its_pod_and_no_other(lab):
    agent = lab.agent()
    annotation = {"traffic.sidecar.istio.io/includeOutboundIPRanges": ranges(CIDRS)}
    peer = plain_pod(lab, 80)
    small = mesh_pod(lab)
    pods = [lab.pod(f"large{number}", mesh="istio", annotations=annotation) for number in range(5)]
    for pod in (small, *pods):
        start_proxy(pod)
    for pod in pods[:4]:
        wait_state(lab, pod.write(), timeout=30)
    last = wait_state(lab, pods[4].write(), "failed", timeout=30)
    assert "do not fit" in known(lab, last)["reason"]
    assert last.connect("20.1.2.3:80", uid=APP)["errno"] == "ECONNREFUSED"
    assert last.connect(f"{peer.ip}:80", uid=APP)["errno"] == "ECONNREFUSED"
    assert peer.connect(f"{last.ip}:80")["errno"] == "ECONNREFUSED"
    for pod in pods[:4]:
        assert_redirected(pod.connect("20.1.2.3:80", uid=APP), "20.1.2.3:80")
        assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == 80
    assert_redirected(small.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    newcomer = mesh_pod(lab)  # a small policy still fits
    assert known(lab, newcomer)["state"] == "captured"
    pods[0].remove_file()
    wait_state(lab, last, timeout=30)
    assert_redirected(last.connect("20.1.2.3:80", uid=APP), "20.1.2.3:80")
    assert agent.process.poll() is None

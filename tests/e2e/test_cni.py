# SPDX-License-Identifier: Apache-2.0
"""weir-cni, driven as a container runtime drives it, and by hand where a runtime would not go."""

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from lab import cgroup, net
from lab.cni import Cni, CniError, weir_cni
from lab.command import run, wait_until
from support import APP, BPFTOOL, assert_redirected, cookies_in, known, start_proxy, wait_state

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
POD_ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=6f9d9c55-0000-4000-8000-000000000001"


def config(version="1.0.0", **more):
    return {"cniVersion": version, "name": "pods", "type": "weir-cni", "prevResult": {"cniVersion": version, "ips": []}, **more}


def told(pod):
    """The pod's object as the API server has it before the pod has a network; no word of where it runs."""
    item = pod.object()
    for key in ("weir.io/netns", "weir.io/cgroup"):
        del item["metadata"]["annotations"][key]
    item["status"]["phase"] = "Pending"
    return pod.write(item)


def sandboxes(lab):
    folder = lab.run_dir / "sandboxes"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# -- through cnitool, behind bridge and host-local ------------------------------------------------------------------------

@pytest.mark.parametrize("version", VERSIONS)
def test_add_returns_when_the_pod_is_captured(lab, agent, version):
    cni = Cni(lab, version)
    server, pod = lab.pod("server", network=False), lab.pod("web", mesh="istio", network=False)
    told(server), told(pod)
    cni.add(server)
    server.serve("0.0.0.0:80")
    result = cni.add(pod)
    assert known(lab, pod)["state"] == "captured"  # at once: nothing was waited for
    assert known(lab, pod)["found_by"] == "cni"
    assert result["cniVersion"] == version
    assert pod.connect(f"{server.ip}:80", uid=APP)["errno"] == "ECONNREFUSED"  # before the proxy listens
    start_proxy(pod, ("0.0.0.0:15001", "0.0.0.0:15006"))
    assert_redirected(pod.connect(f"{server.ip}:80", uid=APP), f"{server.ip}:80")
    if version != "0.3.1":
        cni.check(pod)
    cookie = known(lab, pod)["netns_cookie"]
    cgroup.remove(pod.kubepods / pod.cgroup)  # as the kubelet does before
    cni.delete(pod)
    cni.delete(pod)
    assert len(sandboxes(lab)) == 1  # the server's
    wait_until(lambda: cookie not in cookies_in(lab, "weir_pods"), "the pod to be let go")


def test_status_and_gc_of_version_1_1(lab, agent):
    """STATUS asks whether the chain can take pods; GC, with no attachment valid, ends what ADD has made."""
    cni, pod = Cni(lab, "1.1.0", agentAway="refuse", timeoutSeconds=1), lab.pod("web", mesh="istio", network=False)
    told(pod)
    cni.call("status", pod)
    cni.add(pod)
    cni.call("gc", pod)
    assert not sandboxes(lab)
    cni.add(pod)  # the address and all else is free again
    assert len(sandboxes(lab)) == 1 and known(lab, pod)["state"] == "captured"
    cni.check(pod)
    agent.stop()
    done = cni.call("status", pod, check=False)
    assert done.returncode and "weir" in done.stdout + done.stderr
    cni.call("gc", pod)  # never fails for want of the agent
    lab.agent()
    cni.call("status", pod)


def test_the_result_is_that_of_the_chain_without_weir(lab, agent):
    """Byte for byte, but for the container's own addresses."""
    pod = lab.pod("web", network=False)
    told(pod)
    plain = Cni(lab, "1.0.0", name="plain", chained=False)
    before = plain.add(pod)
    plain.delete(pod)
    with_weir = Cni(lab, "1.0.0", name="pods").add(pod)
    assert before.keys() == with_weir.keys()
    assert before["routes"] == with_weir["routes"]


def test_a_pod_that_needs_nothing_is_not_held_up(lab, agent):
    cni, pod = Cni(lab), lab.pod("plain", network=False)
    told(pod)
    cni.add(pod)
    assert known(lab, pod)["state"] == "not_captured"
    cni.check(pod)


def test_check_fails_when_the_capture_is_gone(lab, agent):
    cni, pod = Cni(lab), lab.pod("web", mesh="istio", network=False)
    told(pod)
    cni.add(pod)
    cookie = known(lab, pod)["netns_cookie"]
    key = [f"{byte:02x}" for byte in cookie.to_bytes(8, "little")]

    def is_told():
        """Unless the agent has mended it meanwhile."""
        run(BPFTOOL, "map", "delete", "pinned", lab.bpf_dir / "weir_pods", "key", "hex", *key, check=False)
        return "weir does not capture pod default/web" in cni.call("check", pod, check=False).stderr

    wait_until(is_told, "CHECK to tell")


def test_check_of_a_pod_that_no_add_has_told_of(lab, agent):
    """It ran before weir was in the chain and was found by its processes: CRI-O runs CHECK on it all the same."""
    pod, other = lab.pod("web", mesh="istio", network=False), lab.pod("other", network=False)
    told(pod)
    pod.popen(["sleep", "600"])
    wait_state(lab, pod)
    assert known(lab, pod)["found_by"] == "process"

    def check(netns):
        text = config(runDir=str(lab.run_dir))
        return weir_cni("CHECK", text, {"CNI_NETNS": net.netns_path(netns),
                                        "CNI_ARGS": f"K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name};K8S_POD_UID={pod.uid}"})

    assert check(pod.netns) == (0, "")
    status, error = check(other.netns)
    assert status == 1 and error["code"] == 101 and "in another network namespace" in error["msg"]
    pod.annotations["traffic.sidecar.istio.io/excludeOutboundPorts"] = "eighty"  # the last good policy stays in force, and so does the pod
    told(pod)
    wait_state(lab, pod, "failed")
    assert check(pod.netns) == (0, "")


def test_a_pod_that_comes_late_is_waited_for(lab, agent):
    """The runtime may be faster than the watch. An agent that waits says so, and is not taken for one that hangs."""
    cni, pod = Cni(lab), lab.pod("web", mesh="istio", network=False)
    watcher = threading.Timer(2.5, lambda: told(pod))
    watcher.start()
    seconds, _ = took(lambda: cni.add(pod))
    watcher.join()
    assert seconds > 2.3
    assert known(lab, pod)["state"] == "captured"


def test_a_pod_that_nobody_tells_of_starts_and_is_captured_when_it_comes(lab, agent):
    """The watch may be broken: a node that starts no pods any more is worse."""
    cni, pod = Cni(lab, timeoutSeconds=1), lab.pod("web", mesh="istio", network=False)
    cni.add(pod)
    assert known(lab, pod) is None
    wait_state(lab, told(pod))
    assert known(lab, pod)["found_by"] == "cni"


def test_an_annotation_that_is_wrong_is_told_by_add(lab, agent):
    cni = Cni(lab)
    pod = lab.pod("web", mesh="istio", network=False, annotations={"traffic.sidecar.istio.io/excludeOutboundPorts": "eighty"})
    told(pod)
    with pytest.raises(CniError, match="weir cannot capture pod default/web: .*excludeOutboundPorts.*eighty"):
        cni.add(pod)
    del pod.annotations["traffic.sidecar.istio.io/excludeOutboundPorts"]
    told(pod)
    wait_state(lab, pod)
    cni.delete(pod)  # as the kubelet does before it tries again
    cni.add(pod)
    assert known(lab, pod)["state"] == "captured"


def test_the_sandboxes_outlive_the_agent(lab, agent):
    cni, pod, gone = Cni(lab), lab.pod("web", mesh="istio", network=False), lab.pod("gone", mesh="istio", network=False)
    for each in (pod, gone):
        told(each)
        cni.add(each)
    cookie = known(lab, pod)["netns_cookie"]
    agent.stop(signal.SIGKILL)
    cni.delete(gone)  # while nobody listens
    lab.agent()
    assert known(lab, pod)["state"] == "captured"
    assert known(lab, pod)["netns_cookie"] == cookie


def by_hand(lab, command, pod, ifname="eth0", container=None, netns=None, **settings):
    """The plugin as multus runs it: no cnitool, which knows of one attachment a namespace."""
    text = config(runDir=str(lab.run_dir), stateDir=str(lab.state_dir), **settings)
    return weir_cni(command, text, {"CNI_CONTAINERID": container or pod.uid, "CNI_IFNAME": ifname, "CNI_NETNS": net.netns_path(netns or pod.netns),
                                    "CNI_ARGS": f"K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name};K8S_POD_UID={pod.uid}"})[0]


def test_a_second_interface_comes_and_goes(lab, agent):
    """Of another network, in the same pod (multus): what the first one has brought stays."""
    pod = lab.pod("web", mesh="istio", network=False)
    told(pod)
    assert by_hand(lab, "ADD", pod) == 0 == by_hand(lab, "ADD", pod, "net1", name="macvlan")
    assert len(sandboxes(lab)) == 2
    assert by_hand(lab, "GC", pod, version="1.1.0", name="other", **{"cni.dev/valid-attachments": []}) == 0
    assert by_hand(lab, "DEL", pod, "net1", name="macvlan") == 0
    assert sandboxes(lab) == [f"{pod.uid}:eth0.json"]
    assert by_hand(lab, "CHECK", pod) == 0 and (known(lab, pod)["state"], known(lab, pod)["found_by"]) == ("captured", "cni")


def test_a_sandbox_that_is_made_anew(lab, agent):
    """The same pod in another network namespace; the former sandbox's DEL comes afterwards."""
    pod, place = lab.pod("web", mesh="istio", network=False), lab.pod("place", network=False)
    told(pod)
    assert by_hand(lab, "ADD", pod) == 0
    former = known(lab, pod)["netns_cookie"]
    assert by_hand(lab, "ADD", pod, container="anew", netns=place.netns) == 0
    assert by_hand(lab, "DEL", pod) == 0
    wait_until(lambda: former not in cookies_in(lab, "weir_pods"), "the former namespace to be let go")
    assert known(lab, pod)["state"] == "captured" and known(lab, pod)["netns"] == net.netns_path(place.netns)
    assert by_hand(lab, "CHECK", pod, container="anew", netns=place.netns) == 0 != by_hand(lab, "CHECK", pod)


def test_fifty_at_once(lab, agent):
    pods = [lab.pod(f"web-{number}", mesh="istio", network=False) for number in range(50)]
    for pod in pods:
        told(pod)
    with concurrent.futures.ThreadPoolExecutor(len(pods)) as pool:
        assert set(pool.map(lambda pod: by_hand(lab, "ADD", pod), pods)) == {0}
    assert {known(lab, pod)["state"] for pod in pods} == {"captured"}


def test_another_pod_of_the_same_name_is_another_one(lab, agent):
    """A StatefulSet's pod comes again under its name; the cache may still hold the old one."""
    cni, pod = Cni(lab), lab.pod("web-0", mesh="istio", network=False)
    told(pod)
    cni.add(pod)
    cni.delete(pod)
    new = lab.pod("web-0b", mesh="istio", network=False)
    new.name, new.file = pod.name, pod.file
    writer = threading.Timer(0.7, lambda: told(new))
    writer.start()
    cni.add(new)
    writer.join()
    assert known(lab, new)["state"] == "captured"


# -- no agent: the deadlocks that other plugins have known ------------------------------------------------------------------

CAPTURED, PLAIN = "6f9d9c55-0000-4000-8000-000000000001", "6f9d9c55-0000-4000-8000-000000000002"
UNKNOWN, STATIC = "6f9d9c55-0000-4000-8000-000000000003", "0123456789abcdef0123456789abcdef"


class Node:
    """A node's directories, and no agent."""

    def __init__(self, folder, state=json.dumps({"namespaces": ["shop"], "pods": {CAPTURED: True, PLAIN: False}})):
        self.run_dir, self.state_dir = folder / "run" / "weir", folder / "state"
        if state is not None:
            self.state_dir.mkdir()
            (self.state_dir / "captured.json").write_text(state)

    def add(self, namespace="shop", uid=CAPTURED, name="cart", **settings):
        text = config(**{"runDir": str(self.run_dir), "stateDir": str(self.state_dir), "timeoutSeconds": 1, **settings})
        return weir_cni("ADD", text, {"CNI_ARGS": f"K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}"})


def starts(answer):
    return answer == (0, {"cniVersion": "1.0.0", "ips": []})


def test_only_what_would_be_captured_is_held_up(tmp_path):
    node = Node(tmp_path)
    status, error = node.add()
    assert status == 1 and error["code"] == 11
    assert "weir's agent on this node does not answer" in error["msg"] and "shop/cart" in error["msg"]
    assert node.add(uid=UNKNOWN)[0] == 1  # a new one in a namespace with injection
    assert starts(node.add(uid=PLAIN))  # known not to be
    assert starts(node.add("default", UNKNOWN))
    assert starts(node.add("kube-system", CAPTURED))
    assert starts(node.add("shop", STATIC))


def test_what_the_node_needs_is_never_held_up(tmp_path):
    """weir's own pod, kube-system, static pods: even where every pod is to wait for the agent."""
    node, settings = Node(tmp_path), {"agentAway": "refuse", "exemptNamespaces": ["kube-system", "weir-system"]}
    assert node.add("default", UNKNOWN, **settings)[0] == 1
    assert starts(node.add("weir-system", UNKNOWN, name="weir-x7k2p", **settings))
    assert starts(node.add("kube-system", UNKNOWN, **settings))
    assert starts(node.add("shop", STATIC, **settings))


def test_a_reboot_that_wiped_run_stops_no_node(tmp_path):
    """/run is empty, the socket's directory is missing: pods of the mesh wait for the agent, all others start."""
    node = Node(tmp_path)
    assert not node.run_dir.exists()
    assert starts(node.add("default", UNKNOWN))
    assert node.add()[1]["code"] == 11


@pytest.mark.parametrize("state", [None, "", "{", '{"namespaces": "shop", "pods": []}', "[]"])
def test_without_a_memory_every_pod_starts(tmp_path, state):
    """A node where the agent has never run, or whose disk is broken."""
    assert starts(Node(tmp_path, state).add())


def test_a_plugin_that_was_left_behind_gives_up(tmp_path):
    """Uninstalled by force: the binary, its entry and its memory are there, the agent is gone for good."""
    node = Node(tmp_path)
    assert node.add(agentAwaySeconds=5)[0] == 1
    deadline = time.monotonic() + 30
    while not starts(node.add(agentAwaySeconds=5)):
        assert time.monotonic() < deadline
    assert node.add(agentAwaySeconds=0)[0] == 1  # who wants it holds them up for ever
    assert starts(node.add(agentAway="allow"))


def took(call):
    """Seconds, and what it returned."""
    began = time.monotonic()
    answer = call()
    return time.monotonic() - began, answer


def test_an_agent_that_hangs_holds_up_only_what_it_would_capture(tmp_path):
    """It accepts and says nothing. The first one that need not wait finds out, the others know."""
    node = Node(tmp_path)
    node.run_dir.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.run_dir / "cni.sock"))
        listener.listen(64)
        settings = {"timeoutSeconds": 60}
        seconds, answer = took(lambda: node.add("default", UNKNOWN, **settings))
        assert starts(answer) and seconds < 20
        free = (("default", UNKNOWN), ("kube-system", CAPTURED), ("shop", STATIC), ("shop", PLAIN)) * 3
        seconds, answers = took(lambda: [node.add(*pod, **settings) for pod in free])
        assert all(map(starts, answers)) and seconds < 20
        text = config(runDir=str(node.run_dir), **settings)
        for command in ("DEL", "CHECK"):
            seconds, answer = took(lambda: weir_cni(command, text, {"CNI_ARGS": POD_ARGS}))
            assert answer == (0, "") and seconds < 20
        assert node.add()[1]["code"] == 11


def serve(listener, answer):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(answer)


@contextlib.contextmanager
def answering(node, answer):
    """What takes the agent's place, and its time."""
    node.run_dir.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.run_dir / "cni.sock"))
        listener.listen(64)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def test_an_agent_that_answers_again_ends_the_count(tmp_path):
    """It hung once, for longer than agentAwaySeconds; when it is away the next time pods are held up again."""
    node = Node(tmp_path)
    with answering(node, b' {"state": "captured", "mesh": "istio", "reason": ""}\n'):
        for marker in ("cni-away", "cni-silent"):
            (node.run_dir / marker).write_text("1\n")  # a second after boot
        assert starts(node.add())
    assert not {"cni-away", "cni-silent"} & {path.name for path in node.run_dir.iterdir()}
    assert node.add()[1]["code"] == 11


@pytest.mark.parametrize("answer", [b"", b"{", b"nonsense\n", b"[]\n", b"\x00" * 100])
def test_an_agent_that_answers_nonsense(tmp_path, answer):
    node = Node(tmp_path)
    with answering(node, answer):
        assert starts(node.add("default", UNKNOWN))
        assert node.add()[1]["code"] == 11


def test_status_without_an_agent(tmp_path):
    """Not ready would stop the whole node; where every pod is to wait it is the truth."""
    node = Node(tmp_path)
    text = config("1.1.0", runDir=str(node.run_dir))
    assert weir_cni("STATUS", text) == (0, "")
    status, error = weir_cni("STATUS", {**text, "agentAway": "refuse"})
    assert status == 1 and error["code"] == 50


def test_an_upgrade_holds_pods_up_for_a_moment(lab, agent):
    """Between two agents the plugin waits, and so does nobody else."""
    cni, pod = Cni(lab), lab.pod("web", mesh="istio", network=False)
    lab.write_object({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"istio-injection": "enabled"}}})
    wait_until(lambda: "default" in json.loads((lab.state_dir / "captured.json").read_text())["namespaces"], "the namespace to be known")
    agent.stop()
    told(pod)
    adder = threading.Thread(target=cni.add, args=(pod,))
    adder.start()
    time.sleep(1)
    assert adder.is_alive()
    lab.agent()
    adder.join()
    assert known(lab, pod)["state"] == "captured"


def test_the_agent_remembers_what_it_captures(lab, agent):
    pods = {"web": lab.pod("web", mesh="istio", network=False), "plain": lab.pod("plain", network=False)}
    cni = Cni(lab)
    for pod in pods.values():
        told(pod)
        cni.add(pod)
    lab.write_object({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mesh", "annotations": {"linkerd.io/inject": "enabled"}}})
    expected = {"namespaces": ["mesh"], "pods": {pods["web"].uid: True, pods["plain"].uid: False}}
    wait_until(lambda: json.loads((lab.state_dir / "captured.json").read_text()) == expected, "captured.json")
    agent.stop()
    assert json.loads((lab.state_dir / "captured.json").read_text()) == expected


# -- by hand ---------------------------------------------------------------------------------------------------------------

def test_a_slow_disk_holds_nobody_up(lab, agent):
    """What the agent remembers for the plugin is flushed beside its other work: a pod waits for no other pod's record."""
    cni, file, part = Cni(lab), lab.state_dir / "captured.json", lab.state_dir / ".captured.json.tmp"
    wait_until(lambda: file.exists() and not part.exists(), "the first record")
    os.mkfifo(part)  # whoever opens it to write waits for a reader, as for a disk that does not answer
    pods = [lab.pod(f"web-{number}", mesh="istio", network=False) for number in range(3)]
    for pod in pods:
        told(pod)
        began = time.monotonic()
        cni.add(pod)
        assert known(lab, pod)["state"] == "captured" and time.monotonic() - began < 5
        time.sleep(1.2)  # the run over all pods that an ADD brings
    agent.metrics()
    assert pods[0].uid not in file.read_text()
    with open(part, "rb") as reader:  # this write fails, the next does not
        assert pods[0].uid in reader.read().decode()
    wait_until(lambda: all(pod.uid in file.read_text() for pod in pods), "captured.json", 20)


ODD = '{"cniVersion" : "1.0.0",\t"ips":[], "routes": null, "x": {"n": 12345678901234567890123, "f": 1.50, "s": "\\"}\\u00e9"}, "x": 1}'


@pytest.mark.parametrize("place", ['{"cniVersion":"1.0.0","name":"n","prevResult":%s}', '{"prevResult" : %s , "name":"n","cniVersion":"1.0.0"}',
                                   ' {"cniVersion":"1.0.0","a":{"prevResult":{}},"b":["prevResult",{}], "prevResult":%s,"z":[1,{"y":"}"}]}\n'])
def test_the_previous_result_is_handed_on_byte_by_byte(place):
    status, text = weir_cni("ADD", place % ODD, raw=True)
    assert (status, text) == (0, f"{ODD}\n")


@pytest.mark.parametrize("command, text, env, code, said", [
    ("ADD", config(prevResult=None), {}, 7, "prevResult"),
    ("CHECK", config(prevResult=None), {}, 7, "prevResult"),
    ("ADD", config("2.0.0"), {}, 1, "2.0.0"),
    ("ADD", {"name": "n", "prevResult": {}}, {}, 1, "cniVersion"),
    ("CHECK", config("0.3.1"), {}, 1, "CHECK"),
    ("GC", config("1.0.0"), {}, 1, "GC"),
    ("STATUS", config("0.4.0"), {}, 1, "STATUS"),
    ("ADD", config(), {"CNI_CONTAINERID": None}, 4, "CNI_CONTAINERID"),
    ("ADD", config(), {"CNI_CONTAINERID": "../x"}, 4, "CNI_CONTAINERID"),
    ("ADD", config(), {"CNI_IFNAME": "a/b"}, 4, "CNI_IFNAME"),
    ("ADD", config(), {"CNI_IFNAME": "sixteen-letters-"}, 4, "CNI_IFNAME"),
    ("ADD", config(), {"CNI_NETNS": None}, 4, "CNI_NETNS"),
    ("ADD", config(), {"CNI_NETNS": "run/netns/x"}, 4, "CNI_NETNS"),
    ("DEL", config(), {"CNI_CONTAINERID": None}, 4, "CNI_CONTAINERID"),
    ("FROB", config(), {}, 4, "FROB"),
    ("ADD", "", {}, 6, "JSON"),
    ("ADD", "[]", {}, 6, "JSON"),
    ("ADD", '{"cniVersion": "1.0.0", ', {}, 6, "line 1"),
    ("ADD", config(agentAway="perhaps"), {}, 7, "perhaps"),
    ("ADD", config(timeoutSeconds=0), {}, 7, "timeoutSeconds"),
    ("ADD", config(timeoutSeconds=1.5), {}, 7, "timeoutSeconds"),
    ("ADD", config(runDir=5), {}, 7, "runDir"),
])
def test_errors_are_those_of_the_specification(command, text, env, code, said):
    status, error = weir_cni(command, text, env)
    assert status != 0
    assert error.keys() == {"cniVersion", "code", "msg", "details"}
    assert error["code"] == code
    assert said in error["msg"] and "\n" not in error["msg"]
    if isinstance(text, dict):
        assert error["cniVersion"] == text.get("cniVersion", "1.1.0")


def test_version():
    for version in VERSIONS:
        assert weir_cni("VERSION", {"cniVersion": version}) == (0, {"cniVersion": version, "supportedVersions": list(VERSIONS)})
    assert weir_cni("VERSION", "") == (0, {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)})


def test_what_is_no_pod_passes():
    """Podman and cnitool without CNI_ARGS, with no agent in sight."""
    for args in (None, "", "IgnoreUnknown=1;FOO=BAR", "K8S_POD_NAME=x", "K8S_POD_NAMESPACE=;K8S_POD_NAME="):
        status, result = weir_cni("ADD", config(runDir="/nonexistent", agentAway="refuse"), {"CNI_ARGS": args})
        assert (status, result) == (0, {"cniVersion": "1.0.0", "ips": []})


def test_del_of_what_is_gone():
    """No agent, no network namespace, no previous result, a setting that is wrong now: all of it is gone as it should be."""
    for text in (config(runDir="/nonexistent"), config(prevResult=None), config("0.3.1"), {"cniVersion": "9.9.9", "name": "n"},
                 config(runDir="/nonexistent", agentAway="perhaps", timeoutSeconds=0), config(runDir=5, stateDir=[], name=7)):
        for netns in (None, "", "/run/netns/none"):
            assert weir_cni("DEL", text, {"CNI_NETNS": netns, "CNI_ARGS": POD_ARGS}) == (0, "")

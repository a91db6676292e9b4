# SPDX-License-Identifier: Apache-2.0
"""A pod that CNI ADD tells of, and whose object does not come: no connection of one that is to be captured passes unseen."""

import json
import signal

import pytest

from lab import net
from lab.apiserver import ApiServer
from lab.cni import weir_cni
from lab.command import wait_until
from support import APP, assert_redirected, known, start_proxy, wait_state

STATIC = "0123456789abcdef0123456789abcdef"


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture
def api(lab):
    with ApiServer(lab.work / "api") as server:
        for name in ("default", "kube-system"):
            server.put(namespace(name, **{"istio-injection": "enabled"}))
        server.put(namespace("plain"))
        yield server


def add(lab, pod, **settings):
    """As the runtime calls it; the exit status."""
    text = {"cniVersion": "1.0.0", "name": "pods", "type": "weir-cni", "prevResult": {"cniVersion": "1.0.0", "ips": []},
            "runDir": str(lab.run_dir), "stateDir": str(lab.state_dir), "timeoutSeconds": 2, **settings}
    args = f"K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name};K8S_POD_UID={pod.uid}"
    return weir_cni("ADD", text, {"CNI_CONTAINERID": f"box-{pod.uid}", "CNI_NETNS": net.netns_path(pod.netns), "CNI_ARGS": args})[0]


@pytest.fixture
def server(lab):
    pod = lab.pod("server", namespace="plain")
    pod.serve("0.0.0.0:80")
    return pod


def is_refused(pod, server):
    return (pod.connect(f"{server.ip}:80", uid=APP)["errno"] == "ECONNREFUSED"
            and server.connect(f"{pod.ip}:8080", uid=APP)["errno"] == "ECONNREFUSED")


def test_a_pod_of_the_mesh_is_refused_until_it_is_known(lab, api, server):
    agent = lab.agent(f"--kubeconfig={api.kubeconfig()}")
    pod = lab.pod("web", mesh="istio")
    pod.serve("0.0.0.0:8080")
    assert add(lab, pod) == 0
    assert known(lab, pod)["state"] == "pending" and "its object is not known yet" in known(lab, pod)["reason"]
    assert is_refused(pod, server)
    agent.stop(signal.SIGKILL)
    lab.agent(f"--kubeconfig={api.kubeconfig()}")
    assert known(lab, pod)["state"] == "pending" and is_refused(pod, server)
    start_proxy(pod, ("0.0.0.0:15001", "0.0.0.0:15006"))
    api.put(pod.object())
    wait_state(lab, pod)
    assert_redirected(pod.connect(f"{server.ip}:80", uid=APP), f"{server.ip}:80")
    assert [item["name"] for item in agent.weir("pods", "-o", "json")["pods"]] == ["web"]


def test_a_static_pods_mirror_takes_over_from_its_guard(lab, api, server):
    """Its object has another uid than the kubelet said."""
    lab.agent(f"--kubeconfig={api.kubeconfig()}")
    pod = lab.pod("web", mesh="istio")
    uid, pod.uid = pod.uid, ""
    assert add(lab, pod) == 0
    assert known(lab, pod)["state"] == "pending"
    pod.uid = uid
    api.put(pod.object())
    wait_state(lab, pod)


def test_nobody_else_is_refused(lab, api, server):
    lab.agent(f"--kubeconfig={api.kubeconfig()}")
    pods = [(lab.pod("a", namespace="plain"), {}), (lab.pod("b", namespace="kube-system"), {}), (lab.pod("c", namespace="unheard-of"), {}),
            (lab.pod("d", namespace="weir-system"), {"exemptNamespaces": ["weir-system"]}), (lab.pod("e"), {"agentAway": "allow"}),
            (lab.pod("f"), {})]
    pods[-1][0].uid = STATIC
    for pod, settings in pods:
        assert add(lab, pod, **settings) == 0
        assert known(lab, pod) is None
        assert pod.connect(f"{server.ip}:80", uid=APP)["ok"]


def test_what_an_earlier_agent_knew_decides_while_namespaces_are_unknown(lab, api, server):
    """After a reboot, with an API that is away: sandboxes are made anew."""
    captured, plain, new, other = lab.pod("captured"), lab.pod("plain"), lab.pod("new"), lab.pod("other", namespace="plain")
    lab.state_dir.mkdir()
    memory = {"namespaces": ["default"], "pods": {captured.uid: True, plain.uid: False}}
    (lab.state_dir / "captured.json").write_text(json.dumps(memory))
    api.stop()
    lab.agent(f"--kubeconfig={api.kubeconfig()}", wait=False)
    wait_until((lab.run_dir / "cni.sock").exists, "the agent to listen", 30)
    for pod, refused in ((captured, True), (plain, False), (new, True), (other, False)):
        assert add(lab, pod) == 0
        assert pod.connect(f"{server.ip}:80", uid=APP)["ok"] is not refused, pod.name
    assert json.loads((lab.state_dir / "captured.json").read_text()) == memory


def test_a_guard_whose_del_is_lost(lab, api, server):
    """The runtime was killed with all that it knew, or the agent's queue was full: what has ended is gone without it."""
    lab.agent(f"--kubeconfig={api.kubeconfig()}")
    pod, other = lab.pod("web", mesh="istio"), lab.pod("other", namespace="plain")
    assert add(lab, pod) == 0 == add(lab, other)
    assert known(lab, pod)["state"] == "pending" and len(list((lab.run_dir / "sandboxes").iterdir())) == 2
    for each in (pod, other):
        each.delete()
    wait_until(lambda: known(lab, pod) is None, "the guard to end")
    wait_until(lambda: not list((lab.run_dir / "sandboxes").iterdir()), "the records to go")

# SPDX-License-Identifier: Apache-2.0
"""From the API to a captured pod and back: CNI ADD names the sandbox, Events tell what `weir pods` tells."""

import json
import signal
import socket
import time

from lab import iptables, net
from lab.agent import total
from lab.command import wait_until
from support import ask, cookies_in
from test_kube import NAMESPACE, api, once, pod_of, refuse, start, wait_metric  # noqa: F401  (api is a fixture)
from test_outcomes import BASIC


def add(lab, pod, timeout_ms=5000):
    """CNI ADD, as weir-cni asks the agent."""
    request = {"command": "ADD", "containerID": pod.uid, "netns": net.netns_path(pod.netns), "ifName": "eth0", "network": "pods",
               "pod": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid}, "timeoutMs": timeout_ms}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(lab.run_dir / "cni.sock"))
        sock.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(b"".join(iter(lambda: sock.recv(65536), b"")))


def said(lab, pod):
    """What `weir pods` says of a pod."""
    return next((item for item in ask(lab, "pods")["pods"] if item["name"] == pod.name), None)


def events_of(api, name):
    return [event for event in api.created if event["regarding"]["name"] == name]


def wrong_pod(lab, name="web"):
    return lab.pod(name, mesh="istio", annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "eighty"})


def test_pod_of_the_api_is_captured(lab, api):
    pod = lab.pod("web", mesh="istio")
    api.put(pod.object())
    agent = start(lab, api)
    assert add(lab, pod)["state"] == "captured"
    assert said(lab, pod)["netns"] == net.netns_path(pod.netns)
    assert total(agent.metrics(), "weir_pods_found", found_by="cni") == 1


def test_add_asks_for_a_pod_that_the_watch_has_not_told_of(lab, api):
    pod = lab.pod("web", mesh="istio")
    agent = start(lab, api)
    wait_metric(agent, "up", "pods", 1)
    api.put(pod.object(), tell=False)
    assert add(lab, pod)["state"] == "captured"
    assert [request.path for request in api.requests("get")] == ["/api/v1/namespaces/default/pods/web"]


def test_a_pod_that_comes_again_under_its_name(lab, api):
    """A StatefulSet's, faster than the watch: ADD has the new one asked for; the end of the former one does not end it."""
    former, new = lab.pod("web-0", mesh="istio"), lab.pod("web-0b", mesh="istio")
    new.name = former.name
    item = api.put(former.object())
    agent = start(lab, api)
    assert add(lab, former)["state"] == "captured"
    wait_metric(agent, "up", "pods", 1)
    api.put(new.object(), tell=False)
    began = time.monotonic()
    assert add(lab, new)["state"] == "captured" and time.monotonic() - began < 3
    for type_ in ("MODIFIED", "DELETED"):  # the watch is behind
        with api.lock:
            api.version += 1
            api.history.append((api.version, "pods", type_, item, item))
            api.lock.notify_all()
    former.delete()

    def states():
        return [(pod["uid"], pod["state"]) for pod in ask(lab, "pods")["pods"]]

    wait_until(lambda: states() == [(new.uid, "captured")], "the former one to go", 20)
    time.sleep(3)
    assert states() == [(new.uid, "captured")]


def test_takeover(lab, api):
    """One Event for a pod that weir takes over; none for one with rules of its own that is left alone, and none after a restart."""
    pods = {name: lab.pod(name, mesh="istio", annotations={"weir.io/takeover": "on"} if name == "web" else {}) for name in ("web", "left")}
    for pod in pods.values():
        iptables.load(pod, BASIC)
        api.put(pod.object())
    agent = start(lab, api)
    assert add(lab, pods["web"])["state"] == "captured" and add(lab, pods["left"])["state"] == "not_captured"
    wait_until(lambda: events_of(api, "web"), "the Event")
    event = events_of(api, "web")[0]
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "TakenOver", "TakeOver")
    assert event["note"] in said(lab, pods["web"])["warnings"] and "taken over" in event["note"]
    agent.stop()
    start(lab, api)
    wait_until(lambda: len(api.requests("create")) == 2, "the Event to be told again")
    time.sleep(1)
    assert len(api.created) == 1 and len(api.requests("create")) == 2


def test_what_is_captured_is_shown_while_the_api_is_away(lab, api):
    """Of a pod that an earlier agent captured the kernel's tables tell, until the API does; a pod that ends meanwhile goes."""
    names = ("web", "gone", "plain")
    pods = {name: lab.pod(name, mesh=None if name == "plain" else "istio", owner=f"Deployment/{name}") for name in names}
    for pod in pods.values():
        api.put(pod.object())
    agent = start(lab, api)
    for pod in pods.values():
        add(lab, pod)
    before = {name: said(lab, pod) for name, pod in pods.items()}
    agent.stop(signal.SIGKILL)
    api.stop()
    agent = start(lab, api, wait=False)
    wait_until(lambda: agent.log.exists() and "kubernetes resource=pods error" in agent.stderr(), "the API to be found away")
    for name, pod in pods.items():
        now = said(lab, pod)
        assert now.pop("reason") != before[name].pop("reason")
        assert before[name].pop("file") != now.pop("file")
        assert now == before[name]
    text = agent.weir("pods").stdout
    assert "an earlier agent captured it, and it stays so; its object is not known yet" in text
    assert total(agent.metrics(), "weir_pods", mesh="istio", state="captured") == 2
    pods["gone"].delete()
    wait_until(lambda: said(lab, pods["gone"]) is None, "the pod that ended to go", 20)
    assert said(lab, pods["web"])["netns_cookie"] in cookies_in(lab, "weir_pods")
    api.delete(pods["plain"].object())
    api.start()
    agent.wait_ready(60)
    wait_until(lambda: said(lab, pods["plain"]) is None, "the pod that the API does not know to go")
    assert said(lab, pods["web"])["state"] == "captured" and "earlier" not in said(lab, pods["web"])["reason"]


def test_annotation_error(lab, api):
    """One Event, with the words of `weir pods`; no other after a restart of the agent."""
    pod = wrong_pod(lab)
    api.put(pod.object())
    agent = start(lab, api)
    add(lab, pod)
    wait_until(lambda: events_of(api, "web"), "the Event")
    event = events_of(api, "web")[0]
    assert event["note"] == said(lab, pod)["reason"] and "excludeInboundPorts" in event["note"]
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web", "uid": pod.uid}
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "CaptureFailed", "Capture")
    assert event["reportingController"] == "weir.io/agent" and event["reportingInstance"] == "node-a"
    agent.stop()
    start(lab, api)
    wait_until(lambda: len(api.requests("create")) == 2, "the Event to be told again")
    time.sleep(1)
    assert len(events_of(api, "web")) == 1 and len(api.requests("create")) == 2


def test_event_of_a_static_pod(lab, api):
    """Under its manifest's hash, as the kubelet's own: kubectl describe looks for those."""
    pod, hash_ = wrong_pod(lab, "static"), "0123456789abcdef0123456789abcdef"
    pod.annotations.update({"kubernetes.io/config.hash": hash_, "kubernetes.io/config.mirror": hash_})
    api.put(pod.object())
    start(lab, api)
    add(lab, pod)
    wait_until(lambda: events_of(api, "static"), "the Event")
    assert events_of(api, "static")[0]["regarding"]["uid"] == hash_


def test_missing_sidecar(lab, api):
    """CNI's answer, the log, the Event, `weir pods` and the metrics tell the same, and of no other pod."""
    api.put({**NAMESPACE, "metadata": {"name": "default", "labels": {"istio-injection": "enabled"}}})
    bare, refused = lab.pod("bare"), lab.pod("refused", annotations={"sidecar.istio.io/inject": "false"})
    for pod in (bare, refused):
        api.put(pod.object())
    agent = start(lab, api)
    assert add(lab, refused)["state"] == "not_captured"
    answer = add(lab, bare)
    wait_until(lambda: events_of(api, "bare"), "the Event")
    pod = said(lab, bare)
    assert (pod["state"], answer["state"]) == ("missing_sidecar", "missing_sidecar")
    assert answer["reason"] == pod["reason"] == events_of(api, "bare")[0]["note"]
    assert [event["reason"] for event in api.created] == ["MissingSidecar"]
    assert pod["reason"] in agent.weir("pods").stdout
    logged = [line for line in agent.stderr().splitlines() if "state=missing_sidecar" in line]
    assert len(logged) == 1 and "pod=default/bare" in logged[0] and f'reason="{pod["reason"]}"' in logged[0]
    metrics = agent.metrics()
    assert total(metrics, "weir_pods", state="missing_sidecar") == 1 == agent.weir("status", "-o", "json")["pods"]["missing_sidecar"]
    assert [dict(labels)["pod"] for name, labels in metrics if name == "weir_pod_info" and ("state", "missing_sidecar") in labels] == ["bare"]


def test_pod_that_is_not_understood(lab, api):
    broken = pod_of("odd", "node-a")
    broken["spec"]["containers"] = {}
    api.put(broken)
    start(lab, api)
    wait_until(lambda: events_of(api, "odd"), "the Event")
    assert "spec.containers is an object, not a list" in events_of(api, "odd")[0]["note"]


def test_events_are_limited(lab, api):
    for number in range(60):
        broken = pod_of(f"odd-{number}", "node-a")
        broken["spec"]["containers"] = {}
        api.put(broken)
    start(lab, api)
    wait_until(lambda: len(api.created) >= 25, "a burst")
    time.sleep(2)
    assert 25 <= len(api.created) <= 35


def test_events_forbidden(lab, api):
    """Said once, with what the ClusterRole lacks; not tried again and again."""
    api.fault = once("create", "events", refuse(403, "Forbidden", "no"), 1000)
    for number in range(5):
        broken = pod_of(f"odd-{number}", "node-a")
        broken["spec"]["containers"] = {}
        api.put(broken)
    agent = start(lab, api)
    wait_until(lambda: 'verbs: [\\"create\\"]' in agent.stderr(), "the missing rule in the log")
    time.sleep(2)
    assert len(api.requests("create")) == 1 and agent.stderr().count("no Events") == 1


def test_every_event_is_a_valid_one(lab, api):
    """A name and a note as long as may be, of letters that need more than a byte: an API server takes the Event."""
    name = f"{'a' * 60}.{'b' * 63}.{'c' * 63}.{'d' * 60}"
    assert len(name) == 249
    long = pod_of(name, "node-a", annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "\u00e9\U0001f600" * 600,
                                               "sidecar.istio.io/status": "{}"})
    long["spec"]["containers"].append({"name": "istio-proxy"})
    odd = pod_of("odd", "node-a", labels={"\u00e9" * 700: 7})
    api.put(long), api.put(odd)
    agent = start(lab, api)
    wait_until(lambda: api.invalid or {event["regarding"]["name"] for event in api.created} >= {name, "odd"}, "the Events")
    assert not api.invalid
    assert all("\ufffd" not in event["note"] for event in api.created)

# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API, asked of a stand-in over real TLS that fails in every way a real one does. What is known stays in force."""

import calendar
import json
import time

import pytest

from lab import kube
from lab.agent import total
from lab.apiserver import ApiServer, status
from lab.command import wait_until
from support import ask, wait_state

RESOURCES = ("pods", "peer_pods", "namespaces", "services", "endpointslices", "nodes")
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}


@pytest.fixture
def api(lab):
    with ApiServer(lab.work / "api") as server:
        server.put(NAMESPACE)
        yield server
        assert not server.invalid


def pod_of(name, node="node-b", ip="10.244.9.9", **metadata):
    """A pod as the API has it."""
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"app": name}, **metadata},
        "spec": {"nodeName": node, "containers": [kube.container("app", "example/app", (8080,))]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}}


def metric(agent, name, resource):
    return total(agent.metrics(), f"weir_kubernetes_{name}", resource=resource)


def wait_metric(agent, name, resource, number, timeout=20):
    wait_until(lambda: metric(agent, name, resource) == number, f"{name} of {resource} to be {number}", timeout, 0.05)


def wait_objects(agent, resource, number, timeout=20):
    wait_metric(agent, "objects", resource, number, timeout)


def start(lab, api, *options, wait=True):
    return lab.agent(f"--kubeconfig={api.kubeconfig()}", *options, wait=wait)


def once(verb, resource, action, times=1, only=None):
    """A fault: the first requests of that kind get `action(request)` for an answer."""
    left = [times]

    def fault(request):
        if not left[0] or request.verb != verb or request.resource != resource or (only and not only(request)):
            return False
        left[0] -= 1
        action(request)
        return True
    return fault


def why(agent):
    """What /readyz says; nothing before it listens."""
    try:
        return agent.get("/readyz")[1]
    except OSError:
        return ""


def elsewhere(request):
    return request.elsewhere()


def refuse(code, reason, message="no", headers=()):
    return lambda request: request.handler.send(code, status(code, reason, message), headers)


# -- what happens all day --------------------------------------------------------------------------------------------------

def test_list_and_watch(lab, api):
    """Ready when all is listed; then events, each resource over one watch."""
    api.put(pod_of("here", "node-a", "10.244.0.9"))
    api.put(pod_of("there"))
    agent = start(lab, api)
    assert {name: metric(agent, "objects", name) for name in RESOURCES} == {
        "pods": 1, "peer_pods": 1, "namespaces": 1, "services": 0, "endpointslices": 0, "nodes": 0}
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES), "all watches")
    api.put(kube.service("cart", "default", ["10.96.0.9"], [(80, 8080, "TCP")], {"app": "there"}))
    wait_objects(agent, "services", 1)
    api.delete(pod_of("there"))
    wait_objects(agent, "peer_pods", 0)
    api.put(pod_of("moved", ""))
    wait_objects(agent, "peer_pods", 1)
    api.put(pod_of("moved", "node-a"))
    wait_objects(agent, "pods", 2)
    wait_objects(agent, "peer_pods", 0)
    assert len(api.requests("list")) == len(RESOURCES)


def test_peers_of_this_node_only(lab, api):
    api.put(pod_of("there"))
    agent = start(lab, api, "--peers=node")
    assert not any(request.elsewhere() for request in api.log)
    assert metric(agent, "objects", "peer_pods") == 0


def test_watch_goes_on_where_it_ended(lab, api):
    """The server ends watches in time; bookmarks have moved the version on, and nothing is listed again."""
    agent = start(lab, api, "--kubernetes.watch-timeout=12")
    first = api.requests("watch", "services")[0]
    api.put(pod_of("there"))  # versions move on, and Services have no part in it
    wait_until(lambda: len(api.requests("watch", "services")) > 1, "the next watch", 30)
    assert int(api.requests("watch", "services")[1].query["resourceVersion"]) > int(first.query["resourceVersion"])
    assert len(api.requests("list")) == len(RESOURCES)
    assert metric(agent, "errors_total", "services") == 0


def test_pages(lab, api):
    api.page_limit = 3
    for number in range(10):
        api.put(pod_of(f"there-{number}"))
    agent = start(lab, api)
    assert metric(agent, "objects", "peer_pods") == 10
    assert len([r for r in api.requests("list", "pods") if r.elsewhere()]) == 4


def test_finished_pods_are_no_peers(lab, api):
    done = pod_of("done")
    done["status"]["phase"] = "Succeeded"
    api.put(done)
    agent = start(lab, api)
    assert metric(agent, "objects", "peer_pods") == 0


# -- 410 in its three forms ------------------------------------------------------------------------------------------------

def test_expired_watch(lab, api):
    """An ERROR event with code 410: listed anew, and what was deleted meanwhile, unseen, is gone."""
    api.put(pod_of("there"))
    api.put(pod_of("gone"))
    agent = start(lab, api)
    wait_metric(agent, "up", "peer_pods", 1)
    api.delete(pod_of("gone"), tell=False)
    api.compact()
    wait_objects(agent, "peer_pods", 1)
    relist = [r for r in api.requests("list", "pods") if r.elsewhere()][-1]
    assert "resourceVersion" not in relist.query, "a list after 410 must not come from a cache that may be older"


def test_gone_watch(lab, api):
    """HTTP 410 in place of a watch."""
    api.fault = once("watch", "services", refuse(410, "Gone"))
    agent = start(lab, api)
    wait_metric(agent, "up", "services", 1)
    assert metric(agent, "lists_total", "services") == 2


def test_expired_page(lab, api):
    """The token of the next page is too old: the list is asked for as a whole."""
    api.page_limit = 2
    for number in range(5):
        api.put(pod_of(f"there-{number}"))
    api.fault = once("list", "pods", lambda request: (api.compact(), api.list(request)), only=lambda r: r.elsewhere() and r.continued)
    agent = start(lab, api)
    assert metric(agent, "objects", "peer_pods") == 5
    assert "limit" not in [r for r in api.requests("list", "pods") if r.elsewhere()][-1].query


# -- refusals --------------------------------------------------------------------------------------------------------------

def test_forbidden_names_the_rule(lab, api):
    """Ready only when it is granted; the log and /readyz say what the ClusterRole lacks."""
    fault = once("list", "endpointslices", refuse(403, "Forbidden", 'endpointslices is forbidden: User "weir" cannot list'), 1000)
    api.fault = fault
    agent = start(lab, api, wait=False)
    rule = '{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}'
    wait_until(lambda: rule in agent.stderr().replace("\\", ""), "the missing rule in the log")
    assert agent.get("/readyz")[0] == 503 and rule in agent.get("/readyz")[1]
    wait_objects(agent, "namespaces", 1)  # the others go on
    api.fault = None
    agent.wait_ready(60)
    assert agent.stderr().count("the ClusterRole lacks") == 1, "said once"


def test_too_many_requests(lab, api):
    """429: not before the server's Retry-After."""
    times = []
    refusal = refuse(429, "TooManyRequests", headers=[("Retry-After", "2")])
    api.fault = once("list", "services", lambda request: (times.append(time.monotonic()), refusal(request)))
    agent = start(lab, api)
    assert metric(agent, "lists_total", "services") == 1
    assert time.monotonic() - times[0] >= 2


@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_server_errors(lab, api, code):
    api.fault = once("list", "namespaces", refuse(code, "InternalError"), 2)
    agent = start(lab, api)
    assert metric(agent, "errors_total", "namespaces") == 2


# -- answers that are no answers -------------------------------------------------------------------------------------------

def cut_in_the_middle(request, body):
    handler = request.handler
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:len(body) // 2])
    handler.cut()


def instead(make, **more):
    """An answer in place of the right one; make(body) says what."""
    return lambda request, body: request.handler.send(200, make(body), **more)


BAD_LISTS = {
    "truncated": cut_in_the_middle,
    "half a text": instead(lambda body: body[:len(body) // 2]),
    "garbage": instead(lambda body: body.replace(b"metadata", b'"x\x01', 1)),
    "empty": instead(lambda body: b""),
    "no object": instead(lambda body: b"[1, 2]"),
    "an object": instead(lambda body: b"{}"),
    "another kind": instead(lambda body: body.replace(b'List"', b'Cats"', 1)),
    "no version": instead(lambda body: body.replace(b"resourceVersion", b"resourceWersion")),
    "a page of HTML": instead(lambda body: b"<html>", content_type="text/html"),
    "a Status": instead(lambda body: json.dumps(status(200, "", "")).encode()),
}
HALVES = [dict(list(BAD_LISTS.items())[:5]), dict(list(BAD_LISTS.items())[5:])]


@pytest.mark.parametrize("bad", HALVES, ids=lambda bad: ", ".join(bad))
def test_bad_list_changes_nothing(lab, api, bad):
    """A list that is none must not pass for an empty one. Each resource gets another answer."""
    api.put(pod_of("here", "node-a"))
    api.put(kube.service("cart", "default", ["10.96.0.9"], [(80, 8080, "TCP")], {}))
    api.put(kube.endpoint_slice("cart", "default", False, [(80, 8080, "TCP")], []))
    api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-b"}, "status": {}})
    answers = dict(zip(("pods", "services", "endpointslices", "nodes", "namespaces"), bad.values()))
    agent = start(lab, api, "--peers=cluster")
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES), "all watches")

    def fault(request):
        if request.verb != "list" or request.elsewhere() or request.resource not in answers:
            return False
        api.list(request, answer=answers.pop(request.resource))
        return True

    api.fault = fault
    api.compact()
    while any(metric(agent, "lists_total", name) < 2 for name in RESOURCES):
        assert all(metric(agent, "objects", name) == 1 for name in RESOURCES if name != "peer_pods")
    assert not answers
    assert all(metric(agent, "objects", name) == 1 for name in RESOURCES if name != "peer_pods")


def test_watch_of_lies(lab, api):
    """Unknown types, objects of no kind, values of wrong types: each is let pass or named, none does harm."""
    def lie(request):
        handler = request.handler
        handler.begin_stream()
        for event in ({"type": "MERGED", "object": pod_of("a")}, {"type": "ADDED"}, {"type": "ADDED", "object": 7}, {"type": 5}, 17,
                      {"type": "ADDED", "object": {"metadata": {"name": "x"}}},
                      {"type": "MODIFIED", "object": pod_of("odd", node=5)}, {"type": "ADDED", "object": pod_of("deep", labels={"a": [[[[{}]]]]})},
                      {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": {}}}}, {"type": "DELETED", "object": {}},
                      {"type": "ADDED", "object": pod_of("good", status={"phase": "Confused"})}):
            handler.chunk(json.dumps(event).encode() + b"\n")
        handler.chunk(b'{"type": "ADDED", "object": {"metadata"')
        handler.cut()

    api.put(pod_of("there"))
    api.fault = once("watch", "pods", lie, only=elsewhere)
    agent = start(lab, api)
    wait_objects(agent, "peer_pods", 2)
    wait_metric(agent, "up", "peer_pods", 1)
    assert metric(agent, "objects_broken", "peer_pods") == 3


def test_broken_pod_keeps_what_it_was(lab, api):
    api.put(pod_of("there"))
    api.put(pod_of("other"))
    agent = start(lab, api)
    wait_metric(agent, "up", "peer_pods", 1)
    broken = pod_of("there")
    broken["spec"]["containers"] = "many"
    api.put(broken)
    wait_metric(agent, "objects_broken", "peer_pods", 1)
    assert metric(agent, "objects", "peer_pods") == 2
    assert "default/there: spec.containers is a string, not a list" in agent.stderr()
    assert "spec.containers is a string" in str(ask(lab, "pods")["errors"])
    api.compact()  # a list with it is a list all the same
    wait_metric(agent, "lists_total", "peer_pods", 2)
    assert metric(agent, "objects", "peer_pods") == 2
    api.put(pod_of("there"))
    wait_metric(agent, "objects_broken", "peer_pods", 0)
    assert not ask(lab, "pods")["errors"]


def test_enormous_objects(lab, api):
    """What is not used of an object is never in memory; what is used may be large."""
    api.page_limit = 50
    fields = [{"manager": f"m{number}", "fieldsV1": {"f:a": {"f:b" * 20: {}}}} for number in range(20000)]
    for number in range(4):
        api.put(pod_of(f"there-{number}", managedFields=fields, annotations={"a": "x" * (4 << 20)}))
    api.put(pod_of("here", "node-a", annotations={"large": "y" * (4 << 20)}))
    agent = start(lab, api)
    assert metric(agent, "objects", "peer_pods") == 4 and metric(agent, "objects", "pods") == 1
    assert total(agent.metrics(), "process_resident_memory_bytes") < 100 << 20


# -- away ------------------------------------------------------------------------------------------------------------------

def test_api_away(lab, api):
    """What is known stays; metrics say how old it is; then it goes on, and what was missed is found."""
    api.put(pod_of("there"))
    api.put(pod_of("gone"))
    agent = start(lab, api)
    wait_metric(agent, "up", "peer_pods", 1)
    api.stop()
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == 0, "no watch to be open")
    assert metric(agent, "objects", "peer_pods") == 2 and agent.get("/readyz")[0] == 200
    since = total(agent.metrics(), "weir_kubernetes_last_sync_timestamp_seconds")
    api.delete(pod_of("gone"), tell=False)
    api.put(pod_of("new"), tell=False)
    api.compacted = api.version
    assert 0 < since == total(agent.metrics(), "weir_kubernetes_last_sync_timestamp_seconds")
    api.start()
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES), "all watches", 60)
    assert metric(agent, "objects", "peer_pods") == 2
    assert total(agent.metrics(), "weir_kubernetes_last_sync_timestamp_seconds") > since
    assert "in step again" in agent.stderr() or agent.stderr().count("level=error") > 0


FIGURES = {"up": "up", "objects": "objects", "broken": "objects_broken", "lists": "lists_total", "errors": "errors_total"}


def test_status_tells_what_the_metrics_tell(lab, api):
    """weir status: is the API reachable and since when; for each resource the figures of /metrics, and its version."""
    api.put(pod_of("there"))
    agent = start(lab, api)
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES), "all watches")

    def told(resources, metrics):
        """Do both say the same? A bookmark may come between."""
        for row in resources:
            if {key: int(row[key]) for key in FIGURES} != {
                    key: total(metrics, f"weir_kubernetes_{name}", resource=row["resource"]) for key, name in FIGURES.items()}:
                return False
            at = total(metrics, "weir_kubernetes_resource_last_sync_timestamp_seconds", resource=row["resource"])
            if calendar.timegm(time.strptime(row["last_sync"], "%Y-%m-%dT%H:%M:%SZ")) != int(at):
                return False
        return {row["resource"] for row in resources} == set(RESOURCES)

    wait_until(lambda: told(agent.weir("status", "-o", "json")["kubernetes"]["resources"], agent.metrics()), "the same figures")
    said = agent.weir("status", "-o", "json")["kubernetes"]
    assert said["reachable"] and said["error"] is None and said["server"].startswith("https://")
    assert all(row["version"].isdigit() for row in said["resources"])
    assert "reachable since" in agent.weir("status").stdout
    api.stop()
    wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == 0, "no watch to be open")
    wait_until(lambda: all(row["age_seconds"] > 1.5 for row in agent.weir("status", "-o", "json")["kubernetes"]["resources"]), "the ages to grow")
    said = agent.weir("status", "-o", "json")["kubernetes"]
    assert not said["reachable"] and said["error"]
    assert said["age_seconds"] > 1.5 and all(row["error"] for row in said["resources"])
    assert f"NOT reachable since {said['since']}: " in agent.weir("status").stdout


def test_connections_drop(lab, api):
    """A load balancer changes servers: watches go on from the last version, without a list."""
    agent = start(lab, api)
    for number in range(3):
        wait_until(lambda: total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES), "all watches", 30)
        api.drop_connections()
        api.put(pod_of(f"there-{number}"))
        wait_objects(agent, "peer_pods", number + 1, 30)
    assert len(api.requests("list")) == len(RESOURCES)


def test_stalled_watch(lab, api):
    """A watch that neither says anything nor ends is given up after its time and a margin."""
    hold = []
    api.fault = once("watch", "services", lambda request: (request.handler.begin_stream(), hold.append(request), time.sleep(40)))
    agent = start(lab, api, "--kubernetes.watch-timeout=2")
    wait_until(lambda: hold, "the watch")
    api.put(kube.service("cart", "default", ["10.96.0.9"], [(80, 8080, "TCP")], {}))
    wait_objects(agent, "services", 1, 35)


def test_restored_storage(lab, api):
    """Versions go back, as after a restored backup: a watch from the future stays silent, and that is noticed."""
    agent = start(lab, api, "--kubernetes.watch-timeout=12")
    api.bookmark_s = 1000
    with api.lock:
        api.version, api.history = 10, []
        api.generation += 1
    api.put(pod_of("there"), tell=False)
    wait_objects(agent, "peer_pods", 1, 40)


def test_start_without_api(lab, api):
    """Not ready, and it says why; captured pods of an earlier agent are enough after a while."""
    pod = lab.pod("web", mesh="istio").write()
    first = start(lab, api)
    wait_state(lab, pod)
    first.stop()
    api.stop()
    agent = start(lab, api, wait=False)
    wait_until(lambda: "connect" in why(agent).lower(), "the reason in /readyz")
    assert agent.get("/readyz")[0] == 503
    agent.wait_ready(45)
    assert known_state(lab, pod) == "captured"


def known_state(lab, pod):
    return next(item["state"] for item in ask(lab, "pods")["pods"] if item["name"] == pod.name)


# -- trust -----------------------------------------------------------------------------------------------------------------

def test_annotations_of_the_api_name_no_netns(lab, api):
    """Only files may say where a pod's network namespace is: anybody may annotate a pod."""
    pod = lab.pod("web", mesh="istio")
    api.put(pod.object())
    agent = start(lab, api)
    assert metric(agent, "objects", "pods") == 1
    assert pod.netns not in json.dumps(ask(lab, "pods"))

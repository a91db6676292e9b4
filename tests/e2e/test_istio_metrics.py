# SPDX-License-Identifier: Apache-2.0
"""--metrics.istio: what no proxy of Istio's reports, in Istio's terms, as Kiali and Istio's dashboards ask for it of a real Prometheus."""

import pytest

from lab import Lab
from lab.agent import total
from lab.command import run, wait_until
from books import metrics, settled
from prometheus import Prometheus
from support import APP, start_proxy, wait_state

NAMES = {"sent": "istio_tcp_sent_bytes_total", "received": "istio_tcp_received_bytes_total", "opened": "istio_tcp_connections_opened_total",
         "closed": "istio_tcp_connections_closed_total"}
LABELS = ("reporter source_workload source_canonical_service source_canonical_revision source_workload_namespace source_principal source_app "
          "source_version source_cluster destination_workload destination_workload_namespace destination_principal destination_app "
          "destination_version destination_service destination_canonical_service destination_canonical_revision destination_service_name "
          "destination_service_namespace destination_cluster request_protocol response_flags connection_security_policy").split()
SINK = {"mode": "sink", "options": ["--no-greet"]}

AGENT_OPTIONS = ("--metrics.istio",)


def pod_of(lab, name, namespace="default", **options):
    """A pod of a Deployment of that name, known to weir, without a mesh unless one is named."""
    pod = lab.pod(name, namespace=namespace, **{"owner": f"Deployment/{name}", **options})
    return wait_state(lab, pod.write(), "captured" if options.get("mesh") else "not_captured")


def series(lab, **wanted):
    """{labels as a frozenset: figures} of what carries these labels."""
    found = {}
    for (name, labels), value in metrics(lab).items():
        if set(wanted.items()) <= labels:
            for field, known in NAMES.items():
                if name == known:
                    found.setdefault(labels, {})[field] = int(value)
    return found


def one(lab, **wanted):
    """(labels, figures) of the only series that carries these labels."""
    found = series(lab, **wanted)
    assert len(found) == 1, found
    labels, figures = next(iter(found.items()))
    return dict(labels), figures


def service_of(lab, pod, ip, name=None):
    before = total(metrics(lab), "weir_map_entries", map="weir_peers")
    lab.service(name or pod.name, ip, {80: 8080}, [pod], namespace=pod.namespace)
    wait_until(lambda: total(metrics(lab), "weir_map_entries", map="weir_peers") == before + 1, "the Service to be known")


def test_both_reporters_of_an_edge(node):
    """Every label, and figures that count from the client's side; both say the same."""
    client = pod_of(node, "web-v1", "shop", labels={"app": "web", "version": "v1"})
    server = pod_of(node, "redis", "data", labels={"app": "old", "app.kubernetes.io/name": "redis", "app.kubernetes.io/version": "7.2"})
    server.serve("[::]:8080")
    service_of(node, server, "10.96.7.1", "redis-master")
    answer = client.connect("10.96.7.1:80", options=["--send=12345"])
    settled(node, client, "outbound", 1)
    settled(node, server, "inbound", 1)
    wanted = {
        "source_workload": "web-v1", "source_workload_namespace": "shop", "source_canonical_service": "web", "source_canonical_revision": "v1",
        "source_app": "web", "source_version": "v1", "source_cluster": "Kubernetes", "source_principal": "unknown",
        "destination_workload": "redis", "destination_workload_namespace": "data", "destination_canonical_service": "redis",
        "destination_canonical_revision": "7.2", "destination_app": "redis", "destination_version": "7.2", "destination_cluster": "Kubernetes",
        "destination_principal": "unknown", "destination_service": "redis-master.data.svc.cluster.local",
        "destination_service_name": "redis-master", "destination_service_namespace": "data", "request_protocol": "tcp", "response_flags": "-",
        "connection_security_policy": "unknown"}
    figures = {"received": answer["sent"], "sent": answer["received"], "opened": 1, "closed": 1}
    assert answer["sent"] and answer["received"] and answer["sent"] != answer["received"]
    for reporter, mine in (("source", {"source_workload": "web-v1"}), ("destination", {"destination_workload": "redis"})):
        labels, got = one(node, reporter=reporter, **mine)
        assert labels == {"reporter": reporter, **wanted}
        assert got == figures
        assert set(labels) == set(LABELS)


def test_labels_from_nothing(node):
    """A pod without labels, without a Service: its name, the latest revision; the Service is unknown, its namespace the pod's."""
    client = pod_of(node, "bare-client", owner=None)
    client.labels.clear()
    server = node.pod("bare", owner="StatefulSet/bare")
    server.labels.clear()
    wait_state(node, server.write(), "not_captured")
    wait_state(node, client.write(), "not_captured")
    server.serve("[::]:9999")
    client.connect(f"{server.ip}:9999")
    settled(node, client, "outbound", 1)
    labels, _ = one(node, reporter="source", source_workload="bare-client")
    assert (labels["source_app"], labels["source_version"], labels["source_canonical_revision"]) == ("bare-client", "latest", "latest")
    assert (labels["destination_app"], labels["destination_service"], labels["destination_service_name"]) == ("bare", "unknown", "unknown")
    assert (labels["destination_service_namespace"], labels["destination_workload"]) == ("default", "bare")
    other, _ = one(node, reporter="destination", source_workload="bare-client")
    assert {**other, "reporter": "source"} == labels


def test_a_pod_that_is_dialled_itself_serves_its_service(node):
    """Both reporters name the Service that has this port of the workload; at another port none."""
    client, server = pod_of(node, "podder"), pod_of(node, "podded")
    server.serve("[::]:8080", "[::]:8081")
    service_of(node, server, "10.96.7.2")
    for port, service in ((8080, "podded.default.svc.cluster.local"), (8081, "unknown")):
        client.connect(f"{server.ip}:{port}")
        for reporter in ("source", "destination"):
            wait_until(lambda: series(node, reporter=reporter, source_workload="podder", destination_service=service), f"{service} by {reporter}")
    assert len(series(node, source_workload="podder")) == 4


def test_peers_that_are_no_workloads(node):
    """What is outside, what nobody knows, and a Service of several workloads."""
    client, left, right = pod_of(node, "looker"), pod_of(node, "left"), pod_of(node, "right")
    outside = node.outside("world", ip="203.0.113.77", ipv6=None)
    for server in (left, right, outside):
        server.serve("0.0.0.0:8080")
    node.service("both", "10.96.7.3", {80: 8080}, [left, right])
    client.connect("203.0.113.77:8080")
    wait_until(lambda: series(node, source_workload="looker", destination_service="unknown"), "the connection to the outside")
    labels, figures = one(node, source_workload="looker", destination_service="unknown")
    assert all(labels[f"destination_{key}"] == "unknown" for key in
               ("workload", "workload_namespace", "app", "version", "canonical_service", "canonical_revision", "cluster", "service_name", "service_namespace"))
    assert figures["opened"] == 1

    def dialled():
        client.connect("10.96.7.3:80")
        return series(node, source_workload="looker", destination_service="both.default.svc.cluster.local", reporter="source")

    wait_until(dialled, "the Service to be named")
    labels, _ = one(node, source_workload="looker", destination_service="both.default.svc.cluster.local", reporter="source")
    assert (labels["destination_workload"], labels["destination_service_namespace"]) == ("unknown", "default")


@pytest.mark.parametrize("mesh", ["istio", "linkerd", "ambient"])
def test_only_what_no_proxy_of_istio_reports(node, mesh):
    """Pods with a sidecar and those of ztunnel have Istio's own figures; Linkerd's proxies give none of that kind."""
    ambient = {"annotations": {"ambient.istio.io/redirection": "enabled"}}
    pod = pod_of(node, f"meshed-{mesh}", **(ambient if mesh == "ambient" else {"mesh": mesh}))
    peer = pod_of(node, f"plain-{mesh}")
    peer.serve("[::]:8080")
    if mesh == "ambient":
        pod.serve("[::]:8080")
    else:
        ports = {"istio": (15001, 15006), "linkerd": (4140, 4143)}[mesh]
        if mesh == "istio":
            start_proxy(pod)
        else:
            pod.serve(*[f"0.0.0.0:{port}" for port in ports], uid=2102, container="linkerd-proxy")
    answers = [pod.connect(f"{peer.ip}:8080", uid=APP), peer.connect(f"{pod.ip}:8080")]
    assert all(answer["ok"] for answer in answers)
    settled(node, pod, "outbound", 1)
    settled(node, pod, "inbound", 1)
    settled(node, peer, "outbound", 1)
    own = series(node, reporter="source", source_workload=pod.name), series(node, reporter="destination", destination_workload=pod.name)
    assert [len(found) for found in own] == ([1, 1] if mesh == "linkerd" else [0, 0])
    assert one(node, reporter="source", source_workload=peer.name)[1]["opened"] == 1


def test_last_figures_keep_their_labels():
    """Over the end of the pod, its Service's endpoints and the agent, until they are gone; another revision is told from then on."""
    with Lab("istiolast") as lab:
        lab.agent("--metrics.istio", "--cluster-name=east", "--network-name=net-1")
        client, server = pod_of(lab, "caller"), pod_of(lab, "callee", labels={"version": "v1"})
        server.serve("[::]:8080")
        service_of(lab, server, "10.96.7.4")
        client.connect(f"{server.ip}:8080")
        settled(lab, server, "inbound", 1)
        wait_until(lambda: series(lab, reporter="destination", destination_service_name="callee"), "the connection")
        labels, figures = one(lab, reporter="destination")
        assert (labels["source_cluster"], labels["destination_cluster"]) == ("east", "east")
        assert (labels["source_network"], labels["destination_network"]) == ("net-1", "net-1")
        server.labels["version"] = "v2"
        server.write()
        wait_until(lambda: series(lab, reporter="destination", destination_version="v2"), "the new revision")
        labels["destination_version"] = labels["destination_canonical_revision"] = "v2"
        assert one(lab, reporter="destination") == (labels, figures)
        lab.agents[-1].stop()
        server.write()
        lab.agent("--metrics.istio", "--cluster-name=east", "--network-name=net-1")
        assert one(lab, reporter="destination") == (labels, figures)
        server.remove_file()
        lab.service("callee", "10.96.7.4", {80: 8080}, [])
        seen = []

        def is_gone():
            seen.append(series(lab, reporter="destination"))
            return not seen[-1]

        wait_until(is_gone, "the series to disappear")
        assert len(seen) > 3 and all(found == {frozenset(labels.items()): figures} for found in seen[:-1])


def test_pods_apart():
    """With --metrics.pod-label each pod has its series, as each sidecar has; nothing is lost when one of them goes."""
    with Lab("istiopods") as lab:
        lab.agent("--metrics.istio", "--metrics.pod-label")
        server = pod_of(lab, "served")
        server.serve("[::]:8080", **SINK)
        pods = [pod_of(lab, f"many-{index}", owner="Deployment/many", labels={"app": "many", "version": f"v{index}"}) for index in (1, 2)]
        for pod, size in zip(pods, (1000, 2000)):
            pod.connect(f"{server.ip}:8080", options=[f"--send={size}", "--shutdown"])
        wait_until(lambda: len(series(lab, reporter="source", source_workload="many")) == 2, "both pods")
        for index, size in ((1, 1000), (2, 2000)):
            labels, figures = one(lab, reporter="source", pod=f"many-{index}")
            assert (labels["source_version"], figures["received"]) == (f"v{index}", size)
        pods[0].remove_file()
        wait_until(lambda: not series(lab, pod="many-1"), "the series of the first pod to disappear")
        assert one(lab, reporter="source", source_workload="many")[0]["pod"] == "many-2"


def test_nothing_without_the_flag():
    with Lab("istiooff") as lab:
        lab.agent("--cluster-name=east")
        client, server = pod_of(lab, "caller"), pod_of(lab, "callee")
        server.serve("[::]:8080")
        client.connect(f"{server.ip}:8080")
        settled(lab, client, "outbound", 1)
        assert "istio_tcp" not in lab.agents[-1].get("/metrics")[1]
        lab.agents[-1].stop()
        done = run("sh", "-c", f"build/weir agent --cluster-name= --cgroup-root={lab.cgroup_root}", check=False)
        assert done.returncode and "--cluster-name=" in done.stderr


# -- as it is asked for ----------------------------------------------------------------------------------------------------

EDGE = ("app,source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,destination_cluster,"
        "destination_service_namespace,destination_service,destination_service_name,destination_workload_namespace,destination_workload,"
        "destination_canonical_service,destination_canonical_revision,response_flags")
# Kiali's graph of a namespace and its charts of a workload, Istio's dashboard of a workload: query, and how many rows each should bring
QUERIES = {
    'round(sum(rate(istio_tcp_received_bytes_total{{app!="ztunnel",reporter="source",source_workload_namespace="{ns}"}} [60s])) by ({edge}) > 0,0.001)': 1,
    'round(sum(rate(istio_tcp_received_bytes_total{{app!="ztunnel",reporter="destination",destination_workload_namespace="{ns}"}} [60s])) by ({edge}) > 0,0.001)': 1,
    'sum(rate(istio_tcp_sent_bytes_total{{reporter="source",source_workload_namespace="{ns}",source_workload="asker"}}[60s])) by (request_protocol)': 1,
    'round(topk(3, sum(rate(istio_tcp_sent_bytes_total{{destination_workload!="unknown",reporter="destination"}}[60s])) by '
    '(destination_cluster,destination_service_namespace,destination_service_name) > 0), 0.001)': 1,
    'sum(irate(istio_tcp_sent_bytes_total{{reporter=~"source|destination", destination_workload_namespace=~"{ns}", destination_workload=~"asked"}}[60s]))': 1,
    'sum(istio_tcp_sent_bytes_total{{}}) by (destination_service)': 1,
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    with Lab("istioprom") as lab, Prometheus(lab.agent("--metrics.istio"), tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield lab, prometheus.ask


def test_what_kiali_and_the_dashboards_ask(asked):
    lab, ask = asked
    client, server = pod_of(lab, "asker", "shown"), pod_of(lab, "asked", "shown")
    server.serve("[::]:8080")
    service_of(lab, server, "10.96.7.5")
    for query, rows in QUERIES.items():
        query = query.format(ns="shown", edge=EDGE)

        def answered():
            client.connect("10.96.7.5:80", options=["--send=1000"])
            return len(ask(query)) == rows

        wait_until(answered, query, 60)
    graph = [next(row["metric"] for row in ask(query.format(ns="shown", edge=EDGE))) for query in list(QUERIES)[:2]]
    assert graph[0] == graph[1]  # Kiali takes one edge of both
    assert set(graph[0]) == set(EDGE.split(","))

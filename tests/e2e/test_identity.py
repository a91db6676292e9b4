# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end: what /metrics and `weir conns` call the peer of a connection, as objects come, change and go."""

import copy

from books import metrics, pod_of
from lab import Lab, kube
from lab.command import wait_until
from support import COUNTER, Shell, ask, wait_state

OPENED = "weir_tcp_connections_opened_total"


def peers(lab, pod, name=OPENED, direction="outbound"):
    """(peer_namespace/peer_workload, peer_service, port) -> count of a workload's connections."""
    found = {}
    for (have, labels), value in metrics(lab).items():
        one = dict(labels)
        if have == name and one["workload"] == pod.name and one["direction"] == direction and value:
            key = f"{one['peer_namespace']}/{one['peer_workload']}".strip("/"), one["peer_service"], one["port"]
            found[key] = found.get(key, 0) + int(value)
    return found


def settle(lab):
    """Waits until weir has read all that was written before: a pod without a network namespace that comes last is known last."""
    name = f"marker-{next(COUNTER)}"
    lab.write_object({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "markers",
                                                                      "annotations": {"weir.io/netns": f"/run/netns/{lab.prefix}-none"}}})
    wait_until(lambda: any(pod["name"] == name for pod in ask(lab, "pods")["pods"]), "the marker to be known")


def entries(lab):
    return next(value for (name, labels), value in metrics(lab).items() if name == "weir_map_entries" and ("map", "weir_peers") in labels)


def service_object(name, spec, status=None):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": status or {}}


def dial(lab, client, *targets):
    """One connection to each, whether it succeeds or not; what weir calls them."""
    before = {kind: peers(lab, client, kind) for kind in (OPENED, "weir_tcp_connections_failed_total")}
    client.connect(*targets, options=["--timeout=4"])

    def news():
        found = {}
        for kind, old in before.items():
            for key, value in peers(lab, client, kind).items():
                if value > old.get(key, 0):
                    found[key] = found.get(key, 0) + value - old.get(key, 0)
        return found

    wait_until(lambda: sum(news().values()) >= len(targets), f"{len(targets)} connections to be counted")
    return news()


def test_services_as_they_are_dialled(node):
    """External address, load balancer, NodePort, headless; and the same pod and node dialled otherwise."""
    client, server = pod_of(node, "dialler"), pod_of(node, "backend")
    server.serve("[::]:8080", "[::]:9000")
    for address in ("203.0.113.20", "203.0.113.21"):
        node.service(f"rules-{address[-2:]}", address, {80: 8080}, [server], write=False)
    node.service("rules-node", "10.77.0.1", {30080: 8080}, [server], write=False)
    node.write_object(kube.endpoint_slice("shop", "default", False, [(80, 8080, "TCP")], [server]))
    node.write_object(kube.endpoint_slice("shop-headless", "default", False, [(8080, 8080, "TCP")], [server]))
    node.write_object(service_object("shop", {"type": "LoadBalancer", "clusterIP": "10.96.5.1", "externalIPs": ["203.0.113.20"],
                                              "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]},
                                     {"loadBalancer": {"ingress": [{"ip": "203.0.113.21"}, {"hostname": "lb.example.org"}]}}))
    node.write_object(service_object("shop-headless", {"clusterIP": "None", "ports": [{"port": 8080}]}))
    node.write_object({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-b"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.77.0.1"}, {"type": "Hostname", "address": "node-b"}]}})
    settle(node)
    backend = "default/backend"
    assert dial(node, client, "203.0.113.20:80") == {(backend, "shop", "80"): 1}
    assert dial(node, client, "203.0.113.21:80") == {(backend, "shop", "80"): 1}
    assert dial(node, client, "203.0.113.20:81") == {("external", "", "81"): 1}
    assert dial(node, client, "10.77.0.1:30080") == {(backend, "shop", "30080"): 1}
    assert dial(node, client, "10.77.0.1:22") == {("host", "", "22"): 1}
    assert dial(node, client, f"{server.ip}:8080") == {(backend, "shop-headless", "8080"): 1}
    assert dial(node, client, f"{server.ip}:9000") == {(backend, "", "9000"): 1}
    assert set(peers(node, server, direction="inbound")) == {("default/dialler", "", "8080"), ("default/dialler", "", "9000")}


def test_a_service_of_both_families(node):
    client, server = pod_of(node, "dual"), pod_of(node, "dual-backend")
    server.serve("[::]:8080")
    node.service("both", ["10.96.5.2", "fd00:10:96::52"], {80: 8080}, [server])
    settle(node)
    for to in ("10.96.5.2:80", "[fd00:10:96::52]:80"):
        assert dial(node, client, to) == {("default/dual-backend", "both", "80"): 1}


def test_services_and_their_ends_change(node):
    """For new connections from then on; the one that is open keeps its name."""
    client, one, two = pod_of(node, "watcher"), pod_of(node, "end-one"), pod_of(node, "end-two")
    for server in (one, two):
        server.serve("[::]:8080")
    node.service("moving", "10.96.5.3", {80: 8080}, [one])
    settle(node)
    with Shell(client) as shell:
        shell("s = tcp(); s.connect(('10.96.5.3', 80))")
        node.service("moving", "10.96.5.3", {80: 8080}, [two])
        settle(node)
        assert dial(node, client, "10.96.5.3:80") == {("default/end-two", "moving", "80"): 1}
        node.service("moving", "10.96.5.3", {80: 8080}, [one, two])
        settle(node)
        assert dial(node, client, "10.96.5.3:80") == {("several", "moving", "80"): 1}
        for item in node.pods_dir.glob("*_default_moving*"):
            item.unlink()
        wait_until(lambda: dial(node, client, "10.96.5.3:80") == {("unknown", "", "80"): 1}, "the Service to be forgotten")
        row = node.weir("conns", "-o", "json", "--pod=watcher")["connections"][0]
        assert (row["peer_service"], row["peer_workload"], row["dialled"]) == ("moving", "end-one", "10.96.5.3:80")


def test_a_peer_that_becomes_known_later(node):
    """The connection that began before stays unknown, the next one has the name."""
    client, server = pod_of(node, "early"), node.pod("late", owner="Deployment/late")
    server.serve("[::]:8080")
    with Shell(client) as shell:
        shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x')")
        wait_state(node, server.write(), "not_captured")
        assert dial(node, client, f"{server.ip}:8080") == {("default/late", "", "8080"): 1}
        shell("s.close()")
    assert peers(node, client) == {("unknown", "", "8080"): 1, ("default/late", "", "8080"): 1}


def remote_pod(name, ip, phase="Running", **metadata):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "elsewhere", **metadata}, "spec": {"nodeName": "node-b"},
            "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]}}


def test_an_address_that_is_used_again(node):
    """By another pod: the old one is finished, or is being deleted and its object stays for a while."""
    client = pod_of(node, "caller")
    server = node.pod("unnamed")
    server.serve("[::]:8080")
    to = f"{server.ip}:8080"
    node.write_object(remote_pod("first", server.ip, creationTimestamp="2026-01-01T00:00:00Z"))
    settle(node)
    assert dial(node, client, to) == {("elsewhere/first", "", "8080"): 1}
    node.write_object(remote_pod("first", server.ip, "Succeeded", creationTimestamp="2026-01-01T00:00:00Z"))
    node.write_object(remote_pod("second", server.ip, creationTimestamp="2026-01-02T00:00:00Z"))
    settle(node)
    assert dial(node, client, to) == {("elsewhere/second", "", "8080"): 1}
    node.write_object(remote_pod("second", server.ip, creationTimestamp="2026-01-02T00:00:00Z", deletionTimestamp="2026-01-03T00:00:00Z"))
    node.write_object(remote_pod("a-third", server.ip, creationTimestamp="2026-01-01T00:00:00Z"))
    settle(node)
    assert dial(node, client, to) == {("elsewhere/a-third", "", "8080"): 1}
    for name in ("first", "second"):  # the delete of an old pod takes nothing from its successor
        (node.pods_dir / f"pod_elsewhere_{name}.json").unlink()
    settle(node)
    assert dial(node, client, to) == {("elsewhere/a-third", "", "8080"): 1}
    (node.pods_dir / "pod_elsewhere_a-third.json").unlink()
    wait_until(lambda: dial(node, client, to) == {("unknown", "", "8080"): 1}, "the last pod to be forgotten")


def test_nodes_hosts_and_the_world(node):
    client = pod_of(node, "traveller")
    host = remote_pod("kube-proxy", "10.77.0.9")
    host["spec"]["hostNetwork"] = True
    node.write_object(host)
    node.write_object(remote_pod("far", "10.88.0.1"))
    item = copy.deepcopy(node.pod("with-host").object())
    item["status"].update(hostIP="10.77.0.10", hostIPs=[{"ip": "10.77.0.10"}, {"ip": "fd00:10:244::fff1"}])
    node.write_object(item)
    settle(node)
    world = node.outside("world")
    world.serve("[::]:80")
    wanted = {"10.77.0.9:80": "host", "10.77.0.10:80": "host", "[fd00:10:244::fff1]:80": "host", "10.88.0.1:80": "elsewhere/far",
              "10.88.0.2:80": "unknown", "[fd00:10:244::fff2]:80": "unknown", f"{world.ip}:80": "external", f"[{world.ipv6}]:80": "external"}
    for to, name in wanted.items():
        assert dial(node, client, to) == {(name, "", "80"): 1}, to


def test_ports_that_only_a_service_or_a_slice_names(node):
    client, server = pod_of(node, "port-dialler"), pod_of(node, "port-server")
    server.serve("[::]:45001", "[::]:45002", "[::]:45003")
    node.write_object(service_object("ports", {"clusterIP": "10.96.5.9", "ports": [{"port": 45001}]}))
    node.write_object(kube.endpoint_slice("ports", "default", False, [(45001, 45002, "TCP")], [server]))
    settle(node)
    client.connect(*[f"{server.ip}:{port}" for port in (45001, 45002, 45003)])
    wait_until(lambda: len(peers(node, client)) == 3, "three series")
    assert {port for _, _, port in peers(node, client)} == {"45001", "45002", "dynamic"}


def test_five_thousand_pods_and_two_thousand_services():
    """How long they take to be known, how much memory that is, and that a full table is said."""
    with Lab("crowd") as lab:
        agent = lab.agent()
        pods = [remote_pod(f"pod-{i}", f"10.{100 + (i >> 16)}.{i >> 8 & 255}.{i & 255}", generateName="pod-",
                           ownerReferences=[{"kind": "StatefulSet", "name": f"set-{i % 500}", "controller": True}]) for i in range(5000)]
        services = [service_object(f"svc-{i}", {"clusterIP": f"10.96.{i >> 8}.{i & 255}", "ports": [{"port": 80}]}) for i in range(2000)]
        lab.write_object({"apiVersion": "v1", "kind": "List", "metadata": {"name": "crowd"}, "items": pods + services})
        wait_until(lambda: entries(lab) >= 7000, "the crowd to be known", 30)
        client = pod_of(lab, "client")
        assert dial(lab, client, "10.100.0.7:80") == {("elsewhere/set-7", "", "80"): 1}
        resident = next(value for (name, _), value in metrics(lab).items() if name == "process_resident_memory_bytes")
        assert resident < 100e6, f"{resident / 1e6:.0f} MB"
        assert "is full" not in agent.stderr()

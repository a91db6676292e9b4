# SPDX-License-Identifier: Apache-2.0
"""The numbers: every byte and every connection once, compared with the books that the sockets' own owner kept."""

import json
import signal
import urllib.error
import urllib.request

import pytest

from lab import Lab, net
from lab.agent import total
from lab.command import PROBE, run, wait_until
from books import NOTHING, books, failures, flow, metrics, mirrored, pod_of, settled
from support import APP, BPFTOOL, PROXY, Shell, start_proxy, wait_state

MEGA = 1_000_000


# -- bytes and connections -------------------------------------------------------------------------------------------------

MODES = {"echo": ("serve", [], ["--send=300000"]), "sink": ("sink", [], ["--send=2000000", "--shutdown"]),
         "bulk": ("bulk", ["--send=2000000"], ["--shutdown"]), "both": ("bulk", ["--send=1000000"], ["--send=1500000", "--shutdown"]),
         "nothing": ("serve", ["--no-greet"], ["--no-greet"]), "reset": ("serve", [], ["--send=20000", "--reset"])}


@pytest.mark.parametrize("mode", MODES)
def test_between_two_pods_without_a_mesh(node, mode):
    """Both ends, all families, orderly ends and resets."""
    client, server = pod_of(node, f"client-{mode}"), pod_of(node, f"server-{mode}")
    serve, server_options, options = MODES[mode]
    server.serve("[::]:8080", mode=serve, options=server_options)
    answers = []
    for to, family in ((f"{server.ip}:8080", "4"), (f"{server.ip}:8080", "mapped"), (f"[{server.ipv6}]:8080", "6")):
        answers += client.connect(to, options=[*options, f"--family={family}", "--count=4"])
    labels = {"via": "direct", "port": "8080"}
    assert settled(node, client, "outbound", 12, peer_workload=server.name, **labels) == books(answers)
    assert settled(node, server, "inbound", 12, peer_workload=client.name, **labels) == mirrored(books(answers))
    assert flow(node, client, "inbound")["opened"] == flow(node, server, "outbound")["opened"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_captured_connections(node, mode):
    """Outbound at the application's own socket, inbound at the proxy's; the proxy's end of the former does not count again."""
    pod, peer = pod_of(node, f"captured-{mode}", mesh="istio"), pod_of(node, f"outside-{mode}")
    serve, server_options, options = MODES[mode]
    start_proxy(pod, mode=serve, options=server_options)
    for client, server, direction in ((pod, peer, "outbound"), (peer, pod, "inbound")):
        answers = []
        for to in (f"{server.ip}:8080", f"[{server.ipv6}]:8080"):
            answers += client.connect(to, options=[*options, "--count=4"], uid=APP)
        count = books(answers) if direction == "outbound" else mirrored(books(answers))
        assert settled(node, pod, direction, 8, via="proxy", peer_workload=peer.name, port="8080") == count
        assert flow(node, pod, direction) == count
    assert settled(node, peer, "outbound", 8, via="direct", peer_workload=pod.name) == mirrored(count)
    assert total(metrics(node), "weir_proxy_tcp_connections_opened_total", workload=pod.name) == 0


def test_the_proxys_further_legs_are_counted_apart(node):
    """To the network, and to its own application."""
    pod, peer = pod_of(node, "legs", mesh="istio"), pod_of(node, "legs-peer")
    peer.serve("[::]:443")
    pod.serve("[::]:8080", uid=APP)
    start_proxy(pod)
    network = pod.connect(f"{peer.ip}:443", options=["--send=5000"], uid=PROXY)
    application = pod.connect(f"{pod.ip}:8080", options=["--send=7000", "--bind=127.0.0.6"], uid=PROXY)
    for leg, answer in (("network", network), ("application", application)):
        def count(name):
            return total(metrics(node), f"weir_proxy_tcp_{name}_total", workload=pod.name, leg=leg)
        wait_until(lambda: count("connections_closed") == 1, f"the {leg} leg to be closed")
        assert (count("sent_bytes"), count("received_bytes"), count("connections_opened")) == (answer["sent"], answer["received"], 1)
    assert flow(node, pod, "outbound")["opened"] == flow(node, pod, "inbound")["opened"] == 0


def test_what_stays_within_a_pod_is_not_counted(node):
    pod = pod_of(node, "inner", mesh="istio")
    pod.serve("[::]:8080", uid=APP)
    start_proxy(pod)
    for to in ("127.0.0.1:8080", "[::1]:8080", f"{pod.ip}:8080", f"[{pod.ipv6}]:8080"):
        assert pod.connect(to, options=["--send=100"], uid=APP)["ok"]
    assert pod.connect(f"{pod.ip}:8080", uid=PROXY)["ok"]  # a self-call
    assert flow(node, pod, "outbound")["opened"] == flow(node, pod, "inbound")["opened"] == 0


def test_live_connections_count_before_they_end(node):
    client, server = pod_of(node, "live"), pod_of(node, "live-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Shell(client) as shell:
        shell(f"s = tcp(); s.connect(('{server.ip}', 8080))")
        for step in range(1, 4):
            shell("s.sendall(b'x' * 12345)")
            wanted = {"sent": 12345 * step, "received": 0, "opened": 1, "closed": 0, "open": 1}
            assert flow(node, client, "outbound") == wanted
            wait_until(lambda: flow(node, server, "inbound") == mirrored(wanted), "the receiver's count")
        shell("s.close()")
    assert settled(node, client, "outbound", 1) == {**wanted, "closed": 1, "open": 0}


def test_half_closed_connections_count_on(node):
    """One side has sent its FIN, which is no payload; the other one goes on."""
    client, server = pod_of(node, "half"), pod_of(node, "half-server")
    with Shell(server) as far, Shell(client) as near:
        far("l = tcp(); l.bind(('0.0.0.0', 8080)); l.listen(8)")
        near(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 1000); s.shutdown(SHUT_WR)")
        far("c = l.accept()[0]; len(c.recv(2000)), c.recv(1)")
        far("c.recv(2000); c.sendall(b'y' * 3000)")
        wanted = {"sent": 1000, "received": 3000, "opened": 1, "closed": 0, "open": 1}
        wait_until(lambda: flow(node, client, "outbound") == wanted, "the half-closed client's count")
        assert flow(node, server, "inbound") == mirrored(wanted)
        far("c.sendall(b'y' * 500); c.close()")
        near("len([iter(lambda: s.recv(9999), b'')])")
    wanted = {**wanted, "received": 3500, "closed": 1, "open": 0}
    assert settled(node, client, "outbound", 1) == wanted
    assert settled(node, server, "inbound", 1) == mirrored(wanted)


def test_two_thousand_short_connections_are_two_thousand(node):
    client, server = pod_of(node, "short"), pod_of(node, "short-server")
    server.serve("[::]:8080", options=["--no-greet"])
    answers = client.connect(f"{server.ip}:8080", options=["--count=2000", "--no-greet", "--send=3"])
    assert settled(node, client, "outbound", 2000) == books(answers)
    assert settled(node, server, "inbound", 2000) == mirrored(books(answers))


def test_scrapes_during_a_transfer_count_nothing_twice(node):
    """Live sockets are folded at each scrape and at their end: each byte once."""
    client, server = pod_of(node, "scraped"), pod_of(node, "scraped-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    transfers = [client.popen([PROBE, "connect", f"{server.ip}:8080", "--no-greet", "--send=30000000", "--shutdown"]) for _ in range(3)]
    seen = [0]
    while any(transfer.poll() is None for transfer in transfers):
        seen.append(flow(node, client, "outbound")["sent"])
    assert seen == sorted(seen)
    wanted = {"sent": 90 * MEGA, "received": 0, "opened": 3, "closed": 3, "open": 0}
    assert settled(node, client, "outbound", 3) == wanted
    assert settled(node, server, "inbound", 3) == mirrored(wanted)


def test_the_numbers_survive_the_agent():
    """Killed in the middle: a connection that lives on, one that ends and one that begins while no agent runs."""
    with Lab("survive") as lab:
        agent = lab.agent()
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080", mode="sink", options=["--no-greet"])
        with Shell(client) as shell:
            shell(f"a, b = tcp(), tcp(); [s.connect(('{server.ip}', 8080)) or s.sendall(b'x' * 1000) for s in (a, b)] and None")
            assert flow(lab, client, "outbound")["sent"] == 2000
            agent.stop(signal.SIGKILL)
            shell("a.sendall(b'x' * 500); b.sendall(b'x' * 700); b.close()")
            shell(f"c = tcp(); c.connect(('{server.ip}', 8080)); c.sendall(b'x' * 30)")
            lab.agent()
            wanted = {"sent": 3230, "received": 0, "opened": 3, "closed": 1, "open": 2}
            wait_until(lambda: flow(lab, client, "outbound") == wanted, str(wanted))
            shell("a.sendall(b'x' * 7); a.close(); c.close()")
        wanted = {**wanted, "sent": 3237, "closed": 3, "open": 0}
        assert settled(lab, client, "outbound", 3, peer_workload="server") == wanted
        assert settled(lab, server, "inbound", 3, peer_workload="client") == mirrored(wanted)


def test_lost_packets_are_sent_again_and_counted_once(node):
    """Each fifteenth packet with data is dropped on the way; one packet may be many segments, so a matter of chance may not happen."""
    client, server = pod_of(node, "lossy"), pod_of(node, "lossy-server")
    server.serve("[::]:8080", mode="bulk", options=["--send=3000000"])
    addresses = f"ip saddr {{ {client.ip}, {server.ip} }} ip daddr {{ {client.ip}, {server.ip} }}"
    rules = f"table inet loss {{ chain loss {{ type filter hook forward priority 0; {addresses} meta length > 1000 numgen inc mod 15 == 14 drop; }}\n}}\n"
    net.in_netns(node.node.name, "nft", "-f", "-", stdin=rules)
    try:
        answer = client.connect(f"{server.ip}:8080", options=["--send=3000000", "--shutdown", "--timeout=60"])
        count = books(answer)
        assert settled(node, client, "outbound", 1) == count
        assert settled(node, server, "inbound", 1) == mirrored(count)
    finally:
        net.in_netns(node.node.name, "nft", "delete", "table", "inet", "loss")
    for pod in (client, server):
        assert total(metrics(node), "weir_tcp_retransmitted_segments_total", workload=pod.name) > 0


# -- what failed -----------------------------------------------------------------------------------------------------------

def test_failed_connections_have_a_reason(node):
    client, server = pod_of(node, "failing"), pod_of(node, "failing-server")
    net.in_netns(client.netns, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1", "net.ipv4.tcp_syn_linear_timeouts=0", check=False)
    net.in_netns(server.netns, "nft", "-f", "-", stdin="table ip t { chain c { type filter hook input priority 0; tcp dport 81 drop; }\n}\n")
    wanted = {"ECONNREFUSED": f"{server.ip}:80", "EHOSTUNREACH": "10.99.0.1:80", "ETIMEDOUT": f"{server.ip}:81"}
    assert client.connect(wanted["ECONNREFUSED"], options=["--count=3"])[0]["errno"] == "ECONNREFUSED"
    assert client.connect(wanted["EHOSTUNREACH"], options=["--timeout=5"])["errno"] in ("EHOSTUNREACH", "ENETUNREACH")
    assert client.connect(wanted["ETIMEDOUT"], options=["--timeout=10"])["errno"] == "ETIMEDOUT"
    client.connect(wanted["ETIMEDOUT"], options=["--timeout=0.1", "--count=2"])  # given up by the caller
    wait_until(lambda: sum(failures(node, client).values()) == 7, "seven failures")
    assert failures(node, client) == {"refused": 3, "unreachable": 1, "timeout": 1, "aborted": 2}
    assert flow(node, client, "outbound") == NOTHING


def test_verdicts_have_a_reason(node):
    """One for each connection of a captured pod, as it went."""
    pod, peer = pod_of(node, "judged", mesh="istio"), pod_of(node, "judge")
    peer.serve("[::]:80", "[::]:15020")
    peer.connect(f"{pod.ip}:8080")
    pod.connect(f"{peer.ip}:80", options=["--count=2"], uid=APP)
    proxy = start_proxy(pod)
    pod.serve("[::]:15020", uid=PROXY)
    pod.connect(f"{peer.ip}:80", options=["--count=3"], uid=APP)
    pod.connect(f"{peer.ip}:80", uid=PROXY)
    pod.connect(f"{peer.ip}:80", uid=APP, gid=PROXY)
    pod.connect("127.0.0.1:15020", uid=APP)
    peer.connect(f"{pod.ip}:8080", options=["--count=4"])
    peer.connect(f"{pod.ip}:15020")
    proxy.stop()
    pod.connect(f"{peer.ip}:80", uid=APP)
    peer.connect(f"{pod.ip}:8080")

    def verdicts():
        return {tuple(dict(labels)[key] for key in ("direction", "verdict", "reason")): int(value) for (name, labels), value in metrics(node).items()
                if name == "weir_verdicts_total" and ("workload", pod.name) in labels}

    wanted = {("outbound", "refuse", "before_proxy"): 2, ("outbound", "redirect", "all_included"): 3, ("outbound", "direct", "proxy_uid"): 1,
              ("outbound", "direct", "proxy_gid"): 1, ("outbound", "direct", "port_excluded"): 1, ("outbound", "refuse", "proxy_down"): 1,
              ("inbound", "refuse", "before_proxy"): 1, ("inbound", "redirect", "all_included"): 4, ("inbound", "direct", "port_excluded"): 1,
              ("inbound", "refuse", "proxy_down"): 1}
    assert verdicts() == wanted


# -- labels ----------------------------------------------------------------------------------------------------------------

def series(lab, pod, name="weir_tcp_connections_opened_total"):
    """The labels of a workload's series."""
    return [dict(labels) for (have, labels), _ in metrics(lab).items() if have == name and ("workload", pod.name) in labels]


def test_a_dialled_service_is_named(node):
    """A ClusterIP, dialled directly and through the proxy; the workload behind it, or that there are several."""
    backend, other, client = pod_of(node, "backend"), pod_of(node, "backend2"), pod_of(node, "caller")
    captured = pod_of(node, "caller-mesh", mesh="istio")
    start_proxy(captured)
    for pod in (backend, other):
        pod.serve("[::]:8080")
    before = total(metrics(node), "weir_map_entries", map="weir_peers")
    node.service("one", "10.96.1.1", {80: 8080}, [backend])
    node.service("two", "10.96.1.2", {80: 8080}, [backend, other])
    wait_until(lambda: total(metrics(node), "weir_map_entries", map="weir_peers") == before + 2, "the Services to be known")
    for pod, via in ((client, "direct"), (captured, "proxy")):
        for ip in ("10.96.1.1", "10.96.1.2"):
            assert pod.connect(f"{ip}:80", uid=APP)["ok"]
        got = {(one["peer_service"], one["peer_workload"], one["port"], one["via"]) for one in series(node, pod)}
        assert got == {("one", "backend", "80", via), ("two", "several", "80", via)}


def test_peers_that_are_no_pods(node):
    """Outside the cluster, unknown, and a node."""
    pod = pod_of(node, "lonely")
    for ip in ("192.0.2.1", "10.99.0.1"):
        pod.connect(f"{ip}:80", options=["--timeout=4"])
    got = {one["peer_workload"] for one in series(node, pod, "weir_tcp_connections_failed_total")}
    assert got == {"external", "unknown"}


def test_ephemeral_ports_fold_unless_named(node):
    client, server = pod_of(node, "dialler"), pod_of(node, "ephemeral", ports=[40001])
    server.serve("[::]:40000", "[::]:40001", "[::]:8080")
    client.connect(*[f"{server.ip}:{port}" for port in (40000, 40001, 8080)])
    assert {one["port"] for one in series(node, client)} == {"dynamic", "40001", "8080"}


def test_the_workload_is_the_owner(node):
    pods = {"Deployment": "made-by-deployment", "StatefulSet": "made-by-statefulset", "DaemonSet": "made-by-daemonset", "Job": "made-by-job"}
    server = pod_of(node, "owned-server")
    server.serve("[::]:8080")
    for kind, name in pods.items():
        pod = node.pod(f"pod-of-{name}", owner=f"{kind}/{name}")
        wait_state(node, pod.write(), "not_captured")
        assert pod.connect(f"{server.ip}:8080")["ok"]
    got = {(one["peer_workload"]) for one in series(node, server)}
    assert got == set(pods.values())
    kinds = {(dict(labels)["workload"], dict(labels)["workload_kind"]) for (name, labels), _ in metrics(node).items()
             if name == "weir_tcp_connections_opened_total" and dict(labels)["workload"] in pods.values()}
    assert kinds == {(name, kind) for kind, name in pods.items()}


# -- the endpoint ----------------------------------------------------------------------------------------------------------

def test_promtool_finds_nothing_to_complain_about(node):
    text = node.agents[-1].get("/metrics")[1]
    done = run("promtool", "check", "metrics", stdin=text, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_maps_of_the_design_are_listed(node):
    maps = {dict(labels)["map"] for (name, labels), _ in metrics(node).items() if name == "weir_map_entries"}
    assert {"weir_pods", "weir_flows", "weir_origdst"} <= maps
    assert not [name for name in maps if "." in name]


def test_hooks_and_pods_are_reported(node):
    now = metrics(node)
    assert total(now, "weir_hook_attached") == len([1 for name, _ in now if name == "weir_hook_attached"]) >= 7
    assert total(now, "weir_pods") == len([1 for name, _ in now if name == "weir_pod_info"]) > 0
    assert total(now, "weir_untracked_sockets_total") == total(now, "weir_events_lost_total") == total(now, "weir_flow_overflow_total") == 0


@pytest.mark.parametrize("path,status", [("/", 200), ("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/nothing", 404), ("/metrics/", 404),
                                         ("/metrics?x=y", 200)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_http(node, path, status, method):
    """HEAD answers as GET does, without a body."""
    agent = node.agents[-1]
    request = urllib.request.Request(f"http://127.0.0.1:{agent.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            got, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        got, body = error.code, error.read()
    assert got == status
    assert bool(body) == (method == "GET")


def test_other_methods_are_not_allowed(node):
    request = urllib.request.Request(f"http://127.0.0.1:{node.agents[-1].port}/metrics", method="POST", data=b"x")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=10)
    assert error.value.code == 405


# -- a full table ----------------------------------------------------------------------------------------------------------

def fill_flows(lab):
    """Puts flows of nobody into weir_flows until no more fits."""
    path = lab.bpf_dir / "weir_flows"
    shape = json.loads(run(BPFTOOL, "-j", "map", "show", "pinned", path).stdout)
    one = " ".join(["1", "0", "0", "0", "0", "0", "0", "0"])
    lines = [f"map update pinned {path} key hex {(1000 + i).to_bytes(4, 'little').hex(' ')} {' '.join(['0'] * 20)} value hex {' '.join([one] * (shape['bytes_value'] // 8))} noexist"
             for i in range(shape["max_entries"])]
    run(BPFTOOL, "batch", "file", "-", stdin="\n".join(lines) + "\n", check=False)  # ends at the first that does not fit


def test_a_full_table_keeps_the_sums_right():
    """What has no place of its own is counted under "other", and that it was is counted as well."""
    with Lab("overflow") as lab:
        lab.agent("--metrics.max-flows=1000")
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080")
        fill_flows(lab)
        answers = client.connect(f"{server.ip}:8080", options=["--send=10000", "--count=3"])
        other = {"peer_workload": "other", "port": "other"}
        assert settled(lab, client, "outbound", 3, **other) == books(answers)
        assert settled(lab, server, "inbound", 3, **other) == mirrored(books(answers))
        assert total(metrics(lab), "weir_flow_overflow_total") == 6

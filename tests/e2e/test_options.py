# SPDX-License-Identifier: Apache-2.0
"""Options of the accounting: connections within a pod, a series for each pod. Without them there is nothing of it."""

import pytest

from lab import Lab
from lab.agent import total
from lab.command import WEIR, run, wait_until
from books import NOTHING, books, flow, metrics, pod_of, settled
from support import APP, PROXY, Shell, start_proxy, wait_state

LOCAL, LABEL = "--metrics.pod-local", "--metrics.pod-label"


# -- within a pod ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def local():
    with Lab("podlocal") as lab:
        lab.agent(LOCAL)
        yield lab


def test_connections_within_a_pod_count_once(local):
    """Where they are dialled, as outbound ones to the workload itself."""
    pod = pod_of(local, "inner")
    pod.serve("[::]:8080", mode="sink")
    answers = [pod.connect(to, options=["--send=5000", "--shutdown"]) for to in
               ("127.0.0.1:8080", "[::1]:8080", f"{pod.ip}:8080", f"[{pod.ipv6}]:8080")]
    labels = {"via": "direct", "port": "8080", "peer_workload": pod.name, "peer_namespace": pod.namespace}
    assert settled(local, pod, "outbound", 4, **labels) == books(answers)
    assert flow(local, pod, "inbound") == NOTHING


def test_connections_within_a_captured_pod(local):
    """Its own to itself; the proxy's last leg stays a leg; a call to itself through the proxy is one of the workload's."""
    pod, peer = pod_of(local, "captured", mesh="istio"), pod_of(local, "outside")
    pod.serve("[::]:8080", uid=APP)
    peer.serve("[::]:8080")
    start_proxy(pod)
    inner = pod.connect("127.0.0.1:8080", options=["--send=100"], uid=APP)
    assert settled(local, pod, "outbound", 1, via="direct", peer_workload=pod.name) == books(inner)
    leg = pod.connect("127.0.0.1:8080", options=["--send=300", "--bind=127.0.0.6"], uid=PROXY)
    outside = pod.connect(f"{peer.ip}:8080", options=["--send=500"], uid=APP)
    assert settled(local, pod, "outbound", 1, via="proxy", peer_workload=peer.name) == books(outside)
    wait_until(lambda: total(metrics(local), "weir_proxy_tcp_connections_closed_total", workload=pod.name, leg="application") == 1, "the leg")
    assert total(metrics(local), "weir_proxy_tcp_sent_bytes_total", workload=pod.name, leg="application") == leg["sent"]
    assert flow(local, pod, "outbound")["opened"] == 2
    assert flow(local, pod, "inbound") == NOTHING


def test_connections_within_a_pod_that_were_there_before(local):
    """From when their pod is known: those that dialled."""
    pod = local.pod("before", owner="Deployment/before")
    with Shell(pod) as shell:
        shell("l = tcp(); l.bind(('127.0.0.1', 8080)); l.listen(8); s = tcp(); s.connect(('127.0.0.1', 8080)); c = l.accept()[0]")
        shell("s.sendall(b'x' * 700); len(c.recv(999))")
        wait_state(local, pod.write(), "not_captured")
        shell("s.sendall(b'x' * 11); c.sendall(b'y' * 13); s.recv(99), c.recv(99)")
        found = {"sent": 11, "received": 13, "opened": 1, "closed": 0, "open": 1}
        wait_until(lambda: flow(local, pod, "outbound", peer_workload=pod.name) == found, "the bytes from then on")
        shell("s.close(); c.close()")
    assert settled(local, pod, "outbound", 1) == {**found, "closed": 1, "open": 0}
    assert flow(local, pod, "inbound") == NOTHING


def test_the_flag_holds_from_then_on():
    """What was dialled before it was given, or is after it was taken back, is not counted."""
    with Lab("podlocaloff") as lab:
        lab.agent()
        pod = pod_of(lab, "switch")
        pod.serve("[::]:8080")
        for options, count in (((), 0), ((LOCAL,), 1), ((), 1)):
            lab.agents[-1].stop()
            lab.agent(*options)
            wait_state(lab, pod, "not_captured")
            assert pod.connect("127.0.0.1:8080")["ok"]
            assert settled(lab, pod, "outbound", count)["opened"] == count


# -- a series for each pod -------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def labelled():
    with Lab("podlabel") as lab:
        lab.agent(LABEL)
        yield lab


def replica(lab, workload, index, **options):
    pod = lab.pod(f"{workload}-{index}", owner=f"Deployment/{workload}", **options)
    pod.write()
    return wait_state(lab, pod, "captured" if options.get("mesh") else "not_captured")


def sent(lab, workload):
    """Bytes by pod."""
    found = {}
    for (name, labels), value in metrics(lab).items():
        have = dict(labels)
        if name == "weir_tcp_sent_bytes_total" and have["workload"] == workload:
            found[have.get("pod")] = found.get(have.get("pod"), 0) + int(value)
    return found


def bulk(pod, server, size):
    return pod.connect(f"{server.ip}:8080", options=[f"--send={size}", "--shutdown"])


def test_each_pod_has_its_series(labelled):
    """Labels of the workload stay; peers are workloads, and verdicts are told apart as well."""
    one, two = replica(labelled, "twins", 1), replica(labelled, "twins", 2)
    captured = replica(labelled, "refused", 1, mesh="istio")
    server = replica(labelled, "store", 1)
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    bulk(one, server, 1000), bulk(two, server, 2000)
    wait_until(lambda: sent(labelled, "twins") == {"twins-1": 1000, "twins-2": 2000}, "both series")
    now = metrics(labelled)
    assert total(now, "weir_tcp_received_bytes_total", workload="store", pod="store-1", direction="inbound", peer_workload="twins") == 3000
    assert not captured.connect(f"{server.ip}:8080", uid=APP)["ok"]
    assert total(metrics(labelled), "weir_verdicts_total", workload="refused", pod="refused-1", verdict="refuse") == 1


def test_series_of_a_pod_that_is_gone_disappear(labelled):
    """After its connections have ended and its last figures were seen; those of its sibling stay as they are."""
    one, two, server = replica(labelled, "pair", 1), replica(labelled, "pair", 2), replica(labelled, "sink", 1)
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    bulk(two, server, 20)
    with Shell(one) as shell:
        shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 100)")
        one.remove_file()
        wait_until(lambda: all(pod["name"] != one.name for pod in labelled.weir("pods", "-o", "json")["pods"]), "the pod to be let go")
        for _ in range(8):
            assert sent(labelled, "pair") == {"pair-1": 100, "pair-2": 20}
        shell("s.sendall(b'x' * 11); s.close()")
        seen = []

        def is_gone():
            seen.append(sent(labelled, "pair"))
            return "pair-1" not in seen[-1]

        wait_until(is_gone, "the series to disappear")
    assert {"pair-1": 111, "pair-2": 20} in seen
    assert seen[-1] == sent(labelled, "pair") == {"pair-2": 20}


def test_over_a_restart_with_and_without(labelled):
    """The figures of each pod go on; without the label those that were counted with it keep it until they are gone."""
    one, server = replica(labelled, "lasting", 1), replica(labelled, "lasting-sink", 1)
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    bulk(one, server, 100)
    wait_until(lambda: sent(labelled, "lasting") == {"lasting-1": 100}, "the first count")
    labelled.agents[-1].stop()
    labelled.agent(LABEL)
    bulk(one, server, 11)
    wait_until(lambda: sent(labelled, "lasting") == {"lasting-1": 111}, "the count after a restart")
    labelled.agents[-1].stop()
    labelled.agent()
    wait_state(labelled, one, "not_captured")
    bulk(one, server, 7)
    assert sent(labelled, "lasting") == {"lasting-1": 111, None: 7}
    wait_until(lambda: sent(labelled, "lasting") == {None: 7}, "the series with the label to be gone")
    labelled.agents[-1].stop()
    labelled.agent(LABEL)
    wait_state(labelled, one, "not_captured")
    bulk(one, server, 3)
    wait_until(lambda: sent(labelled, "lasting") == {"lasting-1": 3}, "only the series with the label")


def test_nothing_is_kept_for_flags_that_are_not_given():
    """No table, so no memory."""
    with Lab("traitsoff") as lab:
        lab.agent()
        assert not (lab.bpf_dir / "weir_traits").exists()
        assert not any("weir_traits" in dict(labels).values() for _, labels in metrics(lab))


def test_top_adds_up_the_pods_of_a_workload(labelled):
    one, two, server = replica(labelled, "summed", 1), replica(labelled, "summed", 2), replica(labelled, "summed-sink", 1)
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Shell(one) as first, Shell(two) as second:
        for shell in (first, second):
            shell(f"s = tcp(); s.connect(('{server.ip}', 8080))")
        text = labelled.weir("top", "-b", "-n", "1", "-d", "1", "--filter=default/summed").stdout
    rows = [line.split() for line in text.splitlines() if line.startswith("default/summed ")]
    assert len(rows) == 1 and rows[0][4] == "2", text


# -- sizes of tables -------------------------------------------------------------------------------------------------------

def of_map(lab, name, table):
    return total(metrics(lab), name, map=table)


def test_tables_have_the_size_that_is_asked_for():
    """What does not fit is told, and fits when something else goes; a table that is pinned keeps its size."""
    with Lab("sizes") as lab:
        lab.agent("--map-size=weir_peers=6", "--map-size=weir_verdicts=1", "--map-size=weir_listeners=77")
        assert of_map(lab, "weir_map_max_entries", "weir_peers") == 6
        assert of_map(lab, "weir_map_max_entries", "weir_listeners") == 77
        assert of_map(lab, "weir_map_max_entries", "weir_names") == 65536
        first = pod_of(lab, "first", ipv6=None)
        own = of_map(lab, "weir_map_entries", "weir_peers") - 1  # the machine's own addresses are peers, too
        others = [pod_of(lab, f"other-{index}", ipv6=None) for index in range(8)]
        wait_until(lambda: of_map(lab, "weir_map_full_total", "weir_peers") >= 3 + own, "addresses that did not fit")
        assert of_map(lab, "weir_map_entries", "weir_peers") == 6
        for pod in others:
            pod.serve("0.0.0.0:8080")
            assert first.connect(f"{pod.ip}:8080")["ok"]

        def dialled():
            return {dict(labels)["peer_workload"] for (name, labels), value in metrics(lab).items()
                    if name == "weir_tcp_connections_opened_total" and {("workload", "first"), ("direction", "outbound")} <= labels}

        assert "unknown" in dialled() and settled(lab, first, "outbound", 8)["opened"] == 8
        lab.agents[-1].stop()
        agent = lab.agent("--map-size=weir_peers=1000")
        assert of_map(lab, "weir_map_max_entries", "weir_peers") == 6 and "keeps its size" in agent.stderr()
        assert of_map(lab, "weir_map_max_entries", "weir_listeners") == 77
        agent.stop()
        lab.weir("cleanup")
        lab.agent("--map-size=weir_peers=1000")
        wait_until(lambda: of_map(lab, "weir_map_entries", "weir_peers") == own + 9, "all addresses to fit")
        assert of_map(lab, "weir_map_full_total", "weir_peers") == 0


def test_names_that_do_not_fit():
    with Lab("names") as lab:
        lab.agent("--map-size=weir_names=2")
        pods = [pod_of(lab, f"named-{index}") for index in range(4)]
        pods[0].serve("0.0.0.0:8080")
        answers = [pod.connect(f"{pods[0].ip}:8080") for pod in pods[1:]]
        wait_until(lambda: total(metrics(lab), "weir_tcp_connections_closed_total", direction="outbound") == 3, "three connections")
        now = metrics(lab)
        assert total(now, "weir_tcp_sent_bytes_total", direction="outbound") == sum(answer["sent"] for answer in answers)
        assert total(now, "weir_tcp_connections_opened_total", direction="outbound", workload="other") == 2
        assert total(now, "weir_map_full_total", map="weir_names") > 0


@pytest.mark.parametrize("wrong", ["weir_flows=5", "weir_peers", "weir_peers=", "weir_peers=0", "weir_peers=1x", "peers=5", "=5"])
def test_wrong_sizes_are_refused(wrong):
    done = run(WEIR, "agent", f"--map-size={wrong}", check=False)
    assert done.returncode and f"--map-size={wrong}: " in done.stderr and "weir_peers" in done.stderr

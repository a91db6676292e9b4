# SPDX-License-Identifier: Apache-2.0
"""The tables of the accounting are bounded, and what is in them lasts as long as somebody needs it."""

import http.client
import signal
import socket
import struct
import threading
import time

from books import FIELDS, NOTHING, books, flow, flow_in, metrics, mirrored, pod_of, settled, wanted
from lab import Lab
from lab.agent import parse_metrics, total
from lab.command import PROBE, wait_until
from support import Shell, dual_stack, known, start_proxy, wait_state


def in_use(lab, name):
    return int(total(metrics(lab), "weir_map_entries", map=name))


def shows(now, pod):
    return any(("workload", pod.name) in labels and name.startswith(("weir_tcp_", "weir_verdicts")) for name, labels in now)


def is_shown(lab, pod):
    return shows(metrics(lab), pod)


def gone(lab, pod):
    wait_until(lambda: known(lab, pod) is None, f"{pod.name} to be let go")


# -- what is freed, and when -----------------------------------------------------------------------------------------------

def test_a_workload_that_left_is_shown_to_the_last_and_then_freed(node):
    """Its last figures are in three scrapes at least; then nothing of it is left, and its peer's figures stand."""
    server = pod_of(node, "stays")
    server.serve("[::]:8080")
    tables = ("weir_flows", "weir_names", "weir_verdicts")
    before = {name: in_use(node, name) for name in tables}
    client = pod_of(node, "leaves")
    answers = client.connect(f"{server.ip}:8080", options=["--send=1000", "--count=3"])
    settled(node, client, "outbound", 3)
    client.delete()
    gone(node, client)
    seen = []
    for _ in range(12):
        now = metrics(node)
        if flow_in(now, client, "outbound") == NOTHING:
            break
        seen.append(flow_in(now, client, "outbound"))
    assert len(seen) >= 3 and seen == [books(answers)] * len(seen)
    wait_until(lambda: not is_shown(node, client), "the series to disappear")
    assert flow(node, server, "inbound", peer_workload="leaves") == mirrored(books(answers))
    # the server has a flow more, with the name of its peer
    wait_until(lambda: {name: in_use(node, name) for name in tables} == {**before, "weir_flows": before["weir_flows"] + 1,
                                                                         "weir_names": before["weir_names"] + 1}, "the tables to be freed")


def test_a_workload_whose_connection_lives_on_is_not_freed(node):
    """Its process holds the socket beyond the pod's object."""
    client, server = pod_of(node, "lingers"), pod_of(node, "lingers-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Shell(client) as shell:
        shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 100)")
        client.remove_file()
        gone(node, client)
        for step in range(1, 8):
            assert flow(node, client, "outbound") == wanted(sent=100 * step, closed=0)
            shell("s.sendall(b'x' * 100)")
        shell("s.close()")
    assert settled(node, client, "outbound", 1) == wanted(sent=800)
    wait_until(lambda: not is_shown(node, client), "the series to disappear")


def test_a_replaced_pod_goes_on_counting(node):
    """Same workload, another pod, the same address: the figures go on; another workload at that address begins at nothing."""
    server = pod_of(node, "replaced-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    sent = 0
    for generation in range(3):
        pod = node.pod(f"replaced-{generation}", owner="Deployment/replaced", ip="10.244.7.7")
        wait_state(node, pod.write(), "not_captured")
        pod.connect(f"{server.ip}:8080", options=["--no-greet", "--send=1000", "--shutdown"])
        sent += 1000
        now = {"namespace": "default", "workload": "replaced"}
        wait_until(lambda: total(metrics(node), FIELDS["closed"], **now) == sent // 1000, "the connection to be closed")
        assert total(metrics(node), FIELDS["sent"], **now) == sent
        pod.delete()
        gone(node, pod)
        for _ in range(6):  # somebody who looks for the next one
            metrics(node)
    other = node.pod("usurper", owner="Deployment/usurper", ip="10.244.7.7")
    wait_state(node, other.write(), "not_captured")
    other.connect(f"{server.ip}:8080", options=["--no-greet", "--send=5", "--shutdown"])
    assert settled(node, other, "outbound", 1) == wanted(sent=5)
    assert flow(node, server, "inbound", peer_workload="replaced") == wanted(received=3000, opened=3)
    assert flow(node, server, "inbound", peer_workload="usurper") == wanted(received=5)


# -- who has seen it -------------------------------------------------------------------------------------------------------

def departed(lab, name):
    """A workload that has counted a connection and left."""
    server = pod_of(lab, f"{name}-server")
    server.serve("[::]:8080")
    client = pod_of(lab, name)
    client.connect(f"{server.ip}:8080")
    settled(lab, client, "outbound", 1)
    client.delete()
    gone(lab, client)
    return client


def scrape_from(lab, address, method="GET"):
    """One scrape by a client of this address: what it was told."""
    connection = http.client.HTTPConnection("127.0.0.1", lab.agents[-1].port, timeout=10, source_address=(address, 0))
    try:
        connection.request(method, "/metrics", headers={"Connection": "close"})
        return parse_metrics(connection.getresponse().read().decode())
    finally:
        connection.close()


def hang_up(lab, read, address="127.0.0.1"):
    """A scrape whose client reads so many bytes and ends as a process does that is killed."""
    with socket.create_connection(("127.0.0.1", lab.agents[-1].port), timeout=10, source_address=(address, 0)) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(read)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_what_was_not_read_was_not_seen(node):
    """Neither by HEAD nor by clients that are cut off in the middle."""
    pod = departed(node, "unread")
    for _ in range(6):
        hang_up(node, 100, "127.0.0.3")
        scrape_from(node, "127.0.0.3", "HEAD")
    assert shows(scrape_from(node, "127.0.0.3"), pod)
    wait_until(lambda: not is_shown(node, pod), "the series to disappear")


def test_every_scraper_sees_the_last_figures(node):
    """One comes often, another one seldom; a third has come once, and nobody waits for it."""
    near, far = "127.0.0.1", "127.0.0.2"
    for _ in range(2):
        scrape_from(node, near)
        scrape_from(node, far)
    scrape_from(node, "127.0.0.4")
    pod = departed(node, "seldom")
    for _ in range(12):
        assert shows(scrape_from(node, near), pod)
    assert shows(scrape_from(node, far), pod)
    wait_until(lambda: not shows(scrape_from(node, near), pod), "the series to disappear")


# -- bounds ----------------------------------------------------------------------------------------------------------------

def test_a_small_table_keeps_the_sums_right():
    """A scan of ports fills the table; what has no place is in "other", places are free again when the scanner is gone."""
    with Lab("small") as lab:
        lab.agent("--metrics.max-flows=40")
        client, server = pod_of(lab, "scanner"), pod_of(lab, "scanned")
        server.serve(*[f"[::]:{port}" for port in range(1000, 1060)])
        answers = client.connect(*[f"{server.ip}:{port}" for port in range(1000, 1060)], options=["--send=100"])
        assert settled(lab, client, "outbound", 60) == books(answers)
        assert settled(lab, server, "inbound", 60) == mirrored(books(answers))
        lost = total(metrics(lab), "weir_flow_overflow_total")
        assert lost >= 80
        other = flow(lab, client, "outbound", peer_workload="other")["opened"] + flow(lab, server, "inbound", peer_workload="other")["opened"]
        assert other == lost
        client.delete()
        gone(lab, client)
        wait_until(lambda: not is_shown(lab, client), "the series to disappear")
        late = pod_of(lab, "late")
        answer = late.connect(f"{server.ip}:1000")
        assert settled(lab, late, "outbound", 1, peer_workload="scanned", port="1000") == books(answer)
        assert total(metrics(lab), "weir_flow_overflow_total") == lost
        lab.agents[-1].stop()
        lab.agent("--metrics.max-flows=80")
        assert flow(lab, late, "outbound") == books(answer)


def test_a_scan_of_a_captured_pod_makes_no_series_without_bound():
    """A proxy accepts any port. Sums stay right, a port that something names has its series all the same, and places are freed."""
    ports = range(1000, 1700)
    with Lab("scan") as lab:
        lab.agent()
        pod = lab.pod("victim", mesh="istio", owner="Deployment/victim")
        item = dual_stack(pod)
        item["spec"]["containers"][0]["ports"] = [{"containerPort": 1690}]
        pod.write(item)
        wait_state(lab, pod)
        start_proxy(pod)
        scanner = pod_of(lab, "scanner")
        answers = []
        for first in range(0, len(ports), 50):
            answers += scanner.connect(*[f"{pod.ip}:{port}" for port in ports[first:first + 50]], options=["--send=10"])
        answers.append(scanner.connect(f"{pod.ip}:1001", options=["--send=10"]))  # one that has its place
        assert settled(lab, pod, "inbound", 701) == mirrored(books(answers))
        assert settled(lab, scanner, "outbound", 701) == books(answers)
        now = metrics(lab)
        for one, direction in ((pod, "inbound"), (scanner, "outbound")):
            found = {dict(labels)["port"]: value for (name, labels), value in now.items()
                     if name == FIELDS["opened"] and {("workload", one.name), ("direction", direction)} <= labels}
            assert len(found) == 256 + 2 and found["1690"] == 1 and found["1001"] == 2 and found["other"] == 701 - 256 - 2
        assert total(now, "weir_flow_overflow_total") == 2 * (701 - 256 - 2)
        assert total(now, "weir_map_entries", map="weir_flow_ports") == 2 * 257
        assert total(now, "weir_map_full_total", map="weir_flow_ports") > 0 == total(now, "weir_map_full_total", map="weir_flows")
        scanner.delete()
        gone(lab, scanner)
        wait_until(lambda: in_use(lab, "weir_flow_ports") == 257, "the scanner's places to be freed")


def elsewhere(lab, name, ip):
    """A pod of its own that another node runs."""
    lab.write_object({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": "another"},
                      "status": {"podIP": ip, "phase": "Running"}})


def leaves(lab, *names):
    for name in names:
        (lab.pods_dir / f"pod_default_{name}.json").unlink()


def test_peers_that_come_and_go_leave_room_for_others():
    """A table that is three quarters full loses what it has of peers that have left the cluster, when all scrapers have seen it, and has new ones by name."""
    with Lab("churning") as lab:
        lab.agent("--metrics.max-flows=40")
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080", mode="sink", options=["--no-greet"])
        peers = lambda: {dict(labels)["peer_workload"] for (name, labels), _ in metrics(lab).items()
                         if name.startswith("weir_tcp_connections_failed") and ("workload", "client") in labels}
        known_to = lambda number: wait_until(lambda: in_use(lab, "weir_peers") == before + number, f"{number} peers to be known")
        with Shell(client, uid=0) as shell:
            shell("import fcntl\ndef dial(*to):\n for a in to:\n  s = tcp(); s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 1); s.setblocking(False); s.connect_ex((a, 80)); s.close()")
            shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 100)")
            before = in_use(lab, "weir_peers")
            address = lambda i: f"10.244.99.{i + 1}"
            for i in range(25):
                elsewhere(lab, f"job-{i}", address(i))
            known_to(25)
            shell(f"dial(*{[address(i) for i in range(25)]})")
            assert peers() == {f"job-{i}" for i in range(25)}
            leaves(lab, *[f"job-{i}" for i in range(25)])
            known_to(0)
            for _ in range(5):
                assert len(peers()) == 25  # there is room
                time.sleep(1.2)
            for i in range(25, 35):
                elsewhere(lab, f"job-{i}", address(i))
            known_to(10)
            shell(f"dial(*{[address(i) for i in range(25, 35)]})")
            seen = [peers() for _ in range(3)]
            assert seen == [{f"job-{i}" for i in range(35)}] * 3
            server.remove_file()  # its peer is gone as well, and a connection still there
            gone(lab, server)
            wait_until(lambda: peers() == {f"job-{i}" for i in range(25, 35)}, "those that have left to disappear")
            assert flow(lab, client, "outbound", peer_workload="server") == wanted(sent=100, closed=0)
            before = in_use(lab, "weir_peers")
            elsewhere(lab, "job-0", address(0))
            known_to(1)
            shell(f"dial('{address(0)}'); s.sendall(b'x' * 11); s.close()")
            assert peers() == {f"job-{i}" for i in (0, *range(25, 35))} and total(metrics(lab), "weir_flow_overflow_total") == 0
            assert settled(lab, client, "outbound", 1) == wanted(sent=111)


# -- consistency -----------------------------------------------------------------------------------------------------------

def test_every_scrape_is_consistent():
    """Several scrapers while connections come and go and the agent is killed in the middle of a scrape, again and again."""
    with Lab("scrapes") as lab:
        lab.agent()
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080", options=["--no-greet"])
        traffic = [client.popen([PROBE, "connect", f"{server.ip}:8080", "--no-greet", "--send=50000", "--count=400"], stdout=-1) for _ in range(3)]
        seen, stop = [[] for _ in range(3)], threading.Event()

        def scrape(into):
            while not stop.is_set():
                try:
                    now = metrics(lab)
                except OSError:
                    continue  # no agent at the moment
                if any(name == "weir_pod_info" for name, _ in now):
                    into.append((flow_in(now, client, "outbound"), flow_in(now, server, "inbound")))

        threads = [threading.Thread(target=scrape, args=(one,)) for one in seen]
        for thread in threads:
            thread.start()
        kills = 0
        while kills < 3 and any(one.poll() is None for one in traffic):
            wait_until(lambda: sum(map(len, seen)) > 10 * (kills + 1), "scrapes")
            lab.agents[-1].stop(signal.SIGKILL)
            lab.agent()
            kills += 1
        lines = [line for one in traffic for line in one.communicate(timeout=60)[0].splitlines()]
        stop.set()
        for thread in threads:
            thread.join()
        assert kills > 0 and len(lines) == 1200
        for one in seen:
            for end in (0, 1):
                for field in ("sent", "received", "opened", "closed"):
                    values = [pair[end][field] for pair in one]
                    assert values == sorted(values), field
                assert all(pair[end]["opened"] - pair[end]["closed"] == pair[end]["open"] for pair in one)
        assert settled(lab, client, "outbound", 1200) == wanted(sent=1200 * 50000, received=1200 * 50000, opened=1200)
        assert settled(lab, server, "inbound", 1200) == wanted(sent=1200 * 50000, received=1200 * 50000, opened=1200)

# SPDX-License-Identifier: Apache-2.0
"""weir conns: the connections of the node, compared with what the sockets' owners know; with an agent, and without one."""

import re
import signal

import pytest

from books import pod_of
from lab import Lab
from lab.command import PROBE, WEIR, run, wait_until
from support import PROXY, Shell, start_proxy


def conns(lab, *argv):
    return lab.weir("conns", "-o", "json", *argv)["connections"]


def only(rows):
    assert len(rows) == 1, rows
    return rows[0]


def rows_of(text):
    """The table's lines as lists of words, without the header."""
    return [line.split() for line in text.splitlines()[1:]]


def test_both_ends_of_a_direct_connection(node):
    """Names, addresses and exact bytes, as long as it lives."""
    client, server = pod_of(node, "client"), pod_of(node, "server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Shell(client) as shell:
        shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 12345)")
        local = shell("s.getsockname()")
        wait_until(lambda: only(conns(node, "--pod=server"))["received_bytes"] == 12345, "the bytes to arrive")
        out, back = only(conns(node, "--pod=default/client")), only(conns(node, "--pod=server"))
        for row, direction, peer in ((out, "outbound", "server"), (back, "inbound", "client")):
            assert (row["namespace"], row["workload"], row["workload_kind"]) == ("default", row["pod"], "Deployment")
            assert (row["direction"], row["via"], row["through_proxy"], row["state"]) == (direction, "direct", False, "established")
            assert (row["peer_namespace"], row["peer_workload"], row["peer_service"]) == ("default", peer, "")
            assert row["dialled"] == row["real"] == f"{server.ip}:8080" and row["port"] == 8080
            assert row["reason"] == "not_captured" and row["retransmitted_segments"] == 0
            assert 0 <= row["age_seconds"] < 60
        assert (out["sent_bytes"], out["received_bytes"]) == (12345, 0) == (back["received_bytes"], back["sent_bytes"])
        assert (out["peer_address"], out["peer_port"]) == (server.ip, 8080)
        assert (back["peer_address"], back["peer_port"]) == (local[0], local[1]) == (client.ip, int(out["local"].rpartition(":")[2]))
        assert 0 < out["rtt_seconds"] < 1
        shell("s.sendall(b'x' * 100000)")
        wait_until(lambda: only(conns(node, "--pod=server"))["received_bytes"] == 112345, "more bytes to arrive")
        assert only(conns(node, "--pod=client"))["sent_bytes"] == 112345
        shell("s.close()")
    wait_until(lambda: not conns(node, "--pod=client"), "the connection to end")


def test_a_diverted_connection_shows_what_was_dialled_and_where_it_went(node):
    """The application's own socket; the proxy's end of it only with --all; the legs apart."""
    peer = pod_of(node, "far")
    node.service("shop", "10.96.3.1", {80: 8080}, [peer])
    pod = pod_of(node, "diverted", mesh="istio")  # known when the Service is
    peer.serve("[::]:8080", mode="sink", options=["--no-greet"])
    start_proxy(pod, mode="sink", options=["--no-greet"])
    with Shell(pod) as app, Shell(pod, uid=PROXY, container="istio-proxy") as proxy, Shell(peer) as far:
        app("s = tcp(); s.connect(('10.96.3.1', 80)); s.sendall(b'x' * 1000)")
        proxy(f"l = tcp(); l.connect(('{peer.ip}', 8080)); l.sendall(b'x' * 1000)")
        far(f"s = tcp(); s.connect(('{pod.ip}', 9000)); s.sendall(b'x' * 70)")
        row = only(conns(node, "--pod=diverted", "--via=proxy", "--direction=out"))
        assert (row["dialled"], row["real"], row["peer_service"], row["peer_workload"]) == ("10.96.3.1:80", "127.0.0.1:15001", "shop", "far")
        assert (row["through_proxy"], row["reason"], row["sent_bytes"]) == (True, "all_included", 1000)
        row = only(conns(node, "--pod=diverted", "--direction=in"))
        assert (row["dialled"], row["real"], row["via"], row["peer_workload"]) == (f"{pod.ip}:9000", f"{pod.ip}:15006", "proxy", "far")
        row = only(conns(node, "--pod=diverted", "--via=network-leg"))
        assert (row["dialled"], row["through_proxy"], row["reason"]) == (f"{peer.ip}:8080", False, "proxy_uid")
        assert len(conns(node, "--pod=diverted")) == 3
        row = only(conns(node, "--pod=diverted", "--via=local"))
        assert (row["direction"], row["dialled"], row["real"]) == ("inbound", "10.96.3.1:80", "127.0.0.1:15001")
        assert len(conns(node, "--pod=diverted", "--all")) == 4
        for filters, count in ((["--peer=shop"], 1), (["--peer=default/shop"], 1), (["--peer=10.96.3.1"], 1), (["--peer=10.96.0.0/16"], 1),
                               (["--peer=fa*"], 3), (["--port=80"], 1), (["--port=81"], 0), (["--peer=10.97.0.0/16"], 0),
                               (["--workload=diverted"], 3), (["--workload=default/div*"], 3), (["-n", "default"], 3), (["-n", "other"], 0)):
            assert len(conns(node, "--pod=diverted", *filters)) == count, filters


@pytest.mark.parametrize("family", ["6", "mapped"])
def test_ipv6_and_mapped_sockets(node, family):
    client, server = pod_of(node, f"client-{family}"), pod_of(node, f"server-{family}")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    address = server.ipv6 if family == "6" else f"::ffff:{server.ip}"
    with Shell(client) as shell:
        shell(f"s = tcp(AF_INET6); s.connect(('{address}', 8080)); s.sendall(b'x' * 77)")
        row = only(conns(node, f"--pod={client.name}"))
        assert row["dialled"] == row["remote"] == (f"[{server.ipv6}]:8080" if family == "6" else f"{server.ip}:8080")
        assert (row["peer_workload"], row["sent_bytes"]) == (server.name, 77)


def test_states_and_attempts(node):
    """An attempt that nobody answers, half-closed ends."""
    client, server = pod_of(node, "stateful"), pod_of(node, "stateful-server")
    run("ip", "netns", "exec", server.netns, "nft", "-f", "-", stdin="table ip t { chain c { type filter hook input priority 0; tcp dport 81 drop; }\n}\n")
    with Shell(server) as far, Shell(client) as near:
        far("l = tcp(); l.bind(('0.0.0.0', 8080)); l.listen(8)")
        near(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.shutdown(SHUT_WR)")
        near(f"t = tcp(); t.setblocking(False); t.connect_ex(('{server.ip}', 81))")
        far("c = l.accept()[0]")
        wait_until(lambda: only(conns(node, "--pod=stateful", "--port=8080"))["state"] == "fin_wait2", "the FIN to be acknowledged")
        assert only(conns(node, "--pod=stateful-server"))["state"] == "close_wait"
        attempt = only(conns(node, "--pod=stateful", "--state=SYN-SENT"))
        assert (attempt["dialled"], attempt["sent_bytes"], attempt["received_bytes"]) == (f"{server.ip}:81", 0, 0)
        assert len(conns(node, "--pod=stateful", "--state=fin-wait-2")) == 1
        assert not conns(node, "--pod=stateful", "--state=established")
        near("t.close()")


def test_the_table_fits_a_terminal_and_the_wide_one_tells_all(node):
    """Names are cut in the middle, never numbers."""
    name = "a-very-long-name-of-a-pod-as-deployments-make-them-7d9f8c6b5d-x2k9p"
    client, server = pod_of(node, name), pod_of(node, "another-long-name-of-a-workload-that-serves")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Shell(client) as shell:
        shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 3000)")
        pods = f"--pod={name}"
        text = node.weir("conns", pods).stdout
        assert max(map(len, text.splitlines())) <= 80
        assert text.split()[:9] == ["POD", "DIR", "PEER", "STATE", "SENT", "RECV", "RTT", "AGE", "VIA"]
        row = only(rows_of(text))
        assert re.match(r"def.*~.*k9p$", row[0]) and row[1] == "out" and row[2].endswith(":8080") and row[3] == "ESTAB" and row[4] == "2.9K"
        assert only(rows_of(node.weir("conns", pods, "-b").stdout))[4] == "3000"
        for wide in (["-w"], ["-o", "wide"]):
            text = node.weir("conns", pods, *wide).stdout
            assert f"default/{name}" in text and f"{server.ip}:8080" in text and " 3000 " in text and "not_captured" in text
            assert "outbound" in text


def test_sorting(node):
    client, server = pod_of(node, "sorter"), pod_of(node, "sorter-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Shell(client) as shell:
        shell("c = []")
        for size in (100, 3000, 20):
            shell(f"c.append(tcp()); c[-1].connect(('{server.ip}', 8080)); c[-1].sendall(b'x' * {size})")

        def sent(*argv):
            return [row["sent_bytes"] for row in conns(node, "--pod=sorter", *argv)]

        assert sent("--sort=sent") == [3000, 100, 20] == sent("--sort=sent", "-r")[::-1]
        assert sent("--sort=age") == [100, 3000, 20] == sent("--sort=bytes", "--sort=age")
        both = [row["pod"] for row in conns(node, "--pod=sorter*")]
        assert both == ["sorter"] * 3 + ["sorter-server"] * 3


def test_nothing_is_missed_or_told_twice_while_others_come_and_go(node):
    """Many connections that stay, and a storm of short ones beside them."""
    client, server = pod_of(node, "many"), pod_of(node, "many-server")
    storm, target = pod_of(node, "storm"), pod_of(node, "storm-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    target.serve("[::]:8080", options=["--no-greet"])
    count = 1500
    with Shell(client) as shell:
        shell("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))")
        shell(f"c = [tcp() for _ in range({count})]; [s.connect(('{server.ip}', 8080)) for s in c] and None")
        noise = storm.popen([PROBE, "connect", f"{target.ip}:8080", "--count=20000", "--no-greet", "--send=3"])
        try:
            for _ in range(10):
                rows = conns(node, "--pod=many*")
                for pod in ("many", "many-server"):
                    cookies = [row["socket_cookie"] for row in rows if row["pod"] == pod]
                    assert len(cookies) == len(set(cookies)) == count
            assert noise.poll() is None, "the storm was over too soon"
        finally:
            noise.kill()
            noise.wait()


def test_no_agent_is_needed(node):
    """The agent is killed; connections that were there and one that begins afterwards."""
    with Lab("conns-alone") as lab:
        agent = lab.agent()
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080", mode="sink", options=["--no-greet"])
        with Shell(client) as shell:
            shell(f"a = tcp(); a.connect(('{server.ip}', 8080)); a.sendall(b'x' * 10)")
            agent.stop(signal.SIGKILL)
            shell(f"a.sendall(b'x' * 5); b = tcp(); b.connect(('{server.ip}', 8080)); b.sendall(b'x' * 7)")
            rows = conns(lab, "--pod=client", "--sort=sent")
            assert [(row["sent_bytes"], row["peer_workload"], row["workload"]) for row in rows] == [(15, "server", "client"), (7, "server", "client")]


def test_nothing_to_tell(node):
    """No connection is no error; no weir is one."""
    done = node.weir("conns", "--pod=nobody")
    assert (done.stdout, done.stderr) == ("", "no connections\n")
    assert conns(node, "--pod=nobody") == []
    done = run(WEIR, "conns", f"--bpf-dir={node.bpf_dir}-none", check=False)
    assert done.returncode == 1 and "is the agent running?" in done.stderr and len(done.stderr.splitlines()) == 1

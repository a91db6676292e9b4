# SPDX-License-Identifier: Apache-2.0
"""weir conns -u and weir top with --metrics.udp: UDP sockets and edges of datagrams, with an agent and without one."""

import signal

import pytest

from books import pod_of
from datagrams import Datagrams
from lab import Lab
from lab.command import wait_until
from support import Shell
from test_dns import CLIENT, captured

AGENT_OPTIONS = ("--metrics.udp",)


def sockets(lab, *argv):
    return lab.weir("conns", "-u", "-o", "json", *argv)["connections"]


def only(rows):
    assert len(rows) == 1, rows
    return rows[0]


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_both_ends(node, family, connected):
    """Names, addresses and exact bytes; a socket that is not connected shows its last peer."""
    kind, address = {"IPv4": ("AF_INET", "{ip}"), "IPv6": ("AF_INET6", "{ipv6}")}[family]
    with Datagrams(node, f"ends-{family.lower()}-{int(connected)}") as pair:
        to = address.format(ip=pair.server.ip, ipv6=pair.server.ipv6)
        pair.near(f"s = udp({kind}); " + (f"s.connect(('{to}', 5000)); s.send(bytes(70)); s.send(bytes(7))" if connected else
                                          f"s.sendto(bytes(70), ('{to}', 5000)); s.sendto(bytes(7), ('{to}', 5000))"))
        pair.far("echo(s, 1)")
        pair.near("take(s, 1)")
        port = pair.near("s.getsockname()[1]")
        near, far = only(sockets(node, f"--pod={pair.client.name}")), only(sockets(node, f"--pod={pair.server.name}"))
        assert (near["protocol"], near["direction"], near["via"], near["reason"]) == ("udp", "outbound", "direct", "not_tcp")
        assert near["state"] == ("established" if connected else "unconnected") and far["state"] == "unconnected"
        assert (near["sent_bytes"], near["received_bytes"], near["peer_workload"]) == (77, 70, pair.server.name)
        assert (far["direction"], far["sent_bytes"], far["received_bytes"], far["peer_workload"]) == ("inbound", 70, 77, pair.client.name)
        shown = f"[{to}]:5000" if ":" in to else f"{to}:5000"
        assert near["dialled"] == near["remote"] == near["real"] == shown and near["port"] == far["port"] == 5000
        assert (far["peer_address"], far["peer_port"]) == (address.format(ip=pair.client.ip, ipv6=pair.client.ipv6), port)
        assert near["rtt_seconds"] is None and near["retransmitted_segments"] is None and 0 <= near["age_seconds"] < 60
        name = f"--pod={pair.client.name}"
        for argv, count in (([], 1), (["--port=5000"], 1), (["--port=1"], 0), ([f"--peer={to}"], 1), (["--state=unconn"], int(not connected)),
                            (["--state=established,unconnected"], 1), (["-t"], 1), (["--direction=in"], 0)):
            assert len(sockets(node, name, *argv)) == count, argv
        assert node.weir("conns", "-o", "json", name)["connections"] == [] == node.weir("conns", "-t", "-o", "json", name)["connections"]
        text = node.weir("conns", "-u", name).stdout
        assert max(map(len, text.splitlines())) <= 80 and " PROTO " in text and " udp " in text
        pair.near("s.close()")
        wait_until(lambda: not sockets(node, name), "the socket to be freed")


def test_a_lookup_that_is_diverted(node):
    """The server that was asked is the peer, by way of the proxy."""
    server = pod_of(node, "resolver")
    pod = captured(node, "weir", "looks-up")
    with Shell(pod) as app:
        app(CLIENT)
        app(f"s = udp(); ask(s, '{server.ip}') and None")
        row = only(sockets(node, f"--pod={pod.name}", "--via=proxy"))
        assert (row["dialled"], row["peer_workload"], row["reason"], row["through_proxy"]) == (f"{server.ip}:53", "resolver", "dns", True)


def top(lab, view, *argv):
    return lab.weir("top", "-b", "-n", "1", "-d", "1", f"--view={view}", *argv).stdout


def test_top_shows_datagrams(node):
    """As an edge of its own, in the sums of its workload and pod, and as a socket; idle sockets are none."""
    with Datagrams(node, "busy", "AF_INET") as pair:
        pair.near(f"s = udp(); s.connect(('{pair.server.ip}', 5000)); i = udp(); i.sendto(b'x', ('{pair.server.ip}', 5000))")
        pair.near(f"t = threading.Thread(target=lambda: [s.send(bytes(1000)) and __import__('time').sleep(.005) for _ in range(2000)], daemon=True); t.start()")
        for view, peer in (("workloads", None), ("pods", None), ("edges", "/udp"), ("connections", "/udp")):
            lines = [line.split() for line in top(node, view, "--filter=default/busy").splitlines()[4:]]
            row = only([line for line in lines if line[0] == "default/busy" and (not peer or line[1] == "out")])
            sent = row[3] if peer else row[1]
            assert sent.endswith("K") and float(sent[:-1]) > 20, (view, row)
            if peer:
                assert row[2].endswith("5000/udp") and row[2].startswith("def"), row
                assert "-" in row[5:], row
        answer = node.weir("top", "-o", "json", "-d", "1", "--view=edges", "--filter=default/busy")
        assert [row["protocol"] for row in answer["rows"] if row["name"] == "default/busy" and row["direction"] == "outbound"] == ["udp"]


def test_without_the_flag_and_without_an_agent():
    with Lab("conns-udp-alone") as lab:
        lab.agent()
        done = lab.weir("conns", "-u", check=False)
        assert done.returncode == 1 and "--metrics.udp" in done.stderr and len(done.stderr.splitlines()) == 1
        lab.agents[-1].stop()
        agent = lab.agent("--metrics.udp")
        with Datagrams(lab, "alone", "AF_INET") as pair:
            agent.stop(signal.SIGKILL)
            pair.near(f"s = udp(); s.sendto(bytes(9), ('{pair.server.ip}', 5000))")
            assert [(row["pod"], row["sent_bytes"] + row["received_bytes"]) for row in sockets(lab)] == [("alone", 9), ("alone-server", 9)]

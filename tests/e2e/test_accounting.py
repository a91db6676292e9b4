# SPDX-License-Identifier: Apache-2.0
"""What is known of a connection besides its bytes: how long it took, why it failed, that it was there before weir came."""

from books import NOTHING, books, failures, flow, histogram, metrics, pod_of, settled, wanted
from lab import Lab, net
from lab.agent import total
from lab.command import wait_until
from support import PROXY, Shell, start_proxy, wait_state

FAILED = "weir_tcp_connections_failed_total"
CONNECT, RTT = "weir_tcp_connect_duration_seconds", "weir_tcp_round_trip_time_seconds"


# -- histograms ------------------------------------------------------------------------------------------------------------

def test_connect_and_round_trip_times(node):
    """The first SYN is lost, so that one connection takes a second more: each is in each histogram once, between the right bounds."""
    client, server = pod_of(node, "timed"), pod_of(node, "timed-server")
    server.serve("[::]:8080")
    rules = "chain c { type filter hook input priority 0; tcp flags & (syn|ack) == syn quota until 70 bytes drop; }"
    net.in_netns(server.netns, "nft", "-f", "-", stdin=f"table ip t {{ {rules}\n}}\n")
    answers = client.connect(f"{server.ip}:8080", options=["--count=5", "--send=1000"])
    assert settled(node, client, "outbound", 5) == books(answers)
    for name in (CONNECT, RTT):
        count, total_s, buckets = histogram(node, name, client, direction="outbound", via="direct", port="8080")
        late = 1 if name == CONNECT else 0
        assert (count, buckets["+Inf"], buckets["1.0"], buckets["5.0"]) == (5, 5, 5 - late, 5)
        assert late < total_s < late + 1
        assert list(buckets.values()) == sorted(buckets.values())
    assert total(metrics(node), "weir_tcp_retransmitted_segments_total", workload=client.name) == 1
    settled(node, server, "inbound", 5)
    assert histogram(node, CONNECT, server)[0] == 0  # nobody waited
    assert histogram(node, RTT, server)[0] == 5


def test_the_round_trip_of_a_live_connection_is_seen(node):
    """By the first scrape; further scrapes do not observe it again, nor does its end."""
    client, server = pod_of(node, "rtt-live"), pod_of(node, "rtt-live-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Shell(client) as shell:
        shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 1000)")
        for _ in range(3):
            assert histogram(node, RTT, client)[0] == 1
            shell("s.sendall(b'x' * 1000)")
        shell("s.close()")
    assert settled(node, client, "outbound", 1) == wanted(sent=4000)
    assert histogram(node, RTT, client)[0] == 1


def test_the_proxys_legs_have_their_own_histograms(node):
    pod, peer = pod_of(node, "leg-times", mesh="istio"), pod_of(node, "leg-times-peer")
    peer.serve("[::]:443")
    start_proxy(pod)
    pod.connect(f"{peer.ip}:443", options=["--send=5000"], uid=PROXY)
    assert "ECONNREFUSED" == pod.connect(f"{peer.ip}:444", uid=PROXY)["errno"]
    name = "weir_proxy_tcp_connect_duration_seconds"
    wait_until(lambda: histogram(node, name, pod, leg="network")[0] == 1, "the leg to be counted")
    assert histogram(node, CONNECT, pod)[0] == 0
    assert total(metrics(node), "weir_proxy_tcp_connections_failed_total", workload=pod.name, reason="refused") == 1


# -- failures --------------------------------------------------------------------------------------------------------------

def test_no_route_is_unreachable(node):
    """connect() fails before a SYN could leave: at once, again on the same socket, and in the other family."""
    client = pod_of(node, "routeless")
    net.in_netns(client.netns, "ip", "route", "del", "default")
    net.in_netns(client.netns, "ip", "-6", "route", "del", "default")
    for to in ("192.0.2.1:80", "[2001:db8::1]:80"):
        assert client.connect(to)["errno"] in ("ENETUNREACH", "EHOSTUNREACH")
    with Shell(client) as shell:
        shell("s = tcp()")
        for _ in range(3):
            assert shell.errno("s.connect(('192.0.2.1', 80))") == "ENETUNREACH"
        shell("s.close()")
    assert failures(node, client) == {"unreachable": 5}


PROHIBITED = {"ipv4": ["net-unreachable", "host-unreachable", "prot-unreachable", "net-prohibited", "host-prohibited", "admin-prohibited"],
              "ipv6": ["no-route", "admin-prohibited", "addr-unreachable", "policy-fail", "reject-route"]}


def test_whatever_icmp_says(node):
    """A firewall's refusal has a dozen forms, and each is an error of its own: all but a closed port's are unreachable."""
    client, server = pod_of(node, "fenced"), pod_of(node, "fence")
    rules = [f"meta nfproto {family} tcp dport {90 + i} reject with {icmp} type {kind};" for family, icmp in (("ipv4", "icmp"), ("ipv6", "icmpv6"))
             for i, kind in enumerate([*PROHIBITED[family], "port-unreachable"])]
    net.in_netns(server.netns, "nft", "-f", "-", stdin="table inet t { chain c { type filter hook input priority 0; %s }\n}\n" % "\n".join(rules))
    net.in_netns(server.netns, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    targets = [(address, 90 + i) for address, family in ((server.ip, "ipv4"), (server.ipv6, "ipv6")) for i in range(len(PROHIBITED[family]) + 1)]
    reasons = lambda: {reason: total(metrics(node), FAILED, workload=client.name, reason=reason) for reason in ("unreachable", "refused", "other")}
    with Shell(client) as shell:
        shell(f"held = [(socket(AF_INET6 if ':' in to[0] else AF_INET), to) for to in {targets}]; [s.setblocking(False) or s.connect_ex(to) for s, to in held] and None")
        wait_until(lambda: sum(reasons().values()) == 13, "all attempts to fail")
    assert reasons() == {"unreachable": 11, "refused": 2, "other": 0}


def test_an_error_that_the_application_took(node):
    """ICMP that comes while connect() itself runs is a soft error; SO_ERROR takes it away."""
    client = pod_of(node, "soft")
    with Shell(client) as shell:
        for taken in (False, True):
            shell("s = socket(); s.setblocking(False); s.connect_ex(('10.99.0.1', 80))")
            if taken:
                shell("[s.getsockopt(SOL_SOCKET, SO_ERROR) for _ in range(50) if not time.sleep(0.002)] and None")
            shell("s.close()")
    wait_until(lambda: sum(failures(node, client).values()) == 2, "two failures")
    assert failures(node, client) == {"unreachable": 2}
    assert flow(node, client, "outbound") == NOTHING


# -- connections that were there before ------------------------------------------------------------------------------------

def test_connections_older_than_weir():
    """Both ends of connections that run when the agent starts: from then on, which way, how many; and their end."""
    with Lab("older") as lab:
        client, server = lab.pod("client", owner="Deployment/client"), lab.pod("server", owner="Deployment/server")
        server.serve("[::]:8080", mode="sink", options=["--no-greet"])
        with Shell(client) as shell:
            shell(f"a, b, c = tcp(), tcp(), tcp(AF_INET6); [s.connect(('{server.ip}', 8080)) or s.sendall(b'x' * 1000) for s in (a, b)] and None")
            shell(f"c.connect(('{server.ipv6}', 8080)); c.sendall(b'x' * 1000)")
            lab.agent()
            for pod in (client, server):
                pod.write()
            for pod in (client, server):
                wait_state(lab, pod, "not_captured")
            assert flow(lab, client, "outbound", peer_workload="server", port="8080") == wanted(opened=3, closed=0)
            assert flow(lab, server, "inbound", peer_workload="client", port="8080") == wanted(opened=3, closed=0)
            for pod in (client, server):
                assert total(metrics(lab), "weir_tcp_connections_preexisting_total", workload=pod.name) == 3
            shell("a.sendall(b'x' * 500); c.sendall(b'x' * 70)")
            assert flow(lab, client, "outbound") == wanted(sent=570, opened=3, closed=0)
            shell("d = tcp(); d.connect(('%s', 8080)); d.sendall(b'x')" % server.ip)
            shell("[s.close() for s in (a, b, c, d)] and None")
        assert settled(lab, client, "outbound", 4) == wanted(sent=571, opened=4)
        assert settled(lab, server, "inbound", 4) == wanted(received=571, opened=4)
        assert flow(lab, client, "inbound") == flow(lab, server, "outbound") == NOTHING
        assert total(metrics(lab), "weir_tcp_connections_preexisting_total") == 6


def test_connections_older_than_the_knowledge_of_their_pod(node):
    """The agent runs already when the pod becomes known: one in its handshake, and one within the pod, which is not counted."""
    client, server = node.pod("late", owner="Deployment/late"), pod_of(node, "late-server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    client.serve("[::]:9000", mode="sink", options=["--no-greet"])
    hold = f"table ip hold {{ chain c {{ type filter hook input priority 0; ip saddr {client.ip} tcp dport 8081 drop; }}\n}}\n"
    server.serve("[::]:8081", mode="sink", options=["--no-greet"])
    net.in_netns(server.netns, "nft", "-f", "-", stdin=hold)
    with Shell(client) as shell:
        shell(f"a, b, c = tcp(), tcp(), socket(); a.connect(('{server.ip}', 8080)); a.sendall(b'x' * 100); b.connect(('127.0.0.1', 9000))")
        shell(f"c.setblocking(False); c.connect_ex(('{server.ip}', 8081))")
        wait_state(node, client.write(), "not_captured")
        net.in_netns(server.netns, "nft", "delete", "table", "ip", "hold")
        shell("c.setblocking(True); select.select([], [c], [], 5) and c.sendall(b'x' * 33)")
        shell("a.sendall(b'x' * 11); [s.close() for s in (a, b, c)] and None")
    assert settled(node, client, "outbound", 2) == wanted(sent=44, opened=2)
    assert total(metrics(node), "weir_tcp_connections_preexisting_total", workload="late") == 1

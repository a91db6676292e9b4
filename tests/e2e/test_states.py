# SPDX-License-Identifier: Apache-2.0
"""TCP's states that a connection can begin, end and be ended in: what each of its ends moved until then is what counts, once."""

import threading

import pytest

from books import failures, flow, histogram, metrics, pod_of, settled, wanted
from lab import Lab, net
from lab.agent import total
from lab.command import wait_until
from pairs import STREAM_TOOLS, Streams
from support import Shell

RTT, DISCONNECT = "weir_tcp_round_trip_time_seconds", "libc.connect(s.fileno(), bytes(16), 16)"


def refuse(pod, rule):
    """What the rule is for does not come in any more."""
    net.in_netns(pod.netns, "nft", "-f", "-", stdin=f"table ip refused {{ chain c {{ type filter hook input priority 0; {rule} }}\n}}\n")


def state_of(pod):
    """Of its only connection to port 8080, as ss names it."""
    lines = net.in_netns(pod.netns, "ss", "-Htna", "dport", "=", ":8080").stdout.splitlines()
    return lines[0].split()[0] if lines else None


# -- how it ends -----------------------------------------------------------------------------------------------------------

LOST_FIN = "tcp flags & fin == fin drop;"
STATES = {  # how the client's end comes to be in this state
    "ESTAB": lambda pair: None,
    "FIN-WAIT-1": lambda pair: refuse(pair.server, LOST_FIN) or pair.near("s.shutdown(SHUT_WR)"),
    "FIN-WAIT-2": lambda pair: pair.near("s.shutdown(SHUT_WR)"),
    "CLOSE-WAIT": lambda pair: pair.far("c.shutdown(SHUT_WR)") or pair.near("drain(s)"),
    "CLOSING": lambda pair: STATES["FIN-WAIT-1"](pair) or pair.far("c.shutdown(SHUT_WR)"),
    "LAST-ACK": lambda pair: STATES["CLOSE-WAIT"](pair) or STATES["FIN-WAIT-1"](pair),
}


@pytest.mark.parametrize("by", ["a reset", "ss -K"])
@pytest.mark.parametrize("state", STATES)
def test_ended_in_any_state(node, state, by):
    """1000 bytes there, 60 back, and then the end; SYN and FIN count nothing wherever it stops."""
    with Streams(node, f"{state.lower()}-{by[-1].lower()}") as pair:
        near, far = pair.open()
        near("s.sendall(b'x' * 1000)")
        far("drain(c, 1000); c.sendall(b'y' * 60)")
        near("drain(s, 60)")
        STATES[state](pair)
        wait_until(lambda: state_of(pair.client) == state, f"the connection to be in {state}")
        if by == "ss -K":
            net.in_netns(pair.client.netns, "ss", "-K", "dst", pair.server.ip)
        far("linger(c); c.close()")
        near("s.close()")
        pair.expect(1000, 60)


def test_fins_that_cross(node):
    """CLOSING to its orderly end."""
    with Streams(node, "crossing") as pair:
        near, far = pair.open()
        near("s.sendall(b'x' * 1000)")
        far("drain(c, 1000); c.sendall(b'y' * 60)")
        near("drain(s, 60)")
        for pod in (pair.client, pair.server):  # the first one is lost, so that both are on their way before either arrives
            refuse(pod, "tcp flags & fin == fin quota until 53 bytes drop;")
        near("s.shutdown(SHUT_WR)")
        far("c.shutdown(SHUT_WR)")
        near("drain(s); s.close()")
        far("drain(c); c.close()")
        pair.expect(1000, 60)


def test_a_peer_that_never_acknowledges(node):
    """TCP_USER_TIMEOUT ends it: what had left was sent, though nobody had it. It closed, and did not fail."""
    with Streams(node, "silent") as pair:
        near, far = pair.open()
        near("s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 700); s.sendall(b'x' * 100)")
        far("drain(c, 100)")
        refuse(pair.server, "tcp dport 8080 drop;")
        near("s.sendall(b'x' * 777)")
        assert settled(node, pair.client, "outbound", 1) == wanted(877)
        assert failures(node, pair.client) == {}
        near("s.close(); s = tcp(); s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 700)")
        assert near.errno(f"s.connect({pair.address})") == "ETIMEDOUT"
        assert failures(node, pair.client) == {"timeout": 1}


def test_a_process_that_ends_with_data_unsent(node):
    """The kernel goes on sending for it, and that counts."""
    with Streams(node, "orphaned") as pair:
        near, far = pair.open()
        far("c.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)")
        near("s.setblocking(False)")
        written = near("sum(iter(lambda: s.send(b'x' * 65536) if select.select([], [s], [], 0.3)[1] else 0, 0))")
        pair.near.process.kill()
        assert far("drain(c)") == written
        far("c.close()")
        pair.expect(written, 0)


def test_data_for_a_closed_socket(node):
    """The peer goes on sending after close(): it has sent what nobody received. After shutdown(SHUT_RD) TCP still takes it in."""
    with Streams(node, "deaf") as pair:
        near, far = pair.open()
        far("c.sendall(b'y' * 100)")
        near("drain(s, 100); s.close()")
        far("drain(c); c.sendall(b'y' * 55); select.select([c], [], [], 5); c.close()")
        pair.expect(0, 100, far_sent=155)
        near(f"s = tcp(); s.connect({pair.address}); s.shutdown(SHUT_RD)")
        far("c = l.accept()[0]; c.sendall(b'y' * 500)")
        wait_until(lambda: flow(node, pair.client, "outbound")["received"] == 600, "500 bytes more")
        near("s.close()")
        far("c.close()")
        pair.expect(0, 600, connections=2, far_sent=655)


def test_disconnected_and_used_again(node):
    """connect(AF_UNSPEC) with data that has not left, and while a handshake runs; a refused attempt in between; then the socket listens."""
    with Streams(node, "recycled") as pair:
        near, far = pair.open()
        near("import ctypes; libc = ctypes.CDLL(None); s.setblocking(False)")
        written = near("sum(iter(lambda: s.send(b'x' * 65536) if select.select([], [s], [], 0.3)[1] else 0, 0))")
        assert near(DISCONNECT) == 0
        sent, received = settled(node, pair.client, "outbound", 1)["sent"], settled(node, pair.server, "inbound", 1)["received"]
        assert 0 < received <= sent < written
        refuse(pair.server, "tcp dport 8081 drop;")
        near(f"s.connect_ex(('{pair.server.ip}', 8081)); {DISCONNECT}; s.setblocking(True)")
        assert failures(node, pair.client) == {"aborted": 1}
        assert near.errno(f"s.connect(('{pair.server.ip}', 1))") == "ECONNREFUSED"
        near(f"s.connect({pair.address}); s.sendall(b'x' * 44)")
        far("c = l.accept()[0]; drain(c, 44); c.close()")
        near(f"drain(s); {DISCONNECT}; s.bind(('', 9090)); s.listen()")
        far(f"d = tcp(); d.connect(('{pair.client.ip}', 9090)); d.sendall(b'z' * 20)")
        near("e = s.accept()[0]; drain(e, 20); e.sendall(b'w' * 5); e.close(); s.close()")
        far("drain(d); d.close()")
        assert settled(node, pair.client, "outbound", 2, port="8080") == wanted(sent + 44, 0, 2)
        assert settled(node, pair.server, "inbound", 2) == wanted(0, received + 44, 2)
        assert settled(node, pair.client, "inbound", 1) == wanted(5, 20)
        assert settled(node, pair.server, "outbound", 1) == wanted(20, 5)
        assert failures(node, pair.client) == {"aborted": 1, "refused": 1}


CHURN = """
import ctypes
def churn(seconds, *targets):  # one socket, one connection after the other; {target: [connections, bytes]}
    libc, s, books = ctypes.CDLL(None), socket(), [[0, 0] for _ in targets]
    s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        book, to = books[number % len(targets)], targets[number % len(targets)]
        s.connect(to)
        for size in (1, 7, 3000)[:number % 4]:
            s.sendall(b'x' * size)
            book[1] += size
        book[0] += 1
        number += 1
        libc.connect(s.fileno(), bytes(16), 16)
    s.close()
    return books
"""


def test_used_again_while_it_is_folded(node):
    """One socket goes from one workload to the other and back, thousands of times a second, and each of its connections is that of its own peer."""
    other = pod_of(node, "folded-other")
    other.serve("[::]:8080", mode="sink", options=["--no-greet"])
    with Streams(node, "folded") as pair:
        pair.server.serve("[::]:8080", mode="sink", options=["--no-greet"])
        pair.near(CHURN)
        done = threading.Event()

        def fold():
            while not done.is_set():
                (node.bpf_dir / "iter_fold").read_bytes()

        folding = threading.Thread(target=fold)
        folding.start()
        try:
            books = pair.near(f"churn(2, {pair.address}, ('{other.ip}', 8080))")
        finally:
            done.set()
            folding.join()
        assert books[0][0] > 100
        for (connections, sent), peer in zip(books, (pair.server, other)):
            assert settled(node, pair.client, "outbound", connections, peer_workload=peer.name) == wanted(sent, 0, connections)


# -- how it begins ---------------------------------------------------------------------------------------------------------

def many(pair, number):
    """So many attempts at a time, of which the listener's queue holds one; the client's sockets are `held`."""
    pair.far("l = tcp(); l.bind(('0.0.0.0', 8080)); l.listen(0)")
    pair.near(f"held = [socket() for _ in range({number})]; [(s.setblocking(False), s.connect_ex({pair.address})) for s in held] and None")


def test_more_than_the_backlog_holds(node):
    """Those that wait are opened when there is room for them: at both ends, whatever was sent meanwhile."""
    with Streams(node, "queue") as pair:
        many(pair, 4)
        pair.near("def say(s): s.setblocking(True); s.sendall(b'x' * 100); drain(s); s.close()")
        pair.near("[threading.Thread(target=say, args=(s,)).start() for s in held] and None")
        assert pair.far("l.settimeout(30) or sum(drain(l.accept()[0], 100) for _ in range(4))") == 400
        pair.expect(400, 0, connections=4)
        assert failures(node, pair.client) == {}


def test_reset_for_want_of_room(node):
    """tcp_abort_on_overflow: the last packet of the handshake is answered by a RST. Opened where it was taken for one."""
    with Streams(node, "aborting") as pair:
        net.in_netns(pair.server.netns, "sysctl", "-qw", "net.ipv4.tcp_abort_on_overflow=1")
        many(pair, 1)
        wait_until(lambda: flow(node, pair.server, "inbound") == wanted(closed=0), "the queue to be full")
        pair.near(f"more = [socket() for _ in range(5)]; [(s.setblocking(False), s.connect_ex({pair.address})) for s in more] and None")
        pair.near("select.select([], more, [], 1); [s.close() for s in (*held, *more)] and None")
        pair.far("l.close()")
        settled(node, pair.client, "outbound", 1)
        ends = flow(node, pair.client, "outbound")
        assert ends["sent"] == ends["received"] == ends["open"] == 0
        assert ends["opened"] + sum(failures(node, pair.client).values()) == 6
        assert settled(node, pair.server, "inbound", 1) == wanted()


def test_a_listener_that_leaves_its_queue_to_another(node):
    """tcp_migrate_req: what nobody has accepted yet goes on."""
    with Streams(node, "migrated") as pair:
        net.in_netns(pair.server.netns, "sysctl", "-qw", "net.ipv4.tcp_migrate_req=1")
        pair.far("ls = [tcp() for _ in range(2)]; [(l.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1), l.bind(('0.0.0.0', 8080)), l.listen(64)) for l in ls] and None")
        pair.near(f"held = [tcp() for _ in range(20)]; [s.connect({pair.address}) or s.sendall(b'x' * 10) for s in held] and None")
        assert pair.far("ls[0].close() or sum(len(ls[1].accept()[0].recv(10)) for _ in range(20))") == 200
        pair.near("[s.close() for s in held] and None")
        pair.expect(200, 0, connections=20)


@pytest.mark.parametrize("what", ["cookie", "SYN"])
def test_fast_open_that_goes_wrong(node, what):
    """The server has another key by now and takes no data from the SYN; or the SYN with the data is lost."""
    with Streams(node, f"tfo-{what.lower()}") as pair:
        for pod in (pair.client, pair.server):
            net.in_netns(pod.netns, "sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
        pair.far("l = tcp(); l.setsockopt(IPPROTO_TCP, 23, 16); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        for last in (False, True):
            if last and what == "cookie":
                net.in_netns(pair.server.netns, "sysctl", "-qw", "net.ipv4.tcp_fastopen_key=00000001-00000002-00000003-00000004")
            if last and what == "SYN":
                refuse(pair.server, "tcp flags & (syn|ack) == syn quota until 100 bytes drop;")
            pair.near(f"s = tcp(); s.sendto(b'x' * 700, MSG_FASTOPEN, {pair.address})")
            pair.far("c = l.accept()[0]; drain(c, 700); c.sendall(b'y' * 50)")
            pair.near("drain(s, 50); s.sendall(b'x' * 300); s.close()")
            pair.far("drain(c); c.close()")
        pair.expect(2000, 100, connections=2)


def test_dialling_itself():
    """One socket, which is both ends: opened once, at the end that dialled."""
    with Lab("itself") as lab:
        lab.agent("--metrics.pod-local")
        pod = pod_of(lab, "itself")
        with Shell(pod) as shell:
            shell(STREAM_TOOLS + "s = tcp(); s.bind(('127.0.0.1', 7777)); s.connect(('127.0.0.1', 7777)); s.sendall(b'x' * 1234)")
            assert shell("drain(s, 1234)") == 1234
            shell("s.close()")
        assert settled(lab, pod, "outbound", 1) == wanted(1234, 1234)
        assert flow(lab, pod, "inbound")["opened"] == 0


# -- what TCP tells of it --------------------------------------------------------------------------------------------------

INFO = """
def info(s, *offsets):  # of struct tcp_info, whose members are 32 bits wide there
    return [struct.unpack_from("I", s.getsockopt(IPPROTO_TCP, TCP_INFO, 256), offset)[0] for offset in offsets]
"""
UNACKED, ROUND_TRIP_US, TOTAL_RETRANS = 24, 68, 100


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_as_tcp_info_has_it(node, family):
    """The round trip to the microsecond and the segments sent again, at both ends, where packets are lost."""
    with Streams(node, f"info-{family[3:].lower()}") as pair:
        near, far = pair.near, pair.far
        for pod in (pair.client, pair.server):
            rule = "meta l4proto tcp numgen inc mod 20 == 7 drop;"
            net.in_netns(pod.netns, "nft", "-f", "-", stdin=f"table inet t {{ chain c {{ type filter hook input priority 0; {rule} }}\n}}\n")
        for shell in (near, far):
            shell(INFO)
        far(f"l = tcp({family}); l.bind(('', 8080)); l.listen(64)")
        near(f"s = tcp({family}); s.connect(('{pair.server.ip if family == 'AF_INET' else pair.server.ipv6}', 8080))")
        far("c = l.accept()[0]; t = threading.Thread(target=drain, args=(c, 5000000)); t.start()")
        near("s.sendall(b'x' * 5000000); t = threading.Thread(target=drain, args=(s, 3000000)); t.start()")
        far("t.join(); c.sendall(b'y' * 3000000)")
        near("t.join()")
        for shell, name in ((near, "s"), (far, "c")):
            wait_until(lambda shell=shell, name=name: shell(f"info({name}, {UNACKED})") == [0], "all to be acknowledged")
        told = [(pod, shell(f"info({name}, {ROUND_TRIP_US}, {TOTAL_RETRANS})")) for pod, shell, name in ((pair.client, near, "s"), (pair.server, far, "c"))]
        for pod, (rtt_us, again) in told:
            count, total_s, _ = histogram(node, RTT, pod)
            assert (count, round(total_s * 1e6)) == (1, rtt_us)
            assert total(metrics(node), "weir_tcp_retransmitted_segments_total", workload=pod.name) == again > 0
        near("s.close()")
        far("c.close()")
        pair.expect(5000000, 3000000)

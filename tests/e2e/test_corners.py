# SPDX-License-Identifier: Apache-2.0
"""What else the kernel can do with a connection: whatever it is, the figures are those of the sockets' owners."""

import time

import pytest

from books import NOTHING, failures, flow, histogram, metrics, pod_of, settled, wanted
from lab import net
from lab.agent import total
from lab.command import wait_until
from pairs import Streams

# -- how it ends -----------------------------------------------------------------------------------------------------------

ENDS = {
    "client closes first": ["near drain(s, 500)", "near s.close()", "far drain(c)", "far c.close()"],
    "server closes first": ["far drain(c, 1000)", "far c.close()", "near drain(s)", "near s.close()"],
    "client half-closes": ["near s.shutdown(SHUT_WR)", "far drain(c)", "far c.close()", "near drain(s)", "near s.close()"],
    "both half-close": ["near s.shutdown(SHUT_WR)", "far c.shutdown(SHUT_WR)", "far drain(c)", "near drain(s)", "near s.close()", "far c.close()"],
    "reading ends first": ["near s.shutdown(SHUT_RD)", "far drain(c, 1000)", "far c.close()", "near s.close()"],
    "client resets": ["far drain(c, 1000)", "near drain(s, 500)", "near linger(s)", "near s.close()", "far c.close()"],
    "server resets": ["far drain(c, 1000)", "near drain(s, 500)", "far linger(c)", "far c.close()", "near s.close()"],
    "unread at the client": ["far drain(c, 1000)", "near s.recv(100) and select.select([s], [], [])", "near s.close()", "far c.close()"],
    "unread at the server": ["near drain(s, 500)", "far c.close()", "near s.close()"],
}


@pytest.mark.parametrize("end", ENDS)
def test_however_it_ends(node, end):
    """1000 bytes there, 500 back; what the kernel has taken in counts as received, read by the application or not."""
    with Streams(node, f"end-{list(ENDS).index(end)}") as pair:
        near, far = pair.open()
        near("s.sendall(b'x' * 1000)")
        far("c.sendall(b'y' * 500)")
        wait_until(lambda: flow(node, pair.client, "outbound") == wanted(1000, 500, closed=0), "both directions")
        for step in ENDS[end]:
            side, code = step.split(" ", 1)
            (near if side == "near" else far)(f"[{code}] and None")
        pair.expect(1000, 500)


def test_data_that_never_left(node):
    """The receiver's window is shut when the sender resets: sent is what was sent, not what was written."""
    with Streams(node, "unsent") as pair:
        near, far = pair.open()
        near("s.setblocking(False)")
        written = near("sum(iter(lambda: s.send(b'x' * 65536) if select.select([], [s], [], 0.3)[1] else 0, 0))")
        near("linger(s); s.close()")
        sent = settled(node, pair.client, "outbound", 1)["sent"]
        assert 0 < sent < written
        received = settled(node, pair.server, "inbound", 1)["received"]
        assert received == far("drain(c, %d)" % received) <= sent


def test_a_socket_that_is_used_again(node):
    """connect(AF_UNSPEC) ends a connection; the next one on the same socket is another one. And from one port, out of TIME_WAIT."""
    with Streams(node, "again") as pair:
        near, far = pair.open()
        near("import ctypes; libc = ctypes.CDLL(None)")
        for size in (100, 200):
            near(f"s.sendall(b'x' * {size})")
            far(f"drain(c, {size})")
            assert near("libc.connect(s.fileno(), bytes(16), 16)") == 0
            near(f"s.connect({pair.address})")
            far("c.close(); c = l.accept()[0]")
        near("s.close()")
        net.in_netns(pair.client.netns, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1")
        for _ in range(3):
            near("s = tcp(); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); s.bind(('', 7777))")
            near(f"s.connect({pair.address}); s.sendall(b'x' * 10); s.close()")
            far("c.close(); c = l.accept()[0]; drain(c); c.close()")
            near("time.sleep(1.1)")
        pair.expect(330, 0, connections=6)


def test_nobody_accepts(node):
    """Established without accept(): counted; the listener's end ends them."""
    with Streams(node, "backlog") as pair:
        pair.far("l = tcp(); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        pair.near(f"held = [tcp() for _ in range(5)]; [s.connect({pair.address}) or s.sendall(b'x' * 10) for s in held] and None")
        wait_until(lambda: flow(node, pair.server, "inbound") == wanted(0, 50, 5, closed=0), "the backlog")
        pair.far("l.close()")
        pair.near("[s.close() for s in held] and None")
        pair.expect(50, 0, connections=5)


def test_both_dial(node):
    """A simultaneous open: each end is the one that opened."""
    with Streams(node, "cross") as pair:
        drop = "table ip hold { chain c { type filter hook input priority 0; tcp dport 7000 drop; }\n}\n"
        for pod in (pair.client, pair.server):
            net.in_netns(pod.netns, "nft", "-f", "-", stdin=drop)
        for shell, other in ((pair.near, pair.server), (pair.far, pair.client)):
            shell(f"s = socket(); s.bind(('', 7000)); s.setblocking(False); s.connect_ex(('{other.ip}', 7000))")
        for pod in (pair.client, pair.server):
            net.in_netns(pod.netns, "nft", "delete", "table", "ip", "hold")
        for shell, size in ((pair.near, 100), (pair.far, 30)):
            shell(f"select.select([], [s], [], 10); s.setblocking(True); s.sendall(b'x' * {size})")
        pair.near("drain(s, 30); s.shutdown(SHUT_WR)")
        pair.far("drain(s); s.close()")
        pair.near("drain(s); s.close()")
        assert settled(node, pair.client, "outbound", 1) == wanted(100, 30)
        assert settled(node, pair.server, "outbound", 1) == wanted(30, 100)
        assert flow(node, pair.client, "inbound") == flow(node, pair.server, "inbound") == NOTHING


def test_pods_that_end_with_live_sockets(node):
    """The processes are killed, the network namespace and the cgroup removed: the last figures stay, nothing is open."""
    with Streams(node, "killed") as pair:
        near, _ = pair.open()
        near("s.sendall(b'x' * 100)")
        pair.client.delete()
        assert settled(node, pair.client, "outbound", 1) == wanted(100)


# -- how the bytes move ----------------------------------------------------------------------------------------------------

WAYS = {
    "sendfile": "f = tempfile.TemporaryFile(); f.write(b'x' * 300000); f.seek(0); s.sendfile(f)",
    "splice": "r, w = os.pipe(); [os.write(w, b'x' * 50000) and os.splice(r, s.fileno(), 50000) for _ in range(6)] and None",
    "zerocopy": "s.setsockopt(SOL_SOCKET, 60, 1); [s.send(b'x' * 100000, 0x4000000) for _ in range(3)] and None",
    "cork": "s.setsockopt(IPPROTO_TCP, TCP_CORK, 1); [s.send(b'x' * 3) for _ in range(100000)] and None",
    "nodelay": "s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1); [s.send(b'x' * 30) for _ in range(10000)] and None",
    "urgent": "s.sendall(b'x' * 299999); s.send(b'!', MSG_OOB)",
    "another process": "subprocess.run([sys.executable, '-c', 'import socket; s = socket.socket(fileno=%d); s.sendall(b\"x\" * 300000)' % s.fileno()],"
                       " pass_fds=[s.fileno()], check=True) and None",
    "sendmsg": "s.sendmsg([b'x' * 1000] * 300)",
    "small windows": "[s.sendall(b'x' * 3000) or time.sleep(0.001) for _ in range(100)] and None",
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_moves_the_bytes(node, way):
    with Streams(node, f"way-{list(WAYS).index(way)}") as pair:
        near, far = pair.open()
        if way == "small windows":
            far("c.setsockopt(SOL_SOCKET, SO_RCVBUF, 2048)")
        far("c.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1); t = threading.Thread(target=lambda: globals().update(got=drain(c))); t.start()")
        near(WAYS[way])
        near("s.close()")
        assert far("t.join() or got") == 300000
        far("c.close()")
        pair.expect(300000, 0)


# -- how it begins ---------------------------------------------------------------------------------------------------------

BEGINNINGS = {
    "no timestamps": ("net.ipv4.tcp_timestamps=0", "", ""),
    "SYN cookies": ("net.ipv4.tcp_syncookies=2", "", ""),
    "deferred accept": ("", "l.setsockopt(IPPROTO_TCP, 9, 5)", ""),
    "no selective acks": ("net.ipv4.tcp_sack=0", "", ""),
    "keepalive": ("", "", "[s.setsockopt(*o) for o in ((SOL_SOCKET, SO_KEEPALIVE, 1), (6, 4, 1), (6, 5, 1))]; s.sendall(b'x'); time.sleep(2.5)"),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_however_it_begins(node, beginning):
    sysctl, server, client = BEGINNINGS[beginning]
    with Streams(node, f"begin-{list(BEGINNINGS).index(beginning)}") as pair:
        for pod in (pair.client, pair.server):
            if sysctl:
                net.in_netns(pod.netns, "sysctl", "-qw", sysctl)
        pair.far(f"l = tcp(); {server or 'pass'}; l.bind(('0.0.0.0', 8080)); l.listen(64)")
        pair.near(f"s = tcp(); s.connect({pair.address}); {client or 's.sendall(bytes(1))'}; s.sendall(b'x' * 9999)")
        pair.far("c = l.accept()[0]; drain(c, 10000); c.sendall(b'y' * 77); c.close()")
        pair.near("drain(s); s.close()")
        pair.expect(10000, 77)


def test_fast_open(node):
    """Data on the SYN: once the cookie is known, and before it."""
    with Streams(node, "tfo") as pair:
        for pod in (pair.client, pair.server):
            net.in_netns(pod.netns, "sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
        pair.far("l = tcp(); l.setsockopt(IPPROTO_TCP, 23, 16); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        for _ in range(3):
            pair.near(f"s = tcp(); s.sendto(b'x' * 700, 0x20000000, {pair.address})")
            pair.far("c = l.accept()[0]; drain(c, 700); c.sendall(b'y' * 50)")
            pair.near("drain(s, 50); s.sendall(b'x' * 300); s.close()")
            pair.far("drain(c); c.close()")
        carried = net.in_netns(pair.client.netns, "nstat", "-asz", "TcpExtTCPFastOpenActive").stdout.split()
        assert carried[carried.index("TcpExtTCPFastOpenActive") + 1] == "2"
        pair.expect(3000, 150, connections=3)


def test_fast_open_that_waits_for_data(node):
    """TCP_FASTOPEN_CONNECT: connect() returns at once, and the first write sends the SYN, if there is one at all. The wait is the application's own."""
    with Streams(node, "tfo-late") as pair:
        for pod in (pair.client, pair.server):
            net.in_netns(pod.netns, "sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
        pair.far("l = tcp(); l.setsockopt(IPPROTO_TCP, 23, 16); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        for _ in range(3):
            pair.near(f"s = tcp(); s.setsockopt(IPPROTO_TCP, 30, 1); s.connect({pair.address}); time.sleep(1); s.sendall(b'x' * 700)")
            pair.far("c = l.accept()[0]; drain(c, 700); c.sendall(b'y' * 50); c.close()")
            pair.near("drain(s); s.close()")
        pair.near(f"s = tcp(); s.setsockopt(IPPROTO_TCP, 30, 1); s.connect({pair.address}); s.close()")
        pair.expect(2100, 150, connections=3)
        count, total_s, _ = histogram(node, "weir_tcp_connect_duration_seconds", pair.client)
        assert count == 3 and total_s < 1
        assert failures(node, pair.client) == {}  # nothing was tried


def test_multipath(node):
    """A connection of MPTCP is its subflow."""
    with Streams(node, "mptcp") as pair:
        if pair.near.errno("tcp(AF_INET, 262).close()"):
            pytest.skip("this kernel has no MPTCP")
        pair.far("l = tcp(AF_INET, 262); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        pair.near(f"s = tcp(AF_INET, 262); s.connect({pair.address}); s.sendall(b'x' * 100000)")
        pair.far("c = l.accept()[0]; drain(c, 100000); c.sendall(b'y' * 5000); c.close()")
        pair.near("drain(s); s.close()")
        pair.expect(100000, 5000)


def test_a_repaired_socket(node):
    """TCP_REPAIR makes an established socket without a handshake: no SYN to take off."""
    with Streams(node, "repair") as pair:
        near, far = pair.open()
        near("s.sendall(b'x' * 100)")
        far("drain(c, 100)")
        near("""
def queue(s, which): s.setsockopt(6, 20, which)
s.setsockopt(6, 19, 1)
seqs = []
for which in (1, 2):
    queue(s, which); seqs.append(s.getsockopt(6, 21) & 0xffffffff)
name, peer = s.getsockname(), s.getpeername()
s.close()
n = tcp(); n.setsockopt(6, 19, 1); n.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); n.bind(name)
for which, seq in zip((1, 2), seqs):
    queue(n, which); n.setsockopt(6, 21, struct.pack('I', seq))
n.connect(peer); n.setsockopt(6, 19, 0); n.sendall(b'x' * 50)
""")
        far("drain(c, 50); c.sendall(b'y' * 7); c.close()")
        near("drain(n); n.close()")
        assert settled(node, pair.client, "outbound", 2) == wanted(150, 7, 2)
        assert settled(node, pair.server, "inbound", 1) == wanted(7, 150)
        count, total_s, _ = histogram(node, "weir_tcp_connect_duration_seconds", pair.client)
        assert count == 1 and total_s < 5  # nobody waited for the second one


def rest(node, pair, sent, received):
    """A live connection that has moved so much is seen at rest, by more than one scrape: those after the first find nothing new."""
    wait_until(lambda: flow(node, pair.client, "outbound") == wanted(sent, received, closed=0), "what the client moved")
    wait_until(lambda: flow(node, pair.server, "inbound") == wanted(received, sent, closed=0), "what the server moved")
    time.sleep(0.01)
    for _ in range(3):
        assert flow(node, pair.client, "outbound") == wanted(sent, received, closed=0)
        assert flow(node, pair.server, "inbound") == wanted(received, sent, closed=0)


def test_between_rests(node):
    """A single byte, one way or the other, also when one side has said that it ends."""
    with Streams(node, "rests") as pair:
        near, far = pair.open()
        rest(node, pair, 0, 0)
        near("s.sendall(b'x')")
        rest(node, pair, 1, 0)
        far("c.sendall(b'yy')")
        rest(node, pair, 1, 2)
        near("s.shutdown(SHUT_WR)")
        rest(node, pair, 1, 2)
        far("c.sendall(b'y')")
        rest(node, pair, 1, 3)
        far("c.close()")
        near("s.close()")
        pair.expect(1, 3)


def test_more_than_four_gigabytes(node):
    """On one connection: no counter is 32 bits wide, and nobody takes 4 GiB for nothing because the sequence numbers are the same."""
    with Streams(node, "giga") as pair:
        near, far = pair.open()
        far("t = threading.Thread(target=lambda: [None for _ in iter(lambda: c.recv(1 << 22, MSG_TRUNC), b'')] and None); t.start()")
        rest(node, pair, 0, 0)
        near("block = bytes(1 << 22); [s.sendall(block) for _ in range(1 << 10)]")
        rest(node, pair, 1 << 32, 0)
        near("s.sendall(bytes(12345)); s.close()")
        far("t.join(); c.close()")
        pair.expect((1 << 32) + 12345, 0)


def test_nothing_was_lost_on_the_way(node):
    now = metrics(node)
    assert total(now, "weir_untracked_sockets_total") == total(now, "weir_events_lost_total") == total(now, "weir_flow_overflow_total") == 0
    assert failures(node, pod_of(node, "innocent")) == {}

# SPDX-License-Identifier: Apache-2.0
"""Segments that no Linux sends, written by hand: what the pod's socket took in is what counts, whatever they were packed like."""

import pytest

from books import NOTHING, flow, settled, wanted
from lab import net
from lab.command import wait_until
from pairs import Streams

STRANGER = """
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
class Stranger:
    def __init__(self, source, to, port, seq=1000):
        self.raw = socket(AF_INET, SOCK_RAW, IPPROTO_TCP)
        self.raw.setsockopt(SOL_SOCKET, 36, 1)
        self.source, self.to, self.port, self.to_port, self.seq, self.ack, self.urgent = source, to, port, 8080, seq, 0, 0
    def send(self, flags, data=b'', options=b'', again=False, seq=None):
        options += bytes(-len(options) % 4)
        length = 20 + len(options) + len(data)
        head = struct.pack('!HHIIBBHHH', self.port, self.to_port, (self.seq if seq is None else seq) & 0xffffffff, self.ack, (20 + len(options)) << 2, flags, 65535, 0, self.urgent)
        check = inet_aton(self.source) + inet_aton(self.to) + struct.pack('!HH', 6, length) + head + options + data
        words = sum(struct.unpack('!%dH' % ((len(check) + 1) // 2), check + bytes(len(check) % 2)))
        while words >> 16: words = (words & 0xffff) + (words >> 16)
        self.raw.sendto(head[:16] + struct.pack('!H', ~words & 0xffff) + head[18:] + options + data, (self.to, 0))
        self.seq += 0 if again else len(data) + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
    def take(self, flags):  # the next segment that has these flags; its payload
        while True:
            if not select.select([self.raw], [], [], 10)[0]: raise TimeoutError('no segment with flags %d' % flags)
            packet = self.raw.recv(65536)
            tcp = packet[(packet[0] & 15) * 4:]
            if struct.unpack('!H', tcp[2:4])[0] != self.port or tcp[13] & (flags | RST) != flags: continue
            data, self.from_port = tcp[(tcp[12] >> 4) * 4:], struct.unpack('!H', tcp[:2])[0]
            self.ack = (struct.unpack('!I', tcp[4:8])[0] + len(data) + (1 if tcp[13] & SYN else 0) + (1 if tcp[13] & FIN else 0)) & 0xffffffff
            self.acked = struct.unpack('!I', tcp[8:12])[0]
            return data
"""
NO_COOKIE_NEEDED, FAST_OPEN = "net.ipv4.tcp_fastopen=519", 23  # at neither end


class Strangers(Streams):
    """The client's own TCP is kept from answering for the stranger in its pod."""

    def __init__(self, lab, name, fast_open=True):
        super().__init__(lab, name)
        net.in_netns(self.client.netns, "nft", "-f", "-",
                     stdin="table ip silent { chain c { type filter hook output priority 0; tcp flags & rst == rst meta mark != 1 drop; }\n}\n")
        if fast_open:
            net.in_netns(self.server.netns, "sysctl", "-qw", NO_COOKIE_NEEDED)
        self.far(f"l = tcp(); l.setsockopt(IPPROTO_TCP, {FAST_OPEN}, 16 if {fast_open} else 0); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        self.near(STRANGER + f"x = Stranger('{self.client.ip}', '{self.server.ip}', 40000)")


DIALS = {  # what a stranger sends, and the bytes that the server has then received of it
    "a FIN on the SYN": ("x.send(SYN | FIN, b'x' * 700); x.seq = 1000; x.send(SYN, b'x' * 700); x.take(SYN | ACK); x.send(ACK)", 700),
    "a FIN with the handshake's end": ("x.send(SYN, b'x' * 700); x.take(SYN | ACK); x.send(ACK | FIN, b'x' * 300)", 1000),
    "the SYN again": ("x.send(SYN, b'x' * 700); x.take(SYN | ACK); x.seq -= 701; x.send(SYN, b'x' * 700); x.take(SYN | ACK); x.send(ACK)", 700),
    "the SYN's data again": ("x.send(SYN, b'x' * 700); x.take(SYN | ACK); x.seq -= 700; x.send(ACK | PSH, b'x' * 900)", 900),
    "a SYN without a cookie": ("x.send(SYN, b'x' * 700); x.take(SYN | ACK); x.seq -= 700; x.send(ACK | PSH, b'x' * 800)", 800),
    "pieces that overlap": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK, b'x' * 500); x.seq -= 400; x.send(ACK, b'x' * 900); x.seq -= 1000; x.send(ACK, b'x' * 999);"
                            " x.seq += 1", 1000),
    "the end before the middle": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK, b'x' * 10); x.seq += 500; x.send(ACK | FIN, b'x' * 20); x.seq -= 521;"
                                  " x.send(ACK, b'x' * 500); x.seq += 21", 530),
    "a FIN twice": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK | FIN, b'x' * 77); x.seq -= 78; x.send(ACK | FIN, b'x' * 77)", 77),
    "data after the FIN": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK | FIN, b'x' * 77); x.send(ACK, b'x' * 50, again=True)", 77),
    "data beyond the window": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK, b'x' * 9); x.seq += 1 << 24; x.send(ACK, b'x' * 50, again=True); x.seq -= 1 << 24", 9),
    "an old byte as keepalive": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK, b'x' * 9); x.seq -= 1; x.send(ACK, b'x', again=True); x.seq += 1", 9),
    "urgent data beyond the end": ("x.send(SYN); x.take(SYN | ACK); x.urgent = 500; x.send(ACK | URG, b'x' * 100); x.urgent = 0", 100),
    "a reset with data": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK, b'x' * 30); x.send(RST | ACK, b'x' * 50)", 30),
}


@pytest.mark.parametrize("what", DIALS)
def test_a_stranger_dials(node, what):
    code, received = DIALS[what]
    with Strangers(node, f"dials-{list(DIALS).index(what)}", fast_open="cookie" not in what) as pair:
        pair.near(code)
        wait_until(lambda: flow(node, pair.server, "inbound")["received"] == received, f"{received} bytes: {flow(node, pair.server, 'inbound')}")
        pair.far("c = l.accept()[0]; linger(c); c.close()")
        assert settled(node, pair.server, "inbound", 1) == wanted(0, received)


ANSWERS = {  # what a stranger answers to a SYN, and what the one that dialled has sent and received then
    "data on the SYN": ("x.send(SYN | ACK, b'y' * 60); x.seq -= 60; x.take(ACK | PSH); x.send(ACK, b'y' * 70)", 100, 70),
    "data and a FIN on the SYN": ("x.send(SYN | ACK | FIN, b'y' * 60); x.seq = 1001; x.take(ACK | PSH); x.send(ACK | FIN, b'y' * 70)", 100, 70),
    "a SYN of its own": ("x.send(SYN); x.take(SYN | ACK); x.send(SYN | ACK, again=True, seq=1000); x.take(ACK | PSH); x.send(ACK, b'y' * 9)", 100, 9),
    "a SYN of its own with data": ("x.send(SYN, b'y' * 60); x.seq = 1001; x.take(SYN | ACK); x.send(ACK, b'y' * 70); x.take(ACK | PSH); x.send(ACK)", 100, 70),
    "all that came on the SYN": ("x.send(SYN | ACK); x.send(ACK, b'y' * 70)", 100, 70),
    "the SYN alone": ("x.ack -= 100; x.send(SYN | ACK); x.take(ACK | PSH); x.send(ACK, b'y' * 70)", 100, 70),
    "a part of what came on the SYN": ("x.ack -= 60; x.send(SYN | ACK); x.take(ACK | PSH); x.send(ACK, b'y' * 70)", 100, 70),
    "a SYN that crosses data": ("x.ack -= 100; x.send(SYN); x.take(SYN | ACK); x.send(ACK); x.take(ACK | PSH); x.send(ACK, b'y' * 9)", 100, 9),
    "a SYN and data that cross data": ("x.send(SYN, b'y' * 60); x.seq = 1001; x.take(SYN | ACK); x.ack += 100; x.send(ACK, b'y' * 70)", 100, 70),
    "a SYN of its own and a FIN": ("x.send(SYN); x.take(SYN | ACK); x.send(ACK | FIN, b'y' * 70); x.take(ACK | PSH); x.send(ACK)", 100, 70),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_a_stranger_answers(node, what):
    """The pod's own TCP does not know of the port, and is kept from saying so."""
    code, sent, received = ANSWERS[what]
    with Strangers(node, f"answers-{list(ANSWERS).index(what)}") as pair:
        dial = "d.sendto(b'x' * 100, MSG_FASTOPEN, to)" if "came" in what or "cross" in what or "alone" in what else "d.connect(to) or d.sendall(b'x' * 100)"
        pair.far(f"d, to = tcp(), ('{pair.client.ip}', 40000); t = threading.Thread(target=lambda: {dial}); t.start()")
        pair.near("x.take(SYN)")
        pair.near("x.to_port = x.from_port; " + code)
        pair.far("t.join()")
        wait_until(lambda: flow(node, pair.server, "outbound") == wanted(sent, received, closed=0), f"{flow(node, pair.server, 'outbound')}")
        pair.far("linger(d); d.close()")
        assert settled(node, pair.server, "outbound", 1) == wanted(sent, received)
        assert flow(node, pair.server, "inbound") == NOTHING

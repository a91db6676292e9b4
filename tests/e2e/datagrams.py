# SPDX-License-Identifier: Apache-2.0
"""What the tests of UDP share: two pods that exchange datagrams, and weir's figures of them."""

from books import metrics
from lab.agent import total
from pairs import Pair

FIELDS = ("sent_datagrams", "sent_bytes", "received_datagrams", "received_bytes", "dropped_datagrams", "dropped_bytes")
TOOLS = r"""
import ctypes, fcntl, threading
UDP_CORK, UDP_SEGMENT, UDP_GRO, GRO_SIZE = 1, 103, 104, 104
def udp(family=AF_INET, port=None, group=0):
    s = socket(family, SOCK_DGRAM, group)
    s.settimeout(5)
    s.setsockopt(SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    if port is not None:
        s.bind(("", port))
    return s
def take(s, number):
    # [datagrams, bytes] of what was read, each datagram by itself
    sizes = [len(s.recv(65536)) for _ in range(number)]
    return [len(sizes), sum(sizes)]
def drain(s):
    # all that is there, without waiting
    s.setblocking(False)
    sizes = []
    try:
        while True:
            sizes.append(len(s.recv(65536)))
    except BlockingIOError:
        return [len(sizes), sum(sizes)]
def echo(s, number):
    # every datagram goes back to where it came from
    for _ in range(number):
        s.sendto(*s.recvfrom(65536))
class value(ctypes.Structure): _fields_ = [("command", ctypes.c_uint), ("data", ctypes.c_uint)]
class request(ctypes.Structure): _fields_ = [("name", ctypes.c_char * 16), ("data", ctypes.c_void_p), ("room", ctypes.c_char * 16)]
def switch_gro_on(s):
    # of the pod's interface: ETHTOOL_SGRO
    v = value(0x2c, 1)
    fcntl.ioctl(s, 0x8946, request(b"eth0", ctypes.addressof(v)))
def take_coalesced(s, size):
    # [datagrams, bytes, reads] until so many bytes have come; the kernel tells of how many datagrams each read is
    got, reads, datagrams = 0, 0, 0
    while got < size:
        data, control, _, _ = s.recvmsg(65536, 100)
        segment = next((int.from_bytes(value[:4], sys.byteorder) for level, kind, value in control if (level, kind) == (17, GRO_SIZE)), len(data))
        got, reads, datagrams = got + len(data), reads + 1, datagrams + -(-len(data) // segment)
    return [datagrams, got, reads]
"""


def figures(lab, pod, direction, prefix="weir_udp", **labels):
    """What weir counted for a workload, with these labels."""
    now = metrics(lab)
    return {field: int(total(now, f"{prefix}_{field}_total", workload=pod.name, direction=direction, **labels)) for field in FIELDS}


def wanted(sent=(0, 0), received=(0, 0), dropped=(0, 0)):
    """Figures from pairs of datagrams and bytes."""
    return dict(zip(FIELDS, (*sent, *received, *dropped)))


def series(lab, pod):
    """{(direction, peer, service, port, via): datagrams both ways} of a workload."""
    found = {}
    for (name, labels), value in metrics(lab).items():
        one = dict(labels)
        if name in ("weir_udp_sent_datagrams_total", "weir_udp_received_datagrams_total") and one["workload"] == pod.name and value:
            key = one["direction"], one["peer_workload"], one["peer_service"], one["port"], one["via"]
            found[key] = found.get(key, 0) + int(value)
    return found


class Datagrams(Pair):
    """A pair with a socket that answers at port 5000 of the server."""

    def __init__(self, lab, name, family="AF_INET6"):
        super().__init__(lab, name, TOOLS)
        self.far(f"s = udp({family}, 5000)")

    def expect(self, there, back=(0, 0), dropped=(0, 0)):
        """Both ends: datagrams and bytes that went there, and back."""
        labels = {"port": "5000", "via": "direct"}
        assert figures(self.lab, self.client, "outbound", peer_workload=self.server.name, **labels) == wanted(there, back)
        assert figures(self.lab, self.server, "inbound", peer_workload=self.client.name, **labels) == wanted(back, there, dropped)
        assert figures(self.lab, self.client, "inbound") == figures(self.lab, self.server, "outbound") == wanted()

# SPDX-License-Identifier: Apache-2.0
"""A bad line between a pod and its node: drops, doubles and reorders frames, always the same ones, on any kernel.

The pod's interface ends in a network namespace of its own, where a program carries frames to another one that ends in the node's.
"""

import itertools
import subprocess

from . import net
from .command import PROBE, run, wait_until

PYTHON = "/usr/bin/python3"

# Frames are told apart by their number in their direction. A frame that is held goes out after some that came later.
LINE = r"""
import select, socket, sys, time
lose, double, hold = (int(arg) for arg in sys.argv[1:4])
ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in "ab"]
for end, name in zip(ends, ("inner", "outer")):
    end.bind((name, 0))
    end.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
numbers, held = [0, 0], []
print("ready", flush=True)
def is_due(number, every):
    return every and number % every == 0
while True:
    ready = select.select(ends, [], [], 0.005 if held else None)[0]
    for which, end in enumerate(ends):
        if end not in ready:
            continue
        frame, (_, _, kind, *_) = end.recvfrom(65536)
        if kind == socket.PACKET_OUTGOING or frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
            if kind != socket.PACKET_OUTGOING:
                ends[1 - which].send(frame)  # ARP
            continue
        numbers[which] += 1
        if is_due(numbers[which], lose):
            continue
        if is_due(numbers[which], hold):
            held.append((time.monotonic() + 0.01, numbers[which] + 3, which, frame))
            continue
        for _ in range(2 if is_due(numbers[which], double) else 1):
            ends[1 - which].send(frame)
    now, kept = time.monotonic(), []
    for one in held:
        if now >= one[0] or numbers[one[2]] >= one[1]:
            ends[1 - one[2]].send(one[3])
        else:
            kept.append(one)
    held = kept
"""

# Frames must be as long as a wire takes, with their checksums in them: no offload.
PLAIN = r"""
import ctypes, fcntl, socket, sys
class value(ctypes.Structure): _fields_ = [("command", ctypes.c_uint), ("data", ctypes.c_uint)]
class request(ctypes.Structure): _fields_ = [("name", ctypes.c_char * 16), ("data", ctypes.c_void_p), ("room", ctypes.c_char * 16)]
for command in (0x1f, 0x25, 0x24, 0x17):  # ETHTOOL_STSO, _SUFO, _SGSO, _STXCSUM
    v = value(command, 0)
    try:
        fcntl.ioctl(socket.socket(), 0x8946, request(sys.argv[1].encode(), ctypes.addressof(v)))
    except OSError:
        pass  # not all of them are there to be switched off
"""


class BadLine:
    """Of the pod that the lab made last. Each argument n: every n-th frame of a direction; 0: none. Made before it carries traffic."""

    COUNTER = itertools.count(1)

    def __init__(self, pod, lose=0, double=0, hold=0):
        node, link = pod.lab.node, f"pod{pod.lab.node.links - 1}"
        self.name = f"{pod.lab.prefix}-line{next(self.COUNTER)}"
        run("ip", "netns", "add", self.name)
        net.in_netns(self.name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        net.ip_batch(node.name, f"link set {link} netns {self.name}")
        net.ip_batch(self.name, f"link set {link} name inner", "link set inner up", f"link add outer type veth peer name {link} netns {node.name}", "link set outer up")
        net.ip_batch(node.name, f"link set {link} up", f"addr add {net.GATEWAY4}/32 dev {link}", f"route replace {pod.ip}/32 dev {link}",
                     f"addr add {net.GATEWAY6}/128 dev {link}", f"route replace {pod.ipv6}/128 dev {link}")
        for netns, interface in ((pod.netns, "eth0"), (node.name, link)):
            net.in_netns(netns, PYTHON, "-c", PLAIN, interface)
        self.process = self._carry(pod.lab, (lose, double, hold))

    def _carry(self, lab, arguments):
        log = lab.log_path(self.name)
        with open(log, "w", encoding="utf-8") as out:
            process = subprocess.Popen([PROBE, "exec", "--netns", net.netns_path(self.name), "--pdeathsig", "--", PYTHON, "-c", LINE,
                                        *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        wait_until(lambda: log.read_text().startswith("ready") or process.poll() is not None, "the line")
        return process

    def close(self):
        self.process.kill()
        self.process.wait()
        run("ip", "netns", "del", self.name, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

# SPDX-License-Identifier: Apache-2.0
"""Two pods that talk to each other, with a shell in each: what one end moved and what the other saw is compared with weir's figures of both."""

from books import NOTHING, flow, pod_of, settled, wanted
from support import Shell

STREAM_TOOLS = """
import fcntl, subprocess, tempfile, threading
def drain(s, n=None):
    got = 0
    while n is None or got < n:
        more = s.recv(min(1 << 20, n - got) if n else 1 << 20)
        if not more: break
        got += len(more)
    return got
def linger(s): s.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack('ii', 1, 0))
"""


class Pair:
    """A client and a server, each a workload of its own, and what the tools define in both shells."""

    def __init__(self, lab, name, tools, **options):
        self.lab, self.client, self.server = lab, pod_of(lab, name, **options), pod_of(lab, f"{name}-server", **options)
        self.near, self.far = Shell(self.client, uid=0), Shell(self.server, uid=0)
        for shell in (self.near, self.far):
            shell(tools)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.near.close()
        self.far.close()


class Streams(Pair):
    """They speak TCP; the server's port is 8080."""

    def __init__(self, lab, name, **options):
        super().__init__(lab, name, STREAM_TOOLS, **options)
        self.address = f"('{self.server.ip}', 8080)"

    def open(self):
        """A connection: s here, c there."""
        self.far("l = tcp(); l.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        self.near(f"s = tcp(); s.connect({self.address})")
        self.far("c = l.accept()[0]")
        return self.near, self.far

    def expect(self, sent, received, connections=1, far_sent=None, far_received=None):
        """Both ends, when all connections have ended; what the other end saw may be less than was sent."""
        assert settled(self.lab, self.client, "outbound", connections) == wanted(sent, received, connections)
        far = wanted(received if far_sent is None else far_sent, sent if far_received is None else far_received, connections)
        assert settled(self.lab, self.server, "inbound", connections) == far
        assert flow(self.lab, self.client, "inbound") == flow(self.lab, self.server, "outbound") == NOTHING

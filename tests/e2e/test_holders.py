# SPDX-License-Identifier: Apache-2.0
"""Whose sockets count as a pod's: those that were opened in its network namespace by pods, whoever holds them later."""

import pytest

from books import NOTHING, flow, metrics, pod_of, settled, wanted
from lab import Lab, net
from lab.agent import total
from lab.command import wait_until
from pairs import Streams
from support import NodesShell, Shell, known, wait_state

AGENT_OPTIONS = ("--metrics.udp",)


def test_a_process_of_the_node_in_a_pods_network():
    """Entered by nsenter: no hook sees what it does, so what it has open when weir comes is not taken up, for its end would never be heard of."""
    with Lab("entered") as lab:
        lab.agent()
        server = pod_of(lab, "server")
        server.serve("[::]:8080", mode="sink", options=["--no-greet"])
        pod = lab.pod("entered", owner="Deployment/entered")
        with NodesShell(pod) as nodes, Shell(pod) as own:
            for shell, size in ((nodes, 100), (own, 10)):
                shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * {size})")
            wait_state(lab, pod.write(), "not_captured")
            assert total(metrics(lab), "weir_tcp_connections_preexisting_total", workload="entered") == 1
            for shell in (nodes, own):
                shell(f"s.sendall(b'x' * 20); t = tcp(); t.connect(('{server.ip}', 8080)); t.sendall(b'x' * 3)")
            assert flow(lab, pod, "outbound") == wanted(sent=23, opened=2, closed=0)
            for shell in (nodes, own):
                shell("s.close(); t.close()")
        assert settled(lab, pod, "outbound", 2) == wanted(sent=23, opened=2)
        assert settled(lab, server, "inbound", 4) == wanted(received=156, opened=4)
        pod.delete()
        wait_until(lambda: known(lab, pod) is None, "the pod to be let go")
        wait_until(lambda: flow(lab, pod, "outbound") == NOTHING, "its series to disappear")


def test_a_descriptor_that_goes_to_another_pod(node, tmp_path):
    """By SCM_RIGHTS: an open connection, a listener and a UDP socket stay those of the pod in whose network they are."""
    with Streams(node, "giver") as pair:
        taker, path = pod_of(node, "taker"), tmp_path / "socket"
        pair.open()
        with Shell(taker, uid=0) as other:
            other(f"import array; u = socket(AF_UNIX); u.bind('{path}'); u.listen()")
            pair.near(f"import array; u = socket(AF_UNIX); u.connect('{path}'); s.sendall(b'x' * 100); l = tcp(); l.bind(('', 9090)); l.listen()")
            pair.near("d = socket(AF_INET, SOCK_DGRAM); [u.sendmsg([b'x'], [(SOL_SOCKET, SCM_RIGHTS, array.array('i', [o.fileno()]))]) for o in (s, l, d)]")
            other("v = u.accept()[0]; s, l, d = [socket(fileno=struct.unpack('i', v.recvmsg(1, CMSG_SPACE(4))[1][0][2])[0]) for _ in 'sld']")
            pair.near("s.close(); l.close(); d.close()")
            other(f"s.sendall(b'x' * 50); s.close(); d.sendto(b'x' * 30, ('{pair.server.ip}', 5000))")
            pair.far(f"drain(c); c.close(); e = tcp(); e.connect(('{pair.client.ip}', 9090)); e.sendall(b'z' * 7)")
            other("a = l.accept()[0]; a.recv(100); a.close(); l.close()")
            pair.far("drain(e); e.close()")
        assert settled(node, pair.client, "outbound", 1) == wanted(150)
        assert settled(node, pair.client, "inbound", 1) == wanted(0, 7)
        assert total(metrics(node), "weir_udp_sent_bytes_total", workload=pair.client.name) == 30
        assert not any(("workload", taker.name) in labels and value for (name, labels), value in metrics(node).items() if name.endswith("_bytes_total"))


def test_a_socket_that_was_opened_in_another_pods_network(node):
    """setns() and back again, as proxies that serve several pods do."""
    with Streams(node, "visitor") as pair:
        visited = pod_of(node, "visited")
        pair.far("l = tcp(); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        pair.near(f"import ctypes; libc = ctypes.CDLL(None); there, here = [os.open(p, os.O_RDONLY) for p in ('{net.netns_path(visited.netns)}', '/proc/self/ns/net')]")
        pair.near("libc.setns(there, 0) or globals().update(s=tcp()) or libc.setns(here, 0)")
        pair.near(f"s.connect({pair.address}); s.sendall(b'x' * 100); s.close()")
        pair.far("c = l.accept()[0]; drain(c); c.close()")
        assert settled(node, visited, "outbound", 1) == wanted(100)
        assert settled(node, pair.server, "inbound", 1, peer_workload="visited") == wanted(0, 100)
        assert flow(node, pair.client, "outbound") == NOTHING


def test_a_process_that_moves_to_another_control_group(node):
    """A socket stays in the one that it was opened in: what is counted is what was opened below the pods'."""
    with Streams(node, "mover") as pair:
        near, far = pair.open()
        near("before = tcp(); u = socket(AF_INET, SOCK_DGRAM)")
        (node.outside_cgroup / "cgroup.procs").write_text(str(near.process.pid))
        near(f"after = tcp(); [t.connect({pair.address}) or t.sendall(b'x' * 10) or t.close() for t in (before, after)]; s.sendall(b'x' * 100); s.close()")
        near(f"u.sendto(b'x' * 9, ('{pair.server.ip}', 5000))")
        far("drain(c); c.close(); cs = [l.accept()[0] for _ in range(2)]; [(drain(c), c.close()) for c in cs] and None")
        assert settled(node, pair.client, "outbound", 2) == wanted(110, opened=2)
        assert settled(node, pair.server, "inbound", 3) == wanted(0, 120, opened=3)
        assert total(metrics(node), "weir_udp_sent_bytes_total", workload=pair.client.name) == 9


@pytest.mark.parametrize("near, far", [(0, 262), (262, 0)])
def test_multipath_at_one_end(node, near, far):
    """Go listens with MPTCP unless told otherwise: what dials plainly is counted like any other, and the other way around."""
    with Streams(node, f"mptcp-{near}-{far}") as pair:
        if pair.near.errno("tcp(AF_INET, 262).close()"):
            pytest.skip("this kernel has no MPTCP")
        pair.far(f"l = tcp(AF_INET, {far}); l.bind(('0.0.0.0', 8080)); l.listen(64)")
        pair.near(f"s = tcp(AF_INET, {near}); s.connect({pair.address}); s.sendall(b'x' * 100000)")
        pair.far("c = l.accept()[0]; drain(c, 100000); c.sendall(b'y' * 5000); c.close()")
        pair.near("drain(s); s.close()")
        pair.expect(100000, 5000)

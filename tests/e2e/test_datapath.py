# SPDX-License-Identifier: Apache-2.0
"""The data path at its edges: listeners that come and go, unusual sockets, owners, and who is not touched.

A test with `kind` runs behind Istio's own rules too: what it expects is what iptables does.
"""

import itertools

import pytest

from lab import net
from lab.agent import total
from books import metrics
from clients import build_go
from lab.command import PROBE, run, wait_until
from support import (APP, INBOUND, KINDS, OUTBOUND, PROXY, Shell, assert_redirected, cookies_in, dual_stack, known, listener_port, mesh_pod, plain,
                     plain_pod, start_proxy, wait_state)

BOTH = pytest.mark.parametrize("kind", KINDS)
FREE_PORTS = itertools.count(21000)  # a source port for each test


@pytest.fixture(scope="module")
def peer(node):
    return plain_pod(node, 80, 443, 15020)


def sysctl(pod, *settings):
    net.in_netns(pod.netns, "sysctl", "-qw", *settings)


def netstat(pod, name):
    """One of the TcpExt counters."""
    lines = [line.split() for line in pod.run(["cat", "/proc/net/netstat"]).stdout.splitlines() if line.startswith("TcpExt:")]
    return int(dict(zip(*lines))[name])


def targets(peer, port=443):
    return f"{peer.ip}:{port}", f"[{peer.ipv6}]:{port}"


# -- listeners -------------------------------------------------------------------------------------------------------------

def pod_with_workers(lab, when, workers, own_process):
    """A proxy with several SO_REUSEPORT listeners, there before weir knows its pod or started afterwards."""
    pod = lab.pod(f"workers-{when}-{next(FREE_PORTS)}", mesh="istio")

    def start():
        if not own_process:
            return [start_proxy(pod, options=[f"--reuseport={workers}"])]
        return [start_proxy(pod, options=["--reuseport=1"]) for _ in range(workers)]

    started = start() if when == "before" else []
    wait_state(lab, pod.write(dual_stack(pod)))
    return pod, started or start()


@pytest.mark.parametrize("when", ["before", "after"])
def test_all_workers_of_a_proxy_get_connections(node, peer, when):
    pod, _ = pod_with_workers(node, when, workers=4, own_process=False)
    for client, to, port in ((peer, pod.ip, INBOUND), (pod, peer.ip, OUTBOUND)):
        answers = client.connect(f"{to}:80", options=["--count=60"], uid=APP)
        assert {listener_port(answer) for answer in answers} == {port}
        assert len({answer["acceptor"]["worker"] for answer in answers}) >= 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_workers_end_one_by_one_and_nothing_is_let_through(node, peer, when):
    """As long as one listens it takes all; after the last one connections are refused; a new proxy takes them again."""
    pod, workers = pod_with_workers(node, when, workers=4, own_process=True)
    pod.serve("[::]:8080", uid=APP)
    for _ in range(3):
        workers.pop(0).stop()
        answers = peer.connect(*[f"{pod.ip}:8080", f"[{pod.ipv6}]:8080"], options=["--count=10"])
        assert {listener_port(answer) for answer in answers} == {INBOUND}
        assert_redirected(pod.connect(f"{peer.ip}:443", uid=APP), f"{peer.ip}:443")
    workers.pop().stop()
    for answer in peer.connect(f"{pod.ip}:8080", f"[{pod.ipv6}]:8080") + pod.connect(*targets(peer), uid=APP):
        assert answer["errno"] == "ECONNREFUSED"
    start_proxy(pod)
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)


def test_a_restarting_proxy_is_found_every_time(node, peer):
    """More often than there are slots for listeners."""
    pod = mesh_pod(node)
    for _ in range(40):
        proxy = start_proxy(pod)
        assert listener_port(peer.connect(f"{pod.ip}:8080")) == INBOUND
        proxy.stop()


def test_an_overlap_of_two_proxies_leaves_no_gap(node, peer):
    """A hot restart: the new one listens before the old one ends."""
    pod = mesh_pod(node)
    old = start_proxy(pod, options=["--reuseport=2"])
    for _ in range(20):
        new = start_proxy(pod, options=["--reuseport=2"])
        old.stop()
        assert listener_port(peer.connect(f"{pod.ip}:8080")) == INBOUND
        assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == OUTBOUND
        old = new


@BOTH
@pytest.mark.parametrize("listeners", ["v4 only", "v6 only", "both apart"])
def test_each_family_goes_to_a_listener_that_takes_it(node, peer, kind, listeners):
    """A family that the proxy does not listen for is refused, not let through."""
    pod = mesh_pod(node, kind)
    pod.serve("[::]:8080", uid=APP)
    if listeners != "v6 only":
        start_proxy(pod, [f"0.0.0.0:{OUTBOUND}", f"0.0.0.0:{INBOUND}"])
    if listeners != "v4 only":
        start_proxy(pod, [f"[::]:{OUTBOUND}", f"[::]:{INBOUND}"], options=["--v6only"])
    for ipv6, (outbound, inbound) in enumerate(zip(targets(peer), (f"{pod.ip}:8080", f"[{pod.ipv6}]:8080"))):
        answers = [(pod.connect(outbound, uid=APP), outbound, OUTBOUND), (peer.connect(inbound), inbound, INBOUND)]
        for answer, dialled, port in answers:
            if listeners == ("v4 only" if ipv6 else "v6 only"):
                assert answer["errno"] == "ECONNREFUSED"
            else:
                assert_redirected(answer, dialled, port)
                assert answer["acceptor"]["listener"].startswith("[::]" if ipv6 else "0.0.0.0")


@BOTH
def test_an_outbound_listener_on_loopback_alone_is_enough(node, peer, kind):
    pod = mesh_pod(node, kind)
    start_proxy(pod, [f"127.0.0.1:{OUTBOUND}", f"[::1]:{OUTBOUND}"])
    for to in targets(peer):
        assert_redirected(pod.connect(to, uid=APP), to)


@BOTH
def test_an_inbound_listener_on_loopback_alone_gets_nothing(node, peer, kind):
    """REDIRECT goes to the address of the interface that the packet came in by."""
    pod = mesh_pod(node, kind)
    start_proxy(pod, [f"127.0.0.1:{INBOUND}", f"[::1]:{INBOUND}"])
    pod.serve("[::]:8080", uid=APP)
    for to in (f"{pod.ip}:8080", f"[{pod.ipv6}]:8080"):
        assert peer.connect(to)["errno"] == "ECONNREFUSED"


# -- kinds of sockets ------------------------------------------------------------------------------------------------------

@BOTH
@pytest.mark.parametrize("call", ["connect", "sendto"])
@pytest.mark.parametrize("listener", ["plain", "tfo"])
def test_tcp_fast_open(node, kind, call, listener):
    """Out and in: the first connection fetches a cookie, the next ones carry data in their SYN."""
    pod, peer = mesh_pod(node, kind), plain_pod(node)
    for side in (pod, peer):
        sysctl(side, "net.ipv4.tcp_fastopen=3")
    start_proxy(pod, options=["--tfo"] if listener == "tfo" else [])
    for client, ip, port in ((pod, peer.ip, OUTBOUND), (peer, pod.ip, INBOUND)):
        for _ in range(3):
            answer = client.connect(f"{ip}:443", options=[f"--tfo={call}", "--send=900"], uid=APP)
            assert_redirected(answer, f"{ip}:443", port)
            assert answer["intact"] and answer["body"] == 900
    if listener == "tfo":
        assert netstat(pod, "TCPFastOpenPassive") >= 2  # else it was no Fast Open at all


@BOTH
def test_an_mptcp_client_is_captured(node, peer, kind):
    pod = mesh_pod(node, kind)
    start_proxy(pod)
    for to in targets(peer):
        answer = pod.connect(to, options=["--mptcp", "--send=5000"], uid=APP)
        assert listener_port(answer) == OUTBOUND, answer
        assert plain(answer["acceptor"]["odst_ipv6" if to[0] == "[" else "odst_ip"]) == to
        assert answer["intact"]


@BOTH
def test_an_mptcp_application_is_reached_by_its_proxy(node, peer, kind):
    """What a program in Go listens with by default: inbound through the proxy's own call, and within the pod."""
    pod = mesh_pod(node, kind)
    pod.serve("[::]:8080", options=["--mptcp"], uid=APP)
    pod.serve("[::]:15020", options=["--mptcp"], uid=APP)
    start_proxy(pod)
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)
    assert listener_port(peer.connect(f"{pod.ip}:15020")) == 15020  # excluded
    assert listener_port(pod.connect(f"{pod.ip}:8080", uid=APP)) == 8080
    assert listener_port(pod.connect(f"{pod.ip}:8080", options=["--bind=127.0.0.6"], uid=PROXY)) == 8080


@BOTH
def test_an_mptcp_proxy_takes_outbound_connections(node, peer, kind):
    """SO_ORIGINAL_DST fails in the kernel itself when the client speaks MPTCP too."""
    pod = mesh_pod(node, kind)
    start_proxy(pod, [f"[::]:{OUTBOUND}"], options=["--mptcp"])
    for options, original in (([], f"{peer.ip}:443"), (["--mptcp"], "EOPNOTSUPP")):
        answer = pod.connect(f"{peer.ip}:443", options=options, uid=APP)
        assert listener_port(answer) == OUTBOUND
        assert plain(answer["acceptor"]["odst_ip"]) == original


@BOTH
def test_a_go_proxy_listens_as_go_does_by_default(node, peer, kind):
    """With MPTCP, unless bind() refuses it: then with TCP, and inbound connections are steered to it."""
    pod = mesh_pod(node, kind)
    pod.serve("[::]:8080", uid=APP)
    pod.popen([build_go("proxy.go"), f":{OUTBOUND}", f":{INBOUND}"], uid=PROXY, container="istio-proxy")
    pod.wait_listen(OUTBOUND, INBOUND)
    assert_redirected(pod.connect(f"{peer.ip}:443", uid=APP), f"{peer.ip}:443")
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)


def test_mptcp_is_refused_where_nothing_could_be_steered_to_it(node):
    """The inbound port of a captured pod, whoever binds it; on loopback nothing is steered anyway."""
    pod = mesh_pod(node)
    with Shell(pod) as shell:
        shell("t = lambda family, to: socket(family, SOCK_STREAM, 262).bind(to)")
        assert shell.errno(f"t(AF_INET, ('0.0.0.0', {INBOUND}))") == "EPROTONOSUPPORT"
        assert shell.errno(f"t(AF_INET6, ('::', {INBOUND}))") == "EPROTONOSUPPORT"
        for to in (f"('127.0.0.1', {INBOUND})", f"('0.0.0.0', {OUTBOUND})", "('0.0.0.0', 8080)"):
            assert shell.errno(f"t(AF_INET, {to})") is None
    with Shell(plain_pod(node)) as shell:
        assert shell.errno(f"socket(AF_INET, SOCK_STREAM, 262).bind(('0.0.0.0', {INBOUND}))") is None


def test_an_mptcp_proxy_that_was_there_before(node, peer):
    """Refused, where iptables would have redirected, and said wherever somebody looks."""
    pod = node.pod("elder", mesh="istio")
    proxy = start_proxy(pod, options=["--mptcp"])
    wait_state(node, pod.write())
    text = f"its proxy has listened on port {INBOUND} with MPTCP"
    pod.serve("[::]:8080", uid=APP)
    assert peer.connect(f"{pod.ip}:8080")["errno"] == "ECONNREFUSED"
    assert text in known(node, pod)["warnings"][0] and text in node.weir("pods").stderr
    assert node.agents[-1].stderr().count(text) == 1
    assert total(metrics(node), "weir_pod_input_warnings", pod=pod.name) == 1
    explained = node.weir("explain", f"default/{pod.name}", "--inbound=8080", "-o", "json")
    assert (explained["verdict"], explained["reason"]) == ("refuse", "proxy_down") and "MPTCP" in explained["notes"][0]
    proxy.stop()
    start_proxy(pod)
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)
    pod.write(dual_stack(pod))
    wait_until(lambda: not known(node, pod)["warnings"], "the warning to go")


@BOTH
@pytest.mark.parametrize("host", ["any", "own"])
@pytest.mark.parametrize("late", [False, True], ids=["port", "IP_BIND_ADDRESS_NO_PORT"])
@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_a_bound_source_is_what_the_proxy_sees(node, peer, kind, host, late, ipv6):
    """Bound before connect(), to an address, a port or both."""
    pod = mesh_pod(node, kind)
    start_proxy(pod)
    own = f"[{pod.ipv6}]" if ipv6 else pod.ip
    address = own if host == "own" else "[::]" if ipv6 else "0.0.0.0"
    port = 0 if late else next(FREE_PORTS)
    options = [f"--bind={address}:{port}"] + (["--bind-no-port"] if late else [])
    to = targets(peer)[ipv6]
    answer = pod.connect(to, options=options, uid=APP)
    assert_redirected(answer, to)
    seen = plain(answer["acceptor"]["peername"])
    assert seen == plain(answer["sockname"])
    assert seen.rpartition(":")[0] == own
    assert late or seen == f"{own}:{port}"


@BOTH
def test_a_bound_source_port_reaches_a_proxy_on_loopback_alone(node, peer, kind):
    """The port is bound to no address; the proxy listens on 127.0.0.1 and ::1, as Linkerd's does."""
    pod = mesh_pod(node, kind)
    start_proxy(pod, [f"127.0.0.1:{OUTBOUND}", f"[::1]:{OUTBOUND}"])
    for address, to in zip(("0.0.0.0", "[::]"), targets(peer)):
        assert_redirected(pod.connect(to, options=[f"--bind={address}:{next(FREE_PORTS)}"], uid=APP), to)


# -- owners ----------------------------------------------------------------------------------------------------------------

OWNERS = {  # (process, options of the probe): does the proxy's exemption apply?
    "opened by root, connected by the proxy": (dict(uid=0), ["--socket-uid=0", "--uid=1337"], False),
    "opened by the proxy, connected by root": (dict(uid=0), ["--socket-uid=1337", "--uid=0"], True),
    "opened by the proxy's group, connected by root": (dict(uid=0), ["--socket-gid=1337", "--gid=0"], True),
    "effective id alone": (dict(uid=0), ["--socket-uid=1337", "--creds=effective"], True),
    "real and effective id": (dict(uid=0), ["--socket-uid=1337", "--creds=real"], True),
    "supplementary group": (dict(uid=APP, groups="1337"), [], False),
    "primary group": (dict(uid=APP, gid=PROXY), [], True),
    "the proxy": (dict(uid=PROXY), [], True),
    "root": (dict(uid=0), [], False),
}


@BOTH
@pytest.mark.parametrize("who", OWNERS)
def test_the_owner_is_who_opened_the_socket(node, peer, kind, who):
    """xt_owner looks at the file's credentials."""
    pod = mesh_pod(node, kind)
    start_proxy(pod)
    place, options, exempt = OWNERS[who]
    for to in targets(peer):
        answer = pod.connect(to, options=options, **place)
        assert listener_port(answer) == (443 if exempt else OUTBOUND)


@BOTH
def test_the_file_system_id_counts(node, peer, kind):
    """setfsuid() changes who opens a socket, and neither the real nor the effective id."""
    pod = mesh_pod(node, kind)
    start_proxy(pod)
    with Shell(pod, uid=0) as shell:
        shell("libc = ctypes.CDLL(None); libc.setfsuid(1337); a = tcp(); libc.setfsuid(0); b = tcp()")
        for name, port in (("a", 443), ("b", OUTBOUND)):
            shell(f"{name}.connect(('{peer.ip}', 443))")
            assert shell(f"greeting({name})")["listener"] == f"[::]:{port}"


@BOTH
def test_a_socket_passed_to_another_process_keeps_its_owner(node, peer, kind):
    """SCM_RIGHTS: opened by the proxy's user and handed to the application, and the other way round."""
    pod = mesh_pod(node, kind)
    start_proxy(pod)
    with Shell(pod, uid=0) as shell:
        shell("def opened_by(uid):\n    here, there = socketpair()\n    child = os.fork()\n    if not child:\n        os.setuid(uid)\n"
              "        s = socket(AF_INET, SOCK_STREAM)\n        send_fds(there, [b'x'], [s.fileno()])\n        os._exit(0)\n"
              "    fd = recv_fds(here, 1, 1)[1][0]\n    os.waitpid(child, 0)\n    return socket(fileno=fd)\n")
        shell("a, b = opened_by(1337), opened_by(1000); os.setresuid(1337, 1337, 0)")
        for name, port in (("a", 443), ("b", OUTBOUND)):
            shell(f"{name}.connect(('{peer.ip}', 443))")
            assert shell(f"greeting({name})")["listener"] == f"[::]:{port}"


# -- destinations ----------------------------------------------------------------------------------------------------------

@BOTH
@pytest.mark.parametrize("uid", [APP, PROXY])
@pytest.mark.parametrize("to,family", [("0.0.0.0", "4"), ("0.0.0.0", "mapped"), ("[::]", "6")])
def test_the_unspecified_address_is_this_pod(node, kind, uid, to, family):
    pod = mesh_pod(node, kind)
    start_proxy(pod)
    pod.serve("[::]:8080", uid=APP)
    answer = pod.connect(f"{to}:8080", options=[f"--family={family}"], uid=uid)
    assert listener_port(answer) == 8080
    loop = "::1" if family == "6" else "127.0.0.1"
    assert loop in answer["acceptor"]["sockname"] and loop in answer["acceptor"]["peername"] and loop in answer["peername"]


@pytest.mark.parametrize("uid", [APP, PROXY])
@pytest.mark.parametrize("to", ["224.0.0.1:80", "239.255.0.1:80", "255.255.255.255:80", "127.255.255.255:80", "[ff02::1]:80", "[ff0e::1]:80"])
def test_what_tcp_cannot_reach_fails_as_without_weir(node, uid, to):
    """Multicast and broadcast: the kernel's own errno."""
    errors = []
    for pod in (plain_pod(node), mesh_pod(node, "iptables"), mesh_pod(node)):
        if pod.mesh:
            start_proxy(pod)
        answer = pod.connect(to, options=["--timeout=0.3"], uid=uid)
        errors.append((answer["errno"], listener_port(answer)))
    assert errors[2] == errors[1] == errors[0]


@pytest.mark.parametrize("to", ["192.0.2.1:443", "[2001:db8::1]:443"])
def test_an_unreachable_destination_fails_as_without_weir(node, to):
    """The proxy's own call, which nobody redirects: the node answers that there is no route."""
    errors = [pod.connect(to, options=["--timeout=2"], uid=PROXY)["errno"] for pod in (plain_pod(node), mesh_pod(node, "iptables"), mesh_pod(node))]
    assert errors[2] == errors[1] == errors[0] and errors[0] in ("ENETUNREACH", "EHOSTUNREACH")


def test_a_family_that_the_pod_does_not_have_is_unreachable(node):
    """An application that tries IPv6 first must fall back to IPv4 at once, as without a mesh."""
    pod = node.pod("four", mesh="istio", ipv6=None)
    wait_state(node, pod.write())
    start_proxy(pod)
    assert pod.connect("[2001:db8::1]:443", options=["--timeout=2"], uid=APP)["errno"] == "ENETUNREACH"
    assert_redirected(pod.connect("192.0.2.1:443", uid=APP), "192.0.2.1:443")


# -- while there is no proxy -----------------------------------------------------------------------------------------------

def reached(pod, peer):
    """Who answers the application's call and a call from outside: a port, or an errno."""
    answers = pod.connect(f"{peer.ip}:443", uid=APP), peer.connect(f"{pod.ip}:8080")
    return [listener_port(answer) or answer["errno"] for answer in answers]


@pytest.mark.parametrize("before", ["refuse", "direct"])
@pytest.mark.parametrize("down", ["refuse", "direct"])
def test_what_a_pod_wants_while_its_proxy_is_absent(node, peer, before, down):
    """Annotations weir.io/before-proxy and weir.io/proxy-down, out and in."""
    pod = node.pod(f"absent-{before}-{down}", mesh="istio", annotations={"weir.io/before-proxy": before, "weir.io/proxy-down": down})
    wait_state(node, pod.write(dict(pod.object())))
    pod.serve("[::]:8080", uid=APP)
    answers = {"refuse": ["ECONNREFUSED", "ECONNREFUSED"], "direct": [443, 8080]}
    assert reached(pod, peer) == answers[before]
    proxy = start_proxy(pod)
    assert reached(pod, peer) == [OUTBOUND, INBOUND]
    proxy.stop()
    assert reached(pod, peer) == answers[down]
    start_proxy(pod)
    assert reached(pod, peer) == [OUTBOUND, INBOUND]


def test_a_pod_that_wants_no_capture_sees_what_that_does(node, peer):
    """weir.io/capture: off is a policy of weir's own: a verdict on each connection, unlike in a pod that no mesh asks for."""
    off = node.pod("off", mesh="istio", annotations={"weir.io/capture": "off"})
    none = node.pod("none")
    for pod in (off, none):
        wait_state(node, pod.write(), "not_captured").serve("[::]:8080", uid=APP)
        if pod.mesh:
            start_proxy(pod)
        assert reached(pod, peer) == [443, 8080]
        for question in (f"--to={peer.ip}:443", "--inbound=8080"):
            answer = node.weir("explain", f"default/{pod.name}", question, "-o", "json")
            assert (answer["verdict"], answer["reason"]) == ("direct", "not_captured")
            assert ("annotation weir.io/capture" in answer["because"]) == (pod is off), answer
    for direction in ("outbound", "inbound"):
        assert total(metrics(node), "weir_verdicts_total", workload="off", direction=direction) == 1
        assert total(metrics(node), "weir_verdicts_total", workload="off", direction=direction, verdict="direct", reason="not_captured") == 1
    assert total(metrics(node), "weir_verdicts_total", workload="none") == 0


# -- who is not touched ----------------------------------------------------------------------------------------------------

def test_a_stranger_below_the_same_cgroup_is_untouched(node, peer):
    """A pod without a pod file: its connections, its SO_ORIGINAL_DST, and not a trace of it in weir's tables."""
    pod = node.pod("stranger", mesh="istio")
    start_proxy(pod)
    pod.serve("[::]:8080", uid=APP)
    for to in targets(peer):
        answer = pod.connect(to, uid=APP)
        assert listener_port(answer) == 443
    assert listener_port(peer.connect(f"{pod.ip}:8080")) == 8080
    with Shell(pod) as shell:
        cookie = shell("struct.unpack('Q', tcp().getsockopt(SOL_SOCKET, 71, 8))[0]")  # SO_NETNS_COOKIE
    for name in ("weir_pods", "weir_pod_names", "weir_local", "weir_seen", "weir_listeners", "weir_origdst"):
        assert cookie not in cookies_in(node, name), name


def test_a_pod_without_a_mesh_is_untouched(node, peer):
    pod = node.pod("meshless")
    wait_state(node, pod.write(), "not_captured")
    pod.serve("[::]:8080", f"[::]:{OUTBOUND}", uid=APP)
    assert listener_port(pod.connect(f"{peer.ip}:443", uid=APP)) == 443
    assert listener_port(peer.connect(f"{pod.ip}:8080")) == 8080


def test_a_process_outside_the_pods_cgroup_is_untouched(node, peer):
    """Somebody on the node who enters the pod's network namespace, as nsenter does."""
    pod = mesh_pod(node)
    start_proxy(pod)
    done = run(PROBE, "exec", "--cgroup", node.agent_cgroup, "--netns", net.netns_path(pod.netns), "--", PROBE, "connect", f"{peer.ip}:443")
    assert '"listener":"[::]:443"' in done.stdout
    assert listener_port(pod.connect(f"{peer.ip}:443", uid=APP)) == OUTBOUND


# -- load ------------------------------------------------------------------------------------------------------------------

def test_connections_by_syn_cookies_are_captured(node, peer):
    """net.ipv4.tcp_syncookies=2: no state is kept between SYN and ACK."""
    pod = mesh_pod(node)
    sysctl(pod, "net.ipv4.tcp_syncookies=2")
    start_proxy(pod)
    for to in (f"{pod.ip}:8080", f"[{pod.ipv6}]:8080"):
        assert_redirected(peer.connect(to), to, INBOUND)
    for to in targets(peer):
        assert_redirected(pod.connect(to, uid=APP), to)
    assert netstat(pod, "SyncookiesRecv") >= 4


MANY = """
def many(number):
    sockets = []
    for i in range(number):
        s = socket(AF_INET, SOCK_STREAM)
        s.setblocking(False)
        s.connect_ex(("192.0.2.%d" % (1 + i % 250), 1000 + i))
        sockets.append((s, "192.0.2.%d:%d" % (1 + i % 250, 1000 + i)))
    wrong = []
    for s, to in sockets:
        s.settimeout(10)
        seen = greeting(s)["odst_ip"].replace("[::ffff:", "").replace("]", "")
        if seen != to:
            wrong.append((to, seen))
    return wrong
"""


def test_three_hundred_connections_at_once_keep_their_destinations(node):
    pod = mesh_pod(node)
    start_proxy(pod, options=["--reuseport=4"])
    with Shell(pod) as app:
        app(MANY)
        assert app("many(300)") == []


def test_a_lot_of_data_arrives_intact(node, peer):
    pod = mesh_pod(node)
    start_proxy(pod)
    for client, ip in ((pod, peer.ip), (peer, pod.ip)):
        answer = client.connect(f"{ip}:443", options=["--send=20000000"], uid=APP)
        assert answer["intact"] and answer["body"] == 20000000

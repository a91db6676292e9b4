# SPDX-License-Identifier: Apache-2.0
"""Datagrams with --metrics.udp: the figures of both ends are those of the applications' own books, whatever carried them."""

import http.client
import signal
import threading

import pytest

from books import metrics, pod_of
from datagrams import FIELDS, TOOLS, Datagrams, figures, series, wanted
from lab import Lab, net
from lab.agent import total
from lab.command import wait_until
from support import PROXY, Shell, bpftool, known, program_count
from test_dns import CLIENT, captured, start_answerer

AGENT_OPTIONS = ("--metrics.udp",)


# -- what an application does ----------------------------------------------------------------------------------------------

SIZES = (0, 1, 500, 1472, 1473, 9000, 65000)  # the last ones travel in fragments
FAMILIES = {"IPv4": ("AF_INET", "{ip}"), "IPv6": ("AF_INET6", "{ipv6}"), "mapped": ("AF_INET6", "::ffff:{ip}")}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("connected", [False, True])
def test_there_and_back(node, family, connected):
    with Datagrams(node, f"echo-{family.lower()}-{int(connected)}") as pair:
        kind, address = FAMILIES[family]
        to = f"('{address.format(ip=pair.server.ip, ipv6=pair.server.ipv6)}', 5000)"
        pair.near(f"s = udp({kind}); sizes = {SIZES} * 3")
        if connected:
            pair.near(f"s.connect({to}); [s.send(bytes(n)) for n in sizes] and None")
        else:
            pair.near(f"[s.sendto(bytes(n), {to}) for n in sizes] and None")
        pair.far(f"echo(s, {len(SIZES) * 3})")
        assert pair.near("take(s, len(sizes))") == [21, 3 * sum(SIZES)]
        pair.expect((21, 3 * sum(SIZES)), (21, 3 * sum(SIZES)))


WAYS = {  # what it does, how many datagrams of how many bytes that makes
    "cork": ("s.setsockopt(17, UDP_CORK, 1); [s.send(bytes(100)) for _ in range(10)]; s.setsockopt(17, UDP_CORK, 0)", (1, 1000)),
    "more": ("[s.send(bytes(100), MSG_MORE) for _ in range(9)]; s.send(bytes(100))", (1, 1000)),
    "gather": ("[s.sendmsg([bytes(10)] * 20) for _ in range(5)] and None", (5, 1000)),
    "sendmmsg": ("""
class iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]
class msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(iovec)), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]
class mmsghdr(ctypes.Structure): _fields_ = [("hdr", msghdr), ("len", ctypes.c_uint)]
many = (mmsghdr * 50)()
for one in many: one.hdr = msghdr(None, 0, ctypes.pointer(iovec(bytes(20), 20)), 1, None, 0, 0)
assert ctypes.CDLL(None).sendmmsg(s.fileno(), many, 50, 0) == 50
""", (50, 1000)),
    "segments": ("s.setsockopt(17, UDP_SEGMENT, 300); [s.send(bytes(n)) for n in (3000, 3001, 299, 300, 50)] and None", (24, 6650)),
    "segments of one call": ("s.sendmsg([bytes(10000)], [(17, UDP_SEGMENT, struct.pack('H', 1000))])", (10, 10000)),
    "zerocopy": ("s.setsockopt(SOL_SOCKET, 60, 1); [s.send(bytes(1000), 0x4000000) for _ in range(5)] and None", (5, 5000)),
    "write": ("[os.write(s.fileno(), bytes(n)) for n in (1, 10, 100)] and None", (3, 111)),
    "to the peer by name": ("[s.sendto(bytes(n), (to, 5000)) for n in (0, 7)] and None", (2, 7)),
}


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("way", WAYS)
def test_however_it_is_sent(node, way, family):
    with Datagrams(node, f"way-{list(WAYS).index(way)}-{family.lower()}") as pair:
        act, (datagrams, size) = WAYS[way]
        kind, address = FAMILIES[family]
        to = address.format(ip=pair.server.ip, ipv6=pair.server.ipv6)
        pair.near(f"s, to = udp({kind}), '{to}'; s.connect((to, 5000))")
        pair.near(act)
        assert pair.far(f"take(s, {datagrams})") == [datagrams, size]
        pair.expect((datagrams, size))


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("segments", [True, False])
def test_what_comes_in_one_piece(node, family, segments):
    """UDP_GRO: the socket takes many datagrams by one read; they stay as many as they are."""
    with Datagrams(node, f"gro-{int(segments)}-{family.lower()}") as pair:
        kind, address = FAMILIES[family]
        pair.far("s.setsockopt(17, UDP_GRO, 1); switch_gro_on(s)")
        pair.near(f"s = udp({kind}); s.connect(('{address.format(ip=pair.server.ip, ipv6=pair.server.ipv6)}', 5000))")
        if segments:
            pair.near("s.setsockopt(17, UDP_SEGMENT, 1000)")
        pair.near("[s.send(bytes(10000 if %s else 1000)) for _ in range(%d)] and None" % (segments, 10 if segments else 100))
        datagrams, size, reads = pair.far("take_coalesced(s, 100000)")
        assert (datagrams, size) == (100, 100000)
        assert reads == 10 if segments else reads <= 100
        pair.expect((100, 100000))


def test_extension_headers(node):
    """Between the header of IPv6 and that of UDP."""
    with Datagrams(node, "extended") as pair:
        pair.near(f"s = udp(AF_INET6); s.connect(('{pair.server.ipv6}', 5000))")
        for option, value in ((54, "bytes([0, 0, 1, 4, 0, 0, 0, 0])"), (59, "bytes([0, 0, 1, 4, 0, 0, 0, 0])")):  # hop-by-hop, destination
            pair.near(f"s.setsockopt(41, {option}, {value}); [s.send(bytes(n)) for n in (0, 77, 1440, 5000)] and None")
        assert pair.far("take(s, 8)") == [8, 2 * 6517]
        pair.expect((8, 2 * 6517))


# -- what does not arrive --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("segments", [False, True])
def test_a_full_queue(node, family, segments):
    """What had no room is told apart; what is left is what the application reads."""
    with Datagrams(node, f"full-{int(segments)}-{family.lower()}") as pair:
        kind, address = FAMILIES[family]
        pair.far("s.setsockopt(SOL_SOCKET, SO_RCVBUF, 20000)")
        if segments:
            pair.far("s.setsockopt(17, UDP_GRO, 1)")
            pair.near(f"s = udp({kind}); s.setsockopt(17, UDP_SEGMENT, 100)")
        else:
            pair.near(f"s = udp({kind})")
        size = 1000 if segments else 100
        pair.near(f"s.connect(('{address.format(ip=pair.server.ip, ipv6=pair.server.ipv6)}', 5000)); [s.send(bytes({size})) for _ in range(500)] and None")
        reads, taken = pair.far("drain(s)")
        lost = (500 - reads) * size
        assert lost > 0 and taken == reads * size
        number = size // 100
        pair.expect((500 * number, 500 * size), dropped=((500 - reads) * number, lost))


def test_a_filter_at_the_socket(node):
    with Datagrams(node, "filtered", "AF_INET") as pair:
        pair.far("code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0), 8)")  # BPF_RET 0: nothing is let in
        pair.near(f"s = udp(); [s.sendto(bytes(100), ('{pair.server.ip}', 5000)) for _ in range(3)] and None")
        assert pair.far("take(s, 3)") == [3, 300]
        pair.far("s.setsockopt(SOL_SOCKET, 26, struct.pack('HxxxxxxP', 1, ctypes.addressof(code)))")
        pair.near(f"[s.sendto(bytes(50), ('{pair.server.ip}', 5000)) for _ in range(4)] and None")
        pair.expect((7, 500), dropped=(4, 200))


def test_what_never_leaves(node):
    """Refused by the pod's own packet filter, sent to nowhere, to a closed port: sent is what the network was given."""
    with Datagrams(node, "leaving", "AF_INET") as pair:
        net.in_netns(pair.client.netns, "nft", "-f", "-", stdin="table ip t { chain c { type filter hook output priority 0; udp dport 7 drop; }\n}\n")
        pair.near("s = udp()")
        assert pair.near.errno(f"s.sendto(bytes(10), ('{pair.server.ip}', 7))") == "EPERM"
        assert pair.near.errno(f"s.sendto(bytes(70000), ('{pair.server.ip}', 5000))") == "EMSGSIZE"
        pair.near(f"s.sendto(bytes(10), ('{pair.server.ip}', 5001)); s.sendto(bytes(20), ('192.0.2.1', 53))")
        wait_until(lambda: series(node, pair.client) == {("outbound", "leaving-server", "", "5001", "direct"): 1,
                                                         ("outbound", "external", "", "53", "direct"): 1}, "two datagrams")
        assert series(node, pair.server) == {}


def test_what_an_interface_drops(node):
    """The queue of the pod's own interface holds next to nothing: what it loses was sent, and never arrived."""
    with Datagrams(node, "queued", "AF_INET") as pair:
        net.in_netns(pair.client.netns, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "8kbit", "burst", "2000", "limit", "2000")
        pair.near(f"s = udp(); [s.sendto(bytes(500), ('{pair.server.ip}', 5000)) for _ in range(200)] and None")
        wait_until(lambda: figures(node, pair.server, "inbound")["received_datagrams"] > 0, "something to arrive")
        net.in_netns(pair.client.netns, "tc", "qdisc", "del", "dev", "eth0", "root")
        datagrams, size = pair.far("drain(s)")
        assert 0 < datagrams < 200 and size == datagrams * 500
        assert figures(node, pair.client, "outbound") == wanted((200, 100000))
        assert figures(node, pair.server, "inbound") == wanted(received=(datagrams, size))


# -- who is counted, and as what -------------------------------------------------------------------------------------------

def test_within_the_pod_and_other_protocols(node):
    """Loopback, the pod's own address; UDP-Lite; a raw socket that sees copies. Nothing of it counts, the datagram beside it once."""
    with Datagrams(node, "inner") as pair:
        pair.near("r = socket(AF_INET, SOCK_RAW, 17)")
        pair.near(f"a = udp(AF_INET6, 6000); b = udp(); [b.sendto(b'x', (to, 6000)) for to in ('127.0.0.1', '{pair.client.ip}')] and None")
        pair.near(f"c = udp(AF_INET6); [c.sendto(b'x', (to, 6000)) for to in ('::1', '{pair.client.ipv6}')] and None")
        assert pair.near("take(a, 4)") == [4, 4]
        if not pair.near.errno("l = udp(AF_INET, None, 136)"):
            pair.near(f"l.sendto(b'x', ('{pair.server.ip}', 5000))")
        pair.near(f"b.sendto(b'xyz', ('{pair.server.ip}', 5000))")
        pair.far("echo(s, 1)")
        assert pair.near("take(b, 1)") == [1, 3]
        assert pair.near("len(r.recv(2000)) > 0")
        pair.expect((1, 3), (1, 3))


def test_who_asks_and_who_answers(node):
    """By the first datagram of a socket; a reply from a socket of its own, as QUIC servers have one for each client, is a reply."""
    with Datagrams(node, "roles") as pair:
        pair.near(f"s = udp(); s.connect(('{pair.server.ip}', 5000)); s.send(b'question')")
        pair.far("o = SO_REUSEADDR; s.close(); s = socket(AF_INET, SOCK_DGRAM); s.setsockopt(SOL_SOCKET, o, 1); s.bind(('', 5000))")
        pair.near("s.send(b'question')")
        pair.far("peer = s.recvfrom(100)[1]; c = socket(AF_INET, SOCK_DGRAM); c.setsockopt(SOL_SOCKET, o, 1); c.bind(('', 5000)); c.connect(peer)")
        pair.far("c.send(b'an answer')")
        assert pair.near("take(s, 1)") == [1, 9]
        pair.expect((2, 16), (1, 9))
        pair.far("d = udp(AF_INET, 50000)")  # a server at an ephemeral port
        pair.near(f"e = udp(); e.sendto(b'x', ('{pair.server.ip}', 50000))")
        pair.far("d.sendto(b'y', d.recvfrom(10)[1])")
        assert pair.near("take(e, 1)") == [1, 1]
        assert series(node, pair.client)["outbound", "roles-server", "", "dynamic", "direct"] == 2
        assert series(node, pair.server)["inbound", "roles", "", "dynamic", "direct"] == 2


def test_services_as_they_are_dialled(node):
    client, server = pod_of(node, "asks"), pod_of(node, "answers")
    node.service("answers", "10.96.7.7", {5353: 5000}, [server], protocol="UDP")
    with Shell(client, uid=0) as near, Shell(server, uid=0) as far:
        near(TOOLS + "s = udp()")
        far(TOOLS + "s = udp(AF_INET, 5000)")
        wait_until(lambda: near("s.sendto(b'x', ('10.96.7.7', 5353)) and None") is None
                   and ("outbound", "answers", "answers", "5353", "direct") in series(node, client), "the Service to be known")
        far("s.sendto(*s.recvfrom(100))")
        assert near("take(s, 1)") == [1, 1]
    assert figures(node, client, "outbound", peer_service="answers", port="5353")["received_datagrams"] == 1
    assert figures(node, server, "inbound", peer_workload="asks", port="5000")["sent_datagrams"] == 1


def test_one_address_and_port_of_two_services(node):
    """External address and NodePort: UDP is one Service's, TCP another's, and each is named as it is dialled."""
    client, server = pod_of(node, "resolves"), pod_of(node, "two-protocols")
    for name, protocol in (("over-tcp", "TCP"), ("over-udp", "UDP")):
        node.write_object({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
                           "spec": {"type": "LoadBalancer", "externalIPs": ["203.0.113.53"], "selector": server.labels,
                                    "ports": [{"port": 53, "nodePort": 30053, "protocol": protocol}]}})
    node.write_object({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-u"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.77.0.9"}]}})
    with Shell(client, uid=0) as near:
        near(TOOLS + "s = udp()")
        for to, port in (("203.0.113.53", 53), ("10.77.0.9", 30053)):
            key = "outbound", "two-protocols", "over-udp", str(port), "direct"
            wait_until(lambda key=key, to=to, port=port: near(f"s.sendto(b'x', ('{to}', {port})) and None") or key in series(node, client), "the Services")
            near(f"t = tcp(); t.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 300); t.connect_ex(('{to}', {port})); t.close()")
    failed = {(dict(labels)["peer_service"], dict(labels)["port"]) for (name, labels), value in metrics(node).items()
              if name == "weir_tcp_connections_failed_total" and ("workload", "resolves") in labels and value}
    assert failed == {("over-tcp", "53"), ("over-tcp", "30053")}
    assert not [key for key in series(node, client) if key[2] == "over-tcp"]


def test_the_peer_is_looked_up_for_each_datagram(node):
    """A name that becomes known, and an address that another pod gets: each datagram counts for whoever has the address then."""
    client = pod_of(node, "stayer")
    with Shell(client, uid=0) as near:
        near(TOOLS + "s, to = udp(), ('10.244.8.8', 7777); s.sendto(b'x', to)")
        assert series(node, client) == {("outbound", "unknown", "", "7777", "direct"): 1}
        for number, name in enumerate(("former", "latter"), 1):
            pod = pod_of(node, name, ip="10.244.8.8")
            key = "outbound", name, "", "7777", "direct"
            wait_until(lambda key=key: near("s.sendto(b'x', to)") and series(node, client).get(key), f"{name} to be known as the peer")
            before = series(node, client)
            near("[s.sendto(b'x', to) for _ in range(5)] and None")
            after = series(node, client)
            assert after == {**before, key: before[key] + 5} and len(after) >= number + 1
            pod.delete()
            wait_until(lambda pod=pod: known(node, pod) is None, f"{name} to be let go")


def test_groups(node):
    """One datagram to a group is sent once; each socket that listens to it receives it."""
    with Datagrams(node, "group", "AF_INET") as pair:
        for family, group, join in (("AF_INET", "239.1.2.3", "inet_aton('239.1.2.3') + inet_aton('0.0.0.0')"),
                                    ("AF_INET6", "ff12::1234", "inet_pton(AF_INET6, 'ff12::1234') + struct.pack('I', if_nametoindex('eth0'))")):
            level, option = ("IPPROTO_IP", "IP_ADD_MEMBERSHIP") if family == "AF_INET" else ("IPPROTO_IPV6", "IPV6_JOIN_GROUP")
            pair.near(f"m = udp({family}, 6001); m.setsockopt({level}, {option}, {join})")  # hears itself: within the pod
            scope = "" if family == "AF_INET" else ", 0, if_nametoindex('eth0')"
            pair.near(f"g = udp({family}); g.sendto(bytes(100), ('{group}', 6001{scope}))")
            assert pair.near("take(m, 1)") == [1, 100]
            pair.near("m.close()")
        assert series(node, pair.client) == {("outbound", "several", "", "6001", "direct"): 2}
        assert figures(node, pair.client, "outbound") == wanted((2, 200))


def test_lookups_that_go_to_the_proxy(node):
    """Counted once, at the application's socket, with the server that was asked; the proxy's own lookups apart."""
    pod, first, second = captured(node, "weir", "lookups"), pod_of(node, "resolver"), pod_of(node, "other-resolver")
    for server in (first, second):
        start_answerer(server, server.name, "0.0.0.0:53", "[::]:53")
    with Shell(pod) as shell, Shell(pod, uid=PROXY, container="istio-proxy") as proxy:
        shell(CLIENT)
        proxy(CLIENT)
        assert shell(f"ask(udp(), '{first.ip}', '{second.ip}', '{first.ip}')")[second.ip][0] == "proxy"
        assert shell(f"ask(udp(AF_INET6), '{first.ipv6}', '{second.ipv6}')")[first.ipv6][0] == "proxy"
        assert shell(f"ask_connected(udp(), '{second.ip}')")[0] == "proxy"
        assert proxy(f"ask(udp(), '{first.ip}')")[first.ip][0] == "resolver"
    found = series(node, pod)
    assert found == {("outbound", "resolver", "", "53", "proxy"): 6, ("outbound", "other-resolver", "", "53", "proxy"): 6}
    leg = figures(node, pod, "outbound", "weir_proxy_udp", leg="network", peer_workload="resolver", port="53")
    assert (leg["sent_datagrams"], leg["received_datagrams"]) == (1, 1)
    assert series(node, first) == {("inbound", pod.name, "", "53", "direct"): 2}
    assert series(node, second) == {}


# -- bounds, and who lives how long ----------------------------------------------------------------------------------------

def test_full_tables_and_many_peers():
    with Lab("udp-small") as lab:
        lab.agent("--metrics.udp", "--metrics.max-flows=30")
        with Datagrams(lab, "scan", "AF_INET") as pair:
            pair.near(f"s = udp(); [s.sendto(bytes(10), ('{pair.server.ip}', 1000 + n % 100)) for n in range(1000)] and None")
            pair.near(f"[s.sendto(bytes(10), ('{pair.server.ip}', 5000)) for n in range(7)] and None")
            assert figures(lab, pair.client, "outbound") == wanted((1007, 10070))
            assert figures(lab, pair.server, "inbound") == wanted(received=(7, 70))
            lost = int(total(metrics(lab), "weir_udp_flow_overflow_total"))
            assert lost == figures(lab, pair.client, "outbound", peer_workload="other", port="other")["sent_datagrams"] + \
                figures(lab, pair.server, "inbound", peer_workload="other", port="other")["received_datagrams"] > 700
            # strangers without number, each with an address and a port of its own
            pair.near(f"""
r = socket(AF_INET, SOCK_RAW, IPPROTO_RAW)
to = inet_aton('{pair.server.ip}')
for n in range(20000):
    source = struct.pack('>I', 0x2e000000 + n)
    r.sendto(struct.pack('>BBHHHBBH4s4sHHHH', 0x45, 0, 38, 0, 0, 64, 17, 0, source, to, n + 1024, 5000, 18, 0) + bytes(10), ('{pair.server.ip}', 0))
""")
            assert figures(lab, pair.server, "inbound") == wanted(received=(20007, 200070))
            assert figures(lab, pair.client, "outbound") == wanted((1007, 10070))  # a raw socket's are not counted
            assert total(metrics(lab), "weir_map_entries", map="weir_udp_flows") < 70
        pair.client.delete()
        wait_until(lambda: known(lab, pair.client) is None, "the pod to be let go")
        wait_until(lambda: series(lab, pair.client) == {}, "its series to disappear")
        late = pod_of(lab, "late")
        with Shell(late, uid=0) as shell:
            shell(TOOLS + f"s = udp(); s.sendto(b'x', ('{pair.server.ip}', 5000))")
        assert series(lab, late) == {("outbound", "scan-server", "", "5000", "direct"): 1}  # a place of its own


def test_agents_come_and_go_while_it_flows():
    with Lab("udp-restart") as lab:
        lab.agent("--metrics.udp")
        with Datagrams(lab, "flows") as pair:
            pair.far("t = threading.Thread(target=echo, args=(s, 30000)); t.start()")
            pair.near(f"""
s = udp(); s.connect(('{pair.server.ip}', 5000)); got = [0, 0]
def flood():
    for n in range(30000):
        s.send(bytes(n % 1000)); got[0] += 1; got[1] += len(s.recv(2000))
t = threading.Thread(target=flood); t.start()
""")
            seen, stop = [], threading.Event()

            def scrape():
                while not stop.is_set():
                    try:
                        now = figures(lab, pair.client, "outbound")
                    except (OSError, http.client.HTTPException):
                        continue  # no agent at the moment, or it was killed in the middle
                    seen.append(now)

            thread = threading.Thread(target=scrape)
            thread.start()
            try:
                for kills, kill in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), 1):
                    wait_until(lambda least=5 * kills: len(seen) > least, "scrapes")
                    lab.agents[-1].stop(kill)
                    lab.agent("--metrics.udp")
                assert pair.near("t.join(60) or got") == [30000, sum(n % 1000 for n in range(30000))]
            finally:
                stop.set()
                thread.join()
            pair.expect((30000, 14985000), (30000, 14985000))
            for field in FIELDS:
                values = [one[field] for one in seen]
                assert values == sorted(values), field


def test_off_means_that_nothing_is_there():
    with Lab("udp-off") as lab:
        lab.agent()
        plain = program_count(lab)

        def left():
            found = [path for path in (*lab.bpf_dir.iterdir(), *(lab.bpf_dir / "links").iterdir()) if "udp_" in path.name]
            return sorted(path.name for path in found), program_count(lab) - plain

        assert left() == ([], 0)
        lab.agents[-1].stop()
        agent = lab.agent("--metrics.udp")
        hooks = {dict(labels)["hook"]: value for (name, labels), value in agent.metrics().items() if name == "weir_hook_attached"}
        assert hooks["udp_in"] == hooks["udp_out"] == 1
        assert left() == (["udp_dropped", "udp_in", "udp_out", "weir_udp_flows", "weir_udp_last", "weir_udp_socks"], 2)
        agent.stop(signal.SIGKILL)
        lab.agent()
        assert left() == ([], 0)
        with Datagrams(lab, "unseen") as pair:
            pair.near(f"s = udp(); s.sendto(b'x', ('{pair.server.ip}', 5000))")
            assert pair.far("take(s, 1)") == [1, 1]
            assert series(lab, pair.client) == {}


def test_nothing_was_lost_on_the_way(node):
    now = metrics(node)
    assert total(now, "weir_udp_flow_overflow_total") == total(now, "weir_untracked_sockets_total") == 0
    assert bpftool("map", "show", "pinned", node.bpf_dir / "weir_udp_flows")["max_entries"] == 65536

# SPDX-License-Identifier: Apache-2.0
"""Capture of name lookups, in a pod with Istio's own rules loaded by the real iptables-restore and in one under weir.

A responder in the proxy's place says where a query came from; servers that are really there say who they are. Clients are the habits of
resolvers: connected sockets (glibc, Go), one socket for several servers (musl), TCP.
"""

import pytest

from lab import Lab
from lab.command import wait_until
from support import APP, KINDS, PROXY, PYTHON, Shell, known, listener_port, plain, wait_state

ANSWERER = r"""
import json, select, socket, sys
name, sockets = sys.argv[1], []
for address in sys.argv[2:]:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host.strip("[]"), int(port)))
    sockets.append(s)
print("ready", flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        data, peer = s.recvfrom(4096)
        s.sendto(json.dumps([name, data.decode(), *peer[:2]]).encode(), peer)
"""
CLIENT = r"""
def udp(family=AF_INET, bind=None):
    s = socket(family, SOCK_DGRAM)
    s.settimeout(5)
    if bind:
        s.bind(bind)
    return s

def ask(s, *servers, port=53):
    # every server at once, as musl does; {server: [[who, source], the address that the answer is said to come from]}
    for server in servers:
        s.sendto(server.encode(), (server, port))
    got = {}
    for _ in servers:
        data, peer = s.recvfrom(4096)
        who, asked, *source = json.loads(data)
        got[asked] = [who, source[0], list(peer[:2])]
    return got

def ask_connected(s, server):
    s.connect((server, 53))
    s.send(server.encode())
    data, peer = s.recvfrom(4096)
    who, asked, *source = json.loads(data)
    return [who, source[0], list(peer[:2]), list(s.getpeername()[:2]), s.getsockname()[0]]
"""
DNS4 = """* nat
-N ISTIO_OUTPUT
-N ISTIO_OUTPUT_DNS
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -p udp --dport 15020 -j RETURN
-A ISTIO_OUTPUT -o lo -s {six} -j RETURN
-A ISTIO_OUTPUT -o lo ! -d {one} -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d {one} -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS
-A ISTIO_OUTPUT_DNS -p tcp --dport 53 {server} -j REDIRECT --to-ports 15053
-A ISTIO_OUTPUT_DNS -p udp --dport 53 {server} -j REDIRECT --to-port 15053
-A ISTIO_OUTPUT -d {one} -j RETURN
-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
* raw
-N ISTIO_OUTPUT_DNS
-N ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT_DNS
-A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
-A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
-A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1
-A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2
-A PREROUTING -j ISTIO_INBOUND
-A ISTIO_OUTPUT_DNS -p udp --dport 53 {server} -j CT --zone 2
-A ISTIO_INBOUND -p udp --sport 53 {source} -j CT --zone 1
COMMIT
"""


def rules(server4=None, server6=None):
    """What istio-iptables makes with DNS capture: of any server, or of these alone."""
    both = (("127.0.0.6/32", "127.0.0.1/32", server4), ("::6/128", "::1/128", server6))
    return "".join(DNS4.format(six=six, one=one, server=f"-d {at}" if at else "", source=f"-s {at}" if at else "") for six, one, at in both)


def start_answerer(pod, name, *addresses, **place):
    log = pod.lab.log_path(f"{pod.name}_answerer")
    with open(log, "w", encoding="utf-8") as out:
        process = pod.popen([PYTHON, "-c", ANSWERER, name, *addresses], stdout=out, stderr=out, **place)
    wait_until(lambda: log.read_text().startswith("ready") or process.poll() is not None, f"{pod.name}: answerer")
    assert process.poll() is None, log.read_text()
    return process


def captured(lab, kind, name, server4=None, server6=None, **env):
    """A pod that captures lookups, with a responder and a proxy in it."""
    pod = lab.pod(f"{kind}-{name}", mesh="istio", proxy_env={"ISTIO_META_DNS_CAPTURE": "true", "ISTIO_DUAL_STACK": "true", **env})
    if kind == "iptables":
        lab.iptables(pod, rules(server4, server6))
    else:
        pod.write()
        wait_state(lab, pod)
    start_answerer(pod, "proxy", "127.0.0.1:15053", "[::1]:15053", uid=PROXY, container="istio-proxy")
    pod.serve("127.0.0.1:15053", "[::1]:15053", "[::]:15001", "[::]:15006", uid=PROXY, container="istio-proxy")
    return pod


def verdicts(world, pod):
    """{(verdict, reason): how many} of a pod."""
    return {(dict(labels)["verdict"], dict(labels)["reason"]): count for (name, labels), count in world["agent"].metrics().items()
            if name == "weir_verdicts_total" and ("workload", pod.name) in labels}


@pytest.fixture(scope="module")
def world():
    with Lab("dns") as lab:
        agent = lab.agent()
        servers = [lab.pod(f"server-{i}") for i in range(3)]
        for i, server in enumerate(servers):
            start_answerer(server, f"server-{i}", "0.0.0.0:53", "[::]:53", "0.0.0.0:54")
            server.serve("[::]:53")
        yield {"lab": lab, "agent": agent, "servers": servers, **{kind: captured(lab, kind, "all") for kind in KINDS}}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def app(world, kind):
    with Shell(world[kind]) as shell:
        shell(CLIENT)
        yield shell


def test_a_connected_socket(world, kind, app):
    """glibc and Go: the answer is said to come from the server, and so is the peer; the source is the pod's address."""
    pod, server = world[kind], world["servers"][0].ip
    assert app(f"ask_connected(udp(), {server!r})") == ["proxy", pod.ip, [server, 53], [server, 53], pod.ip]


def test_a_connected_socket_over_ipv6(world, kind, app):
    pod, server = world[kind], world["servers"][0].ipv6
    assert app(f"ask_connected(udp(AF_INET6), {server!r})") == ["proxy", pod.ipv6, [server, 53], [server, 53], pod.ipv6]


def test_a_connected_socket_to_a_mapped_address(world, kind, app):
    pod, server = world[kind], f"::ffff:{world['servers'][0].ip}"
    assert app(f"ask_connected(udp(AF_INET6), {server!r})") == ["proxy", pod.ip, [server, 53], [server, 53], f"::ffff:{pod.ip}"]


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.53", "POD", "192.0.2.53"])
def test_any_server_is_captured(world, kind, app, server):
    """Also such as are not there, and those of the pod itself."""
    pod = world[kind]
    server = pod.ip if server == "POD" else server
    source = "127.0.0.1" if server.startswith("127") else pod.ip
    for s in ("udp()", f"udp(bind=('0.0.0.0', 0))"):
        assert app(f"ask({s}, {server!r})") == {server: ["proxy", source, [server, 53]]}
    assert app(f"ask_connected(udp(), {server!r})")[:3] == ["proxy", source, [server, 53]]


FAMILIES = {"4": ("AF_INET", lambda server: server.ip), "6": ("AF_INET6", lambda server: server.ipv6),
            "mapped": ("AF_INET6", lambda server: f"::ffff:{server.ip}")}


@pytest.mark.parametrize("family", FAMILIES)
def test_several_servers_from_one_socket(world, kind, app, family):
    """musl: each answer from the server that was asked. Of the first the responder sees the pod's own address, port untouched."""
    constant, address = FAMILIES[family]
    servers = [address(server) for server in world["servers"]]
    app(f"s = udp({constant})")
    for _ in range(3):
        got = app(f"ask(s, *{servers})")
        assert {asked: [who, peer] for asked, (who, _, peer) in got.items()} == {server: ["proxy", [server, 53]] for server in servers}
    assert plain(got[servers[0]][1]) == (world[kind].ipv6 if family == "6" else world[kind].ip)


@pytest.mark.parametrize("bound", ["POD", "127.0.0.1"])
def test_a_bound_socket_asks_several(world, kind, app, bound):
    pod = world[kind]
    servers = ["127.0.0.53", "127.0.0.54"] if bound == "127.0.0.1" else [server.ip for server in world["servers"]]
    got = app(f"ask(udp(bind=({(pod.ip if bound == 'POD' else bound)!r}, 0)), *{servers})")
    assert {asked: [who, peer] for asked, (who, _, peer) in got.items()} == {server: ["proxy", [server, 53]] for server in servers}


def test_many_servers_from_one_socket(world, kind, app):
    """More than weir remembers at a time, in turn."""
    app("s = udp()")
    for start in range(1, 100, 20):
        servers = [f"192.0.2.{n}" for n in range(start, start + 20)]
        got = app(f"ask(s, *{servers})")
        assert {asked: peer for asked, (_, _, peer) in got.items()} == {server: [server, 53] for server in servers}


def test_sendmmsg(world, kind, app):
    """glibc sends the questions for A and AAAA with one call on a connected socket; here to two servers on one that is not."""
    servers = [server.ip for server in world["servers"][:2]]
    code = f"""
libc = ctypes.CDLL(None, use_errno=True)
class iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]
class msghdr(ctypes.Structure): _fields_ = [("name", ctypes.c_char_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(iovec)), ("iovlen", ctypes.c_size_t),
    ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]
class mmsghdr(ctypes.Structure): _fields_ = [("hdr", msghdr), ("len", ctypes.c_uint)]
s, messages, keep = udp(), (mmsghdr * 2)(), []
for i, server in enumerate({servers}):
    name = struct.pack("=HH", AF_INET, htons(53)) + inet_aton(server) + bytes(8)
    iov = iovec(server.encode(), len(server))
    keep += [name, iov]
    messages[i].hdr = msghdr(name, 16, ctypes.pointer(iov), 1, None, 0, 0)
sent = libc.sendmmsg(s.fileno(), messages, 2, 0)
got = {{}}
for _ in range(2):
    data, peer = s.recvfrom(4096)
    got[json.loads(data)[1]] = list(peer)
"""
    app(code)
    assert app("sent") == 2
    assert app("got") == {server: [server, 53] for server in servers}


@pytest.mark.parametrize("way", ["IP_UNICAST_IF", "IP_PKTINFO", "IPV6_PKTINFO"])
def test_an_interface_that_the_sender_chooses(world, kind, app, way):
    """REDIRECT leads the datagram over lo all the same; behind weir the socket's choice cannot be taken back, and nothing answers."""
    six = way == "IPV6_PKTINFO"
    server = world["servers"][0].ipv6 if six else world["servers"][0].ip
    app(f"s = udp({'AF_INET6' if six else 'AF_INET'}); s.settimeout(5 if '{kind}' == 'iptables' else 1); index = if_nametoindex('eth0')")
    if way == "IP_UNICAST_IF":
        app(f"s.setsockopt(SOL_IP, 50, struct.pack('!I', index)); s.sendto(b'q', ('{server}', 53))")
    else:
        level, kind_of, data = ("41", "50", "'=16sI', bytes(16), index") if six else ("0", "8", "'=I8s', index, bytes(8)")
        app(f"s.sendmsg([b'q'], [({level}, {kind_of}, struct.pack({data}))], 0, ('{server}', 53))")
    if kind == "iptables":
        assert app("json.loads(s.recv(4096))[0]") == "proxy"
    else:
        assert app.errno("s.recv(4096)") == "TIMEOUT"


def test_lookups_and_other_datagrams_on_one_socket(world, kind, app):
    servers = world["servers"]
    app("s = udp()")
    assert app(f"ask(s, {servers[0].ip!r})")[servers[0].ip][0] == "proxy"
    app(f"s.sendto({servers[0].ip!r}.encode(), ({servers[0].ip!r}, 54))")
    got = app("list(s.recvfrom(4096))")
    assert got[1] == [servers[0].ip, 54] and "server-0" in got[0]


def test_a_socket_that_connects_again(world, kind, app):
    """Another server, then a destination that is not captured."""
    one, two = (server.ip for server in world["servers"][:2])
    app("s = udp()")
    assert app(f"ask_connected(s, {one!r})")[:4] == ["proxy", world[kind].ip, [one, 53], [one, 53]]
    assert app(f"ask_connected(s, {two!r})")[:4] == ["proxy", world[kind].ip, [two, 53], [two, 53]]
    app(f"s.connect(({one!r}, 54)); s.send(b'x')")
    assert app("list(s.getpeername())") == [one, 54]
    assert app("list(s.recvfrom(4096)[1])") == [one, 54]


def test_the_proxys_own_lookups(world, kind):
    """By uid or by gid: to the server that is really there."""
    server = world["servers"][0].ip
    for uid, gid in ((PROXY, PROXY), (PROXY, APP), (APP, PROXY), (0, PROXY)):
        with Shell(world[kind], uid=uid, gid=gid) as shell:
            shell(CLIENT)
            assert shell(f"ask(udp(), {server!r})") == {server: ["server-0", world[kind].ip, [server, 53]]}
            assert shell(f"ask_connected(udp(), {server!r})")[0] == "server-0"


def test_lookups_over_tcp(world, kind):
    pod, server = world[kind], world["servers"][0]
    for to in (f"{server.ip}:53", f"[{server.ipv6}]:53", "127.0.0.53:53", "127.0.0.1:53", f"{pod.ip}:53", "192.0.2.53:53"):
        got = pod.connect(to, uid=APP, options=["--timeout=5"])
        assert got["ok"] and listener_port(got) == 15053, got
        assert plain(got["acceptor"]["odst_ipv6" if "[" in to else "odst_ip"]) == to
        assert plain(got["peername"]) == to
    assert listener_port(pod.connect(f"{pod.ip}:53", uid=0, gid=PROXY)) == 15006  # rule 4a has no exception for port 53
    assert pod.connect(f"{server.ip}:53", uid=PROXY)["acceptor"]["listener"] == "[::]:53"


def test_nobody_answers(world, kind):
    """The responder is down: a connected socket is told so, another one waits."""
    lab = world["lab"]
    pod = lab.pod(f"{kind}-mute", mesh="istio", proxy_env={"ISTIO_META_DNS_CAPTURE": "true"})
    if kind == "iptables":
        lab.iptables(pod, rules())
    else:
        pod.write()
        wait_state(lab, pod)
    with Shell(pod) as shell:
        shell(CLIENT)
        # behind iptables the ICMP error is in another conntrack zone and is not translated
        assert shell.errno("ask_connected(udp(), '192.0.2.53')") == ("TIMEOUT" if kind == "iptables" else "ECONNREFUSED")
        shell("s = udp(); s.settimeout(0.3)")
        assert shell.errno("ask(s, '192.0.2.53')") == "TIMEOUT"
    if kind == "weir":
        assert verdicts(world, pod) == {("refuse", "before_proxy"): 2}


def test_only_the_servers_of_resolv_conf(world, kind):
    """ISTIO_META_DNS_CAPTURE without CAPTURE_ALL_DNS as istio-init reads it."""
    lab, (first, second, _) = world["lab"], world["servers"]
    pod = lab.pod(f"{kind}-listed", mesh="istio", proxy_env={"ISTIO_META_DNS_CAPTURE": "true"})
    if kind == "iptables":
        lab.iptables(pod, rules(first.ip))
    else:
        item = pod.object()
        item["metadata"]["annotations"]["weir.io/capture"] = "on"
        item["spec"]["dnsPolicy"], item["spec"]["dnsConfig"] = "None", {"nameservers": [first.ip]}
        item["spec"]["initContainers"] = [{"name": "istio-init", "image": "proxyv2", "args": ["istio-iptables", *ARGS], "env": [
            {"name": "ISTIO_META_DNS_CAPTURE", "value": "true"}]}]
        pod.write(item)
        wait_until(lambda: (known(lab, pod) or {}).get("state"), "the agent to know the pod")
        if known(lab, pod)["state"] != "captured":
            pytest.fail(known(lab, pod)["reason"])
    start_answerer(pod, "proxy", "127.0.0.1:15053", uid=PROXY, container="istio-proxy")
    pod.serve("127.0.0.1:15053", "[::]:15001", "[::]:15006", uid=PROXY, container="istio-proxy")
    with Shell(pod) as shell:
        shell(CLIENT)
        got = shell(f"ask(udp(), {first.ip!r}, {second.ip!r})")
        assert got == {first.ip: ["proxy", pod.ip, [first.ip, 53]], second.ip: ["server-1", pod.ip, [second.ip, 53]]}
    for to, lands in ((f"{first.ip}:53", 15053), ("127.0.0.53:53", 15001), (f"{pod.ip}:53", 15001), (f"{second.ip}:53", 15001)):
        assert listener_port(pod.connect(to, uid=APP, options=["--timeout=5"])) == lands, to
    assert pod.connect("127.0.0.1:53", uid=APP)["errno"] == "ECONNREFUSED"


ARGS = ["-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"]


def test_nothing_is_captured_without_it(world):
    lab, server = world["lab"], world["servers"][0].ip
    pod = lab.pod("no-capture", mesh="istio")
    pod.write()
    wait_state(lab, pod)
    with Shell(pod) as shell:
        shell(CLIENT)
        assert shell(f"ask(udp(), {server!r})") == {server: ["server-0", pod.ip, [server, 53]]}
        assert shell(f"ask_connected(udp(), {server!r})")[0] == "server-0"


def test_direct_without_a_responder(world):
    """weir.io/before-proxy: direct holds for lookups as well."""
    lab, server = world["lab"], world["servers"][0].ip
    pod = lab.pod("eager", mesh="istio", proxy_env={"ISTIO_META_DNS_CAPTURE": "true"}, annotations={"weir.io/before-proxy": "direct"})
    pod.write()
    wait_state(lab, pod)
    with Shell(pod) as shell:
        shell(CLIENT)
        assert shell(f"ask(udp(), {server!r})")[server][0] == "server-0"
        process = start_answerer(pod, "proxy", "127.0.0.1:15053", uid=PROXY, container="istio-proxy")
        assert shell(f"ask(udp(), {server!r})")[server][0] == "proxy"
        process.kill()
        process.wait()
        assert shell.errno(f"ask_connected(udp(), {server!r})") == "ECONNREFUSED"  # it listened once
    assert verdicts(world, pod) == {("direct", "before_proxy"): 1, ("redirect", "dns"): 1, ("refuse", "proxy_down"): 1}
    explained = lab.weir("explain", "default/eager", f"--to={server}:53", "--proto=udp", "-o", "json")
    assert (explained["verdict"], explained["reason"]) == ("refuse", "proxy_down")


def test_explain(world):
    lab, pod, server = world["lab"], world["weir"], world["servers"][0].ip

    def explain(*options):
        return lab.weir("explain", f"default/{pod.name}", *options, "-o", "json")

    got = explain(f"--to={server}:53", "--proto=udp", f"--uid={APP}", f"--gid={APP}")
    assert (got["verdict"], got["to"], got["reason"]) == ("redirect", "127.0.0.1:15053", "dns")
    assert got["because"] == "name lookups are captured (environment of container istio-proxy)"
    got = explain(f"--to={server}:53", "--proto=udp", f"--uid={PROXY}")
    assert (got["verdict"], got["reason"]) == ("direct", "proxy_uid")
    got = explain(f"--to={server}:54", "--proto=udp")
    assert (got["verdict"], got["reason"]) == ("direct", "not_tcp")
    got = explain("--to=127.0.0.53:53", f"--uid={APP}", f"--gid={APP}")
    assert (got["verdict"], got["to"], got["reason"]) == ("redirect", "127.0.0.1:15053", "dns")

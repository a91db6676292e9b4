# SPDX-License-Identifier: Apache-2.0
"""Which connections are encrypted: told from their first payload, on the legs that leave a pod, and only when it is asked for."""

import pytest

from lab import Lab, net
from lab.agent import total
from lab.command import run, wait_until
from support import PYTHON, Shell, wait_state

METRIC = "weir_tcp_connections_tls_total"
HELLO = r"b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(506)"
LONG_HELLO = r"b'\x16\x03\x01\x07\x00\x01\x00\x06\xfc\x03\x03' + bytes(1786)"  # with a post-quantum key: two segments
ANSWER = r"b'\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03' + bytes(116)"
ALERT = r"b'\x15\x03\x03\x00\x02\x02\x28'"


@pytest.fixture(scope="module")
def node():
    with Lab("tls") as lab:
        agent = lab.agent("--metrics.tls")
        server, client = (lab.pod(name) for name in ("server", "client"))
        for pod in (server, client):
            pod.write()
            wait_state(lab, pod, "not_captured")
        server.serve("[::]:9000", mode="sink")
        yield lab, agent, server, client


def counts(agent, pod, direction):
    metrics = agent.metrics()
    return {tls: total(metrics, METRIC, workload=pod.name, direction=direction, tls=tls) for tls in ("yes", "no", "unknown")}


def expect(node, tls, act):
    """What act() does adds one connection of this kind at both of its ends, and none of another."""
    _, agent, server, client = node
    ends = ((client, "outbound"), (server, "inbound"))
    before = [counts(agent, *end) for end in ends]
    act()
    after = [{**was, tls: was[tls] + 1} for was in before]
    wait_until(lambda: [counts(agent, *end) for end in ends] == after, f"one more tls={tls} at both ends of {before}", 5)


@pytest.mark.parametrize("address", ["4", "6"])
@pytest.mark.parametrize("tls, payload", [
    ("yes", HELLO), ("yes", r"b'\x16'"), ("no", "b'GET / HTTP/1.1\\r\\n\\r\\n'"), ("no", "b'x'"), ("no", r"b'\x16\x02' + bytes(20)"), ("no", r"b'\x16\x02'"), ("unknown", "b''")])
def test_the_first_bytes_tell(node, tls, payload, address):
    _, _, server, client = node

    def act():
        to, family = (server.ip, "AF_INET") if address == "4" else (server.ipv6, "AF_INET6")
        with Shell(client) as shell, Shell(server) as there:
            there(f"l = tcp({family}); l.bind(('', 9001)); l.listen()")
            shell(f"s = tcp({family}); s.connect(('{to}', 9001))")
            there("a = l.accept()[0]; l.close()")
            if payload != "b''":
                shell(f"s.send({payload}); s.send(b'more')")
            shell("s.shutdown(SHUT_WR)")
            there("while a.recv(4096): pass\na.close()")
            shell("s.recv(1); s.close()")

    expect(node, tls, act)


class Talk:
    """A connection from the client to the server, at port 9001: s here, a there."""

    def __init__(self, server, client, before="", how="s.connect({to})"):
        self.near, self.far = Shell(client), Shell(server)
        self.far(f"l = tcp(); l.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); {before or 'pass'}; l.bind(('', 9001)); l.listen()")
        self.near("s = tcp(); s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)")
        self.near(how.format(to=f"('{server.ip}', 9001)"))
        self.far("a = l.accept()[0]; l.close()")

    def end(self):
        self.near("s.shutdown(SHUT_WR)")
        self.far("while a.recv(4096): pass\na.close()")
        self.near("while s.recv(4096): pass\ns.close()")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.near.close()
        self.far.close()


@pytest.mark.parametrize("tls, first", [("yes", LONG_HELLO), ("no", "b'POST / HTTP/1.1' + bytes(1784)")], ids=["TLS", "HTTP"])
def test_the_first_segment_comes_last(node, tls, first):
    """It was lost: what arrives before it tells nothing."""
    _, _, server, client = node

    def act():
        with Talk(server, client) as talk:
            rule = "tcp dport 9001 meta length > 60"
            net.in_netns(server.netns, "nft", "-f", "-", stdin=f"table ip once {{ chain c {{ type filter hook prerouting priority 0; {rule} quota until 1500 bytes drop; }}\n}}\n")
            talk.near(f"b = {first}; s.send(b[:1448]); s.send(b[1448:])")
            talk.far(f"n = 0\nwhile n < {len(eval(first))}: n += len(a.recv(4096))")
            net.in_netns(server.netns, "nft", "delete", "table", "ip", "once")
            talk.end()

    expect(node, tls, act)


@pytest.mark.parametrize("tls, first, answer", [
    ("yes", HELLO, ANSWER), ("yes", LONG_HELLO, ANSWER), ("yes", HELLO, ALERT), ("no", "b'GET / HTTP/1.1'", "b'HTTP/1.1 200 OK'")],
    ids=["TLS", "long hello", "alert", "HTTP"])
@pytest.mark.parametrize("on", ["its end", "the SYN"])
def test_payload_on_the_handshake(node, on, tls, first, answer):
    """A listener that defers accept() sees the first payload before there is a socket for it, and Fast Open puts it on the SYN: the answer tells."""
    _, _, server, client = node
    deferred = on != "the SYN"
    for pod in (server, client):
        net.in_netns(pod.netns, "sysctl", "-qw", "net.ipv4.tcp_fastopen=3")

    def act():
        before, how = "l.setsockopt(IPPROTO_TCP, 9, 5)", f"s.connect({{to}}); s.send({first})"
        if not deferred:
            before, how = "l.setsockopt(IPPROTO_TCP, 23, 16)", f"s.sendto({first}, 0x20000000, {{to}})"
        with Talk(server, client, before, how) as talk:
            talk.far(f"n = 0\nwhile n < {len(eval(first))}: n += len(a.recv(4096))\na.send({answer})")
            talk.end()

    if not deferred:  # the first time the client asks for its cookie, and nothing is on the SYN
        with Talk(server, client, "l.setsockopt(IPPROTO_TCP, 23, 16)", "s.sendto(b'', 0x20000000, {to})") as talk:
            talk.end()
    expect(node, tls, act)


def test_one_byte_at_a_time(node):
    _, _, server, client = node

    def act():
        with Talk(server, client) as talk:
            talk.near(f"[s.send(bytes([byte])) for byte in ({HELLO})[:20]] and None")
            talk.end()

    expect(node, "yes", act)


@pytest.mark.parametrize("first", [r"b'220 mail ESMTP\r\n'", r"b'\x4a\0\0\0\x0a8.0.36'"], ids=["SMTP", "MySQL"])
def test_the_server_speaks_first(node, first):
    """SMTP, MySQL: plaintext is what the connection begins with, whatever comes of it."""
    _, _, server, client = node

    def act():
        with Talk(server, client) as talk:
            talk.far(f"a.send({first})")
            talk.near(f"s.recv(100); s.send({HELLO})")
            talk.end()

    expect(node, "no", act)


def test_a_real_handshake(node, tmp_path):
    _, _, server, client = node
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "crt", "-days", "2", "-subj", "/CN=server")
    code = (f"import http.server, ssl\ns = http.server.HTTPServer(('', 9443), http.server.SimpleHTTPRequestHandler)\n"
            f"c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('{tmp_path}/crt', '{tmp_path}/key')\n"
            f"s.socket = c.wrap_socket(s.socket, server_side=True)\ns.serve_forever()")
    process = server.popen([PYTHON, "-c", code])
    try:
        server.wait_listen(9443)
        expect(node, "yes", lambda: client.run(["curl", "-sk", "-o", "/dev/null", f"https://{server.ip}:9443/"]))
    finally:
        process.kill()
        process.wait()


def test_off_means_nothing_is_attached(node):
    lab, agent, server, client = node
    assert (lab.bpf_dir / "links/tls_in").exists() and (lab.bpf_dir / "links/tls_out").exists()
    before = counts(agent, client, "outbound")
    agent.stop()
    again = lab.agent()
    assert not (lab.bpf_dir / "links/tls_in").exists() and not (lab.bpf_dir / "links/tls_out").exists()
    client.connect(f"{server.ip}:9000", options=("--send", "10"))
    assert counts(again, client, "outbound") == before


def test_a_connection_older_than_weir():
    """Nobody knows what it began with."""
    with Lab("tls-older") as lab:
        server, client = (lab.pod(name) for name in ("server", "client"))
        with Talk(server, client) as talk:
            talk.near(f"s.send({HELLO})")
            talk.far(f"a.recv(4096); a.send({ANSWER})")
            agent = lab.agent("--metrics.tls")
            for pod in (server, client):
                wait_state(lab, pod.write(), "not_captured")
            talk.near("s.recv(4096); s.send(b'x' * 100)")
            talk.end()
            for pod, direction in ((client, "outbound"), (server, "inbound")):
                wait_until(lambda pod=pod, direction=direction: counts(agent, pod, direction) == {"yes": 0, "no": 0, "unknown": 1}, "one connection that nothing is known of")

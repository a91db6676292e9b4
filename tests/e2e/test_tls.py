# SPDX-License-Identifier: Apache-2.0
"""Which connections are encrypted: told from their first payload, on the legs that leave a pod, and only when it is asked for."""

import pytest

from lab import Lab
from lab.agent import total
from lab.command import run, wait_until
from support import PYTHON, Shell, wait_state

METRIC = "weir_tcp_connections_tls_total"
HELLO = r"b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(506)"


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
    ("yes", HELLO), ("yes", r"b'\x16'"), ("no", "b'GET / HTTP/1.1\\r\\n\\r\\n'"), ("no", "b'x'"), ("no", r"b'\x16\x02' + bytes(20)"), ("unknown", "b''")])
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

# SPDX-License-Identifier: Apache-2.0
"""Requests of real HTTP clients, in C, Go, Java, Node and Python, through real proxies; in pods under weir and in such with real iptables rules.

A client's request passes its pod's proxy and, where the proxy takes what enters, that of the server's pod as well. The server says who its
client is; both proxies log what they were told was dialled.
"""

import json

import pytest

import clients
from proxies import ENVOY, ENVOY_TPROXY, ENVOY_TRANSPARENT, HAPROXY_TCP, SQUID_HTTP, endpoint
from support import APP, KINDS, PYTHON, plain_pod

SERVER = """
import http.server, json, socket, sys, threading

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"client": self.client_address[0].removeprefix("::ffff:"), "port": self.server.server_port}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

servers = [Server(("::", int(port)), Handler) for port in sys.argv[1:]]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
"""
PORTS = {client: 8081 + i for i, client in enumerate(clients.HTTP)}  # a port each, so that a proxy's log tells their connections apart


class Road:
    """Two pods, and the proxy in both of them if it takes what enters."""

    def __init__(self, lab, proxy, kind):
        self.proxy = proxy
        self.client = proxy.pod(lab, kind)
        self.server = proxy.pod(lab, kind) if proxy.takes_inbound else plain_pod(lab)
        self.server.popen([PYTHON, "-c", SERVER, *PORTS.values()], uid=APP)
        self.here = proxy(self.client, http_ports=list(PORTS.values()))
        self.there = proxy(self.server, http_ports=list(PORTS.values())) if proxy.takes_inbound else None
        self.server.wait_listen(*PORTS.values())


@pytest.fixture(scope="module", params=[ENVOY, ENVOY_TPROXY, ENVOY_TRANSPARENT, HAPROXY_TCP, SQUID_HTTP])
def proxy(request):
    return request.param


@pytest.fixture(scope="module", params=KINDS)
def road(request, node, proxy):
    return Road(node, proxy, request.param)


@pytest.mark.parametrize("client", clients.HTTP)
def test_a_request(road, client):
    """IPv4, which Java dials as a mapped address; and IPv6 where the proxy learns what was dialled."""
    ways = [(road.client.ip, road.server.ip)]
    if "6" in road.proxy.outbound_families:
        ways.append((road.client.ipv6, road.server.ipv6))
    port = PORTS[client]
    argv = [*clients.HTTP[client](), *[f"http://{endpoint(ip, port)}/" for _, ip in ways]]
    answers = [json.loads(line) for line in road.client.run(argv, uid=APP).stdout.splitlines()]
    assert answers == [{"client": road.proxy.source(own, ":" in ip), "port": port} for own, ip in ways]
    for own, ip in ways:
        road.here.saw("outbound", ip, port, own)
        if road.there:
            road.there.saw("inbound", ip, port, own)

# SPDX-License-Identifier: Apache-2.0
"""Real proxies as a pod's proxy. Each asks for the original destination in its own way, and tells in its log what it was told.

A class knows which pod it belongs in, of which families it learns what was dialled (outbound_families), what the application sees as its
client (source()), and with saw() whether it logged a connection from a client to a destination.
"""

import itertools
import os
import re
import shutil

import pytest

from lab import envoy, iptables
from lab.command import wait_until
from support import INBOUND, OUTBOUND, mesh_pod, plain, tproxy_pod, wait_state

COUNTER = itertools.count(1)

def host(address):
    return plain(address).rpartition(":")[0].strip("[]")


def endpoint(ip, port):
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")
HAPROXY_CONFIG = """
global
    log stdout format raw daemon
defaults
    mode tcp
    log global
    log-format "%f from %ci dialled %[dst]:%[dst_port]"
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend outbound
    bind 0.0.0.0:15001
    default_backend anywhere
frontend inbound4
    bind 0.0.0.0:15006
    default_backend application4
frontend inbound6
    bind [::]:15006 v6only
    default_backend application6
backend anywhere
    option transparent
backend application4
    option transparent
    source 127.0.0.6
backend application6
    option transparent
    source [::6]
"""


class Sidecar:
    """Takes what enters and leaves a pod of Istio's."""

    takes_inbound = True
    pod = staticmethod(mesh_pod)

    def end(self):
        self.process.kill()
        self.process.wait()

    @staticmethod
    def source(_, ipv6):
        return "::6" if ipv6 else "127.0.0.6"


class Haproxy(Sidecar):
    """It asks for the original destination of IPv4 connections alone, behind iptables too."""

    outbound_families = ("4", "mapped")

    def __init__(self, pod, **_):
        config = pod.lab.run_dir.parent / f"{pod.name}.cfg"  # its user cannot read what lies below a home directory
        config.write_text(HAPROXY_CONFIG)
        self.log = pod.lab.log_path(f"{pod.name}_haproxy")
        with open(self.log, "w", encoding="utf-8") as out:
            self.process = pod.popen([HAPROXY, "-db", "-f", config], stdout=out, stderr=out, uid=pod.proxy_uid, container="istio-proxy",
                                     inside=bool(pod.userns))
        pod.wait_listen(OUTBOUND, INBOUND)

    def saw(self, direction, ip, port, client):
        line = re.compile(rf"^{direction}\w* from (::ffff:)?{re.escape(client)} dialled {re.escape(ip)}:{port}$", re.M)
        wait_until(lambda: line.search(self.log.read_text()), f"HAProxy to log {line.pattern}: {self.log.read_text()}")


class EnvoyProxy(Sidecar):
    """Plain TCP on every port but those given: they are HTTP."""

    outbound_families = ("4", "mapped", "6")
    tproxy = original_src = False

    def __init__(self, pod, http_ports=()):
        self.envoy = envoy.start(pod, http_ports=http_ports, tproxy=self.tproxy, original_src=self.original_src)
        self.process = self.envoy.process

    def saw(self, direction, ip, port, client):
        def entries():
            return [(host(entry["client"]), plain(entry["dialled"])) for entry in self.envoy.access_log(direction)]

        wait_until(lambda: (client, endpoint(ip, port)) in entries(), f"Envoy to log {direction} {client} to {ip}:{port}: {entries()}")


class EnvoyTransparent(EnvoyProxy):
    """The inbound listener is a transparent one; onwards Envoy marks its connections by 127.0.0.6, as in REDIRECT mode."""

    tproxy = True
    pod = staticmethod(tproxy_pod)


class EnvoyTproxy(EnvoyTransparent):
    """As Istio configures TPROXY mode: Envoy goes on to the application with the client's own address."""

    original_src = True

    @staticmethod
    def source(client, _):
        return client


SQUID = shutil.which("squid", path="/usr/sbin:/usr/bin")
SQUID_USER, SQUID_PORT = 13, 3129
SQUID_CONFIG = """
http_port 127.0.0.1:3128
http_port {port} intercept
http_access allow all
cache deny all
cache_mem 1 MB
memory_cache_shared off
max_filedescriptors 1024
pinger_enable off
pid_filename none
shutdown_lifetime 0 seconds
visible_hostname squid
cache_log stdio:/dev/stderr
logformat dialled from %>a dialled %>la %>lp
access_log stdio:{log} dialled
"""
SQUID_RULES = """* nat
-A OUTPUT ! -o lo -p tcp -m owner ! --uid-owner {user} -j REDIRECT --to-ports {port}
COMMIT
"""


class Squid:
    """A proxy that no mesh injected: declared by weir.io/ annotations, a web cache that intercepts."""

    takes_inbound = False
    outbound_families = ("4", "mapped", "6")

    @staticmethod
    def pod(lab, kind):
        declared = {"weir.io/proxy-outbound-port": str(SQUID_PORT), "weir.io/proxy-uid": str(SQUID_USER)}
        pod = lab.pod(f"squid-{kind}-{next(COUNTER)}", annotations=declared)
        if kind == "iptables":
            iptables.load(pod, SQUID_RULES.format(user=SQUID_USER, port=SQUID_PORT) * 2)
            return pod
        return wait_state(lab, pod.write())

    @staticmethod
    def source(client, _):
        return client

    def __init__(self, pod, **_):
        config, self.log = (pod.lab.run_dir.parent / f"{pod.name}.{end}" for end in ("conf", "log"))
        config.write_text(SQUID_CONFIG.format(port=SQUID_PORT, log=self.log))
        self.log.touch()
        os.chown(self.log, SQUID_USER, SQUID_USER)
        pod.popen([SQUID, "-N", "-f", config], uid=SQUID_USER)
        pod.wait_listen(SQUID_PORT)

    def saw(self, _, ip, port, client):
        wait_until(lambda: f"from {client} dialled {ip} {port}\n" in self.log.read_text(), f"Squid to log {ip}:{port}: {self.log.read_text()}")


def need(proxy, program, hint):
    """A pytest parameter that is skipped, with its reason, where the program is not there."""
    return pytest.param(proxy, id=proxy.__name__.removesuffix("Proxy").lower(),
                        marks=pytest.mark.skipif(not program, reason=f"no {proxy.__name__}: run {hint}"))


ENVOY = need(EnvoyProxy, envoy.ENVOY.exists(), "scripts/fetch-envoy")
ENVOY_TPROXY = need(EnvoyTproxy, envoy.ENVOY.exists(), "scripts/fetch-envoy")
ENVOY_TRANSPARENT = need(EnvoyTransparent, envoy.ENVOY.exists(), "scripts/fetch-envoy")
HAPROXY_TCP = need(Haproxy, HAPROXY, "scripts/setup")
SQUID_HTTP = need(Squid, SQUID, "scripts/setup")

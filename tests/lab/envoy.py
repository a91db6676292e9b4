# SPDX-License-Identifier: Apache-2.0
"""The real Envoy as Istio's sidecar: a static configuration with the listeners, filters and clusters that depend on the redirection.

Outbound 0.0.0.0:15001 and inbound 0.0.0.0:15006 ask SO_ORIGINAL_DST (original_dst listener filter) and pass on to that address
(ORIGINAL_DST clusters); the inbound cluster binds 127.0.0.6, ::6 for IPv6. HTTP ports get an HTTP connection manager, so that requests
carry proof of their way (header `via`); all else is plain TCP. The configuration is JSON, which Envoy's YAML option takes.
"""

import json

from .command import BUILD, LabError, wait_until

API = "type.googleapis.com/envoy"
ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT = 15000, 15001, 15006
TPROXY_MARK = 1337
ENVOY = BUILD / "envoy" / "envoy"
# One line for each request or connection; Envoy.access_log() takes it apart.
LOG_FIELDS = ("client", "dialled", "source", "upstream", "code", "received", "sent", "flags")
LOG_OPERATORS = ("%DOWNSTREAM_REMOTE_ADDRESS%", "%DOWNSTREAM_LOCAL_ADDRESS%", "%UPSTREAM_LOCAL_ADDRESS%", "%UPSTREAM_HOST%",
                 "%RESPONSE_CODE%", "%BYTES_RECEIVED%", "%BYTES_SENT%", "%RESPONSE_FLAGS%")


def typed(kind, **fields):
    return {"@type": f"{API}.{kind}", **fields}


def socket_address(address, port):
    return {"address": address, "port_value": port}


def access_log(direction):
    text = f"access {direction} {' '.join(LOG_OPERATORS)}\n"
    logger = typed("extensions.access_loggers.stream.v3.StdoutAccessLog", log_format={"text_format_source": {"inline_string": text}})
    return [{"name": "envoy.access_loggers.stdout", "typed_config": logger}]


def tcp_filter(direction, cluster):
    proxy = typed("extensions.filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=f"{direction}_tcp", cluster=cluster,
                  access_log=access_log(direction))
    return {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}


def http_filter(direction, cluster, via):
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]}
    router = {"name": "envoy.filters.http.router", "typed_config": typed("extensions.filters.http.router.v3.Router")}
    manager = typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix=f"{direction}_http",
                    via=via, access_log=access_log(direction), route_config={"virtual_hosts": [host]}, http_filters=[router])
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}


def listener_filters(original_src):
    """With original_src it goes on with the client's address, marked as Istio's rules want it."""
    original_dst = {"name": "envoy.filters.listener.original_dst",
                    "typed_config": typed("extensions.filters.listener.original_dst.v3.OriginalDst")}
    source = {"name": "envoy.filters.listener.original_src",
              "typed_config": typed("extensions.filters.listener.original_src.v3.OriginalSrc", mark=TPROXY_MARK)}
    return [original_dst, source] if original_src else [original_dst]


def listener(direction, port, addresses, via, http_ports, transparent=False, original_src=False):
    """A transparent listener's own address is what was dialled."""
    cluster = f"{direction}_original_dst"
    own_port = {"filter_chain_match": {"destination_port": port}, **tcp_filter(direction, "blackhole")}  # dialled itself: no loop
    http = [{"filter_chain_match": {"destination_port": number}, **http_filter(direction, cluster, via)} for number in http_ports]
    return {
        "name": f"virtual_{direction}", "traffic_direction": direction.upper(), "enable_reuse_port": True, "transparent": transparent,
        "address": {"socket_address": socket_address(addresses[0], port)},
        "additional_addresses": [{"address": {"socket_address": socket_address(more, port)}} for more in addresses[1:]],
        "listener_filters": listener_filters(original_src),
        "filter_chains": [own_port, *http], "default_filter_chain": tcp_filter(direction, cluster)}


def original_dst_cluster(name, **more):
    return {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s", **more}


def configuration(name, ipv6=True, http_ports=(80, 8080), tproxy=False, original_src=False):
    """The whole bootstrap; name appears in the `via` headers. In TPROXY mode the inbound listener is a transparent one."""
    addresses = ["0.0.0.0"] + (["::"] if ipv6 else [])
    source = {"source_address": socket_address("127.0.0.6", 0)}
    if ipv6:
        source["extra_source_addresses"] = [{"address": socket_address("::6", 0)}]
    return {
        "admin": {"address": {"socket_address": socket_address("127.0.0.1", ADMIN_PORT)}},
        "static_resources": {
            "listeners": [listener("outbound", OUTBOUND_PORT, addresses, f"{name}-outbound", http_ports),
                          listener("inbound", INBOUND_PORT, addresses, f"{name}-inbound", http_ports, tproxy, original_src)],
            "clusters": [original_dst_cluster("outbound_original_dst"),
                         original_dst_cluster("inbound_original_dst", **({} if original_src else {"upstream_bind_config": source})),
                         {"name": "blackhole", "type": "STATIC", "connect_timeout": "1s"}]}}


class Envoy:
    """A running proxy in a pod's proxy container."""

    def __init__(self, pod, config, concurrency, **ids):
        self.pod = pod
        self.log = pod.lab.log_path(f"{pod.namespace}_{pod.name}_envoy")
        argv = [ENVOY, "--config-yaml", json.dumps(config), "--concurrency", concurrency, "--disable-hot-restart", "--log-level", "warning",
                "--file-flush-interval-msec", "100"]
        with open(self.log, "w", encoding="utf-8") as out:
            self.process = pod.popen(argv, stdout=out, stderr=out, container="istio-proxy", inside=bool(pod.userns), **ids)
        wait_until(self._is_ready, f"{pod.name}: Envoy's /ready", timeout=20)

    def _is_ready(self):
        if self.process.poll() is not None:
            raise LabError(f"{self.pod.name}: Envoy ended:\n{self.log.read_text()[-2000:]}")
        return self.admin("/ready", check=False).stdout.startswith("LIVE")

    def admin(self, path, check=True):
        return self.pod.run(["curl", "-sSg", "--max-time", "5", f"http://127.0.0.1:{ADMIN_PORT}{path}"], check=check)

    def stats(self, pattern):
        """Envoy's own counters whose names match a regular expression."""
        lines = self.admin(f"/stats?filter={pattern}").stdout.splitlines()
        return {name: int(value) for name, value in (line.rsplit(": ", 1) for line in lines) if value.isdigit()}

    def access_log(self, direction):
        """Requests and TCP connections that have ended, oldest first."""
        start = f"access {direction} "
        lines = [line[len(start):] for line in self.log.read_text().splitlines() if line.startswith(start)]
        return [dict(zip(LOG_FIELDS, line.split())) for line in lines]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def start(pod, ipv6=None, http_ports=(80, 8080), concurrency=2, config=None, tproxy=False, original_src=False):
    """Starts Envoy in a pod and waits for its listeners. In TPROXY mode it is root with the mesh's group, as Istio's injector has it."""
    if not ENVOY.exists():
        raise LabError("Envoy is missing: run scripts/fetch-envoy")
    with_ipv6 = pod.ipv6 is not None if ipv6 is None else ipv6
    ids = {"uid": 0, "gid": 1337} if tproxy else {"uid": pod.proxy_uid or 1337}
    return Envoy(pod, config or configuration(pod.name, with_ipv6, http_ports, tproxy, original_src), concurrency, **ids)

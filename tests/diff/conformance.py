# SPDX-License-Identifier: Apache-2.0
"""The rule sets that Istio generated, with the inputs of each (golden/README.md)."""

import json
import pathlib
import re

from .inputs import container
from .rules import IstioOptions, items

FOLDER = pathlib.Path(__file__).parent / "golden"
RANGES, PORTS = "traffic.sidecar.istio.io/{}IPRanges", "traffic.sidecar.istio.io/{}Ports"
# The pods of cni-sidecar/, as its README tells them: annotations, the proxy's environment, its ids.
SIDECARS = {
    "basic": {},
    "custom-uid": {"ids": (1000670000, 1000670001)},
    "dns": {"env": {"ISTIO_META_DNS_CAPTURE": "true"}},
    "include-exclude-ip": {"annotations": {RANGES.format("includeOutbound"): "127.0.0.0/8", RANGES.format("excludeOutbound"): "10.0.0.0/8"}},
    "include-exclude-ports": {"annotations": {PORTS.format("includeInbound"): "1111,2222", PORTS.format("excludeInbound"): "3333,4444",
                                              PORTS.format("excludeOutbound"): "5555,6666"}},
    "tproxy": {"annotations": {"sidecar.istio.io/interceptionMode": "TPROXY"}},
}


def golden(folder, name):
    return (FOLDER / folder / f"{name}.golden").read_text()


def snake(name):
    """OutboundIPRangesInclude -> outbound_ip_ranges_include"""
    name = name.replace("IPv", "Ipv").replace("IPR", "IpR").replace("UID", "Uid").replace("GID", "Gid").replace("DNS", "Dns")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def capture_cases():
    """{name: options} of capture/"""
    cases = json.loads((FOLDER / "cases.json").read_text())

    def fields(config):
        return {snake(key): value for key, value in config.items() if key not in ("DryRun", "_note")}

    base = fields(cases["base_config"])
    return {case["name"]: IstioOptions(**{**base, **fields(case["config"])}) for case in cases["capture"]}


def edit(pod, annotations=None, env=None, ids=None, arguments=None):
    """Writes a case's inputs into a pod object."""
    pod["metadata"]["annotations"].update(annotations or {})
    proxy = container(pod, "istio-proxy")
    proxy.setdefault("env", []).extend({"name": name, "value": value} for name, value in (env or {}).items())
    if ids:
        proxy.setdefault("securityContext", {}).update(runAsUser=ids[0], runAsGroup=ids[1])
    if arguments:
        container(pod, "istio-validation")["args"] = ["istio-iptables", *arguments, "--run-validation"]
    return pod


def sidecar_pod(name, pod):
    return edit(pod, **SIDECARS[name])


def capture_pod(options, pod):
    """A pod of a case of capture/. Its proxy's own ports are excluded inbound in any case, as Istio does for every pod; a group's name is
    looked up where the rules are loaded, so a number takes its place; DNS capture of a pod is of every server."""
    annotations = {PORTS.format("includeInbound"): options.inbound_ports_include, PORTS.format("excludeInbound"): options.inbound_ports_exclude,
                   RANGES.format("includeOutbound"): options.outbound_ip_ranges_include,
                   RANGES.format("excludeOutbound"): options.outbound_ip_ranges_exclude,
                   PORTS.format("includeOutbound"): options.outbound_ports_include, PORTS.format("excludeOutbound"): options.outbound_ports_exclude}
    if options.exclude_interfaces:
        annotations["traffic.sidecar.istio.io/excludeInterfaces"] = options.exclude_interfaces
    if options.reroute_virtual_interfaces:
        annotations["istio.io/reroute-virtual-interfaces"] = options.reroute_virtual_interfaces
    if options.inbound_interception_mode:
        annotations["sidecar.istio.io/interceptionMode"] = options.inbound_interception_mode
    env = {"ISTIO_META_DNS_CAPTURE": "true"} if options.redirect_dns else {}
    if options.enable_ipv6:
        env["ISTIO_DUAL_STACK"] = "true"
    if options.owner_groups_include != "*":
        env["ISTIO_OUTBOUND_OWNER_GROUPS"] = options.owner_groups_include.replace("java", "201")
    uids, gids = items(options.proxy_uid), items(options.proxy_gid)
    several = ["-u", options.proxy_uid, "-g", options.proxy_gid] if len(uids) + len(gids) > 2 else None
    return edit(pod, annotations, env, (int(uids[0]), int(gids[0])), several)


def pods():
    """{name: function that writes the case into a pod object}"""
    cases = {f"cni-sidecar/{name}": lambda pod, name=name: sidecar_pod(name, pod) for name in SIDECARS}
    cases.update({f"capture/{name}": lambda pod, options=options: capture_pod(options, pod) for name, options in capture_cases().items()})
    return cases

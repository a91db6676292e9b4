# SPDX-License-Identifier: Apache-2.0
"""The rule sets that Istio generated, with the inputs of each (golden/README.md)."""

import json
import pathlib
import re
from dataclasses import replace

from .inputs import container, with_istio_init
from .rules import IstioOptions

FOLDER = pathlib.Path(__file__).parent / "golden"
JAVA = "201"
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


def sidecar_pod(name, pod):
    """Writes a case of cni-sidecar/ into a pod object."""
    case = SIDECARS[name]
    pod["metadata"]["annotations"].update(case.get("annotations", {}))
    proxy = container(pod, "istio-proxy")
    proxy.setdefault("env", []).extend({"name": key, "value": value} for key, value in case.get("env", {}).items())
    if "ids" in case:
        proxy.setdefault("securityContext", {}).update(runAsUser=case["ids"][0], runAsGroup=case["ids"][1])
    return pod


def capture_pod(options, pod):
    """A case of capture/ as a pod with istio-init. A group's name is looked up where the rules are loaded: a number takes its place."""
    return with_istio_init(pod, replace(options, owner_groups_include=options.owner_groups_include.replace("java", JAVA)))


def pods():
    """{name: function that writes the case into a pod object}"""
    cases = {f"cni-sidecar/{name}": lambda pod, name=name: sidecar_pod(name, pod) for name in SIDECARS}
    cases.update({f"capture/{name}": lambda pod, options=options: capture_pod(options, pod) for name, options in capture_cases().items()})
    return cases

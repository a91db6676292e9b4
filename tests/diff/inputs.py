# SPDX-License-Identifier: Apache-2.0
"""What the mesh would hand to its iptables tool for a Pod object: Istio's CNI plugin, Linkerd's CNI plugin.

Where the injector and the CNI plugin differ, the CNI plugin is the measure: its pods have no init container with rules of its own.
Arguments of an istio-validation container count where a pod has no other way to say something (several proxy ids).
"""

import ipaddress

from .rules import IstioOptions, LinkerdOptions

ANNOTATION = "traffic.sidecar.istio.io/"
TRUE = ("1", "t", "T", "TRUE", "true", "True")
OWN_PORTS = ("15020", "15021", "15090")
# The short and long flags of an istio-validation container that no annotation can say.
ARGUMENTS = {"-u": "proxy_uid", "--proxy-uid": "proxy_uid", "-g": "proxy_gid", "--proxy-gid": "proxy_gid"}


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def container(pod, name):
    return next((item for item in containers(pod) if item["name"] == name), {})


def environment(item):
    return {entry["name"]: entry.get("value", "") for entry in item.get("env", [])}


def trimmed(text):
    """Ports are trimmed by the plugin before it hands them on."""
    return ",".join(item.strip() for item in text.split(",") if item.strip())


def without_doubles(values):
    return ",".join(dict.fromkeys(value for value in values if value))


def has_ipv6(pod, dual_stack):
    """The first address decides; with dual stack any IPv6 address does."""
    versions = [ipaddress.ip_address(item["ip"]).version for item in pod["status"].get("podIPs", [])]
    return 6 in (versions if dual_stack else versions[:1])


def proxy_id(item, key):
    return str(item.get("securityContext", {}).get(key) or 1337)


def istio(pod):
    annotations = pod["metadata"]["annotations"]
    proxy = container(pod, "istio-proxy")
    env = environment(proxy)
    dns = env.get("ISTIO_META_DNS_CAPTURE") in TRUE
    excluded = annotations.get(f"{ANNOTATION}excludeInboundPorts", "15020")
    virtual = annotations.get("istio.io/reroute-virtual-interfaces", annotations.get(f"{ANNOTATION}kubevirtInterfaces", ""))
    options = IstioOptions(
        proxy_uid=proxy_id(proxy, "runAsUser"), proxy_gid=proxy_id(proxy, "runAsGroup"),
        inbound_interception_mode=annotations.get("sidecar.istio.io/interceptionMode", "REDIRECT"),
        inbound_ports_include=trimmed(annotations.get(f"{ANNOTATION}includeInboundPorts", "*")),
        inbound_ports_exclude=without_doubles(trimmed(excluded).split(",") + list(OWN_PORTS)),
        exclude_interfaces=trimmed(annotations.get(f"{ANNOTATION}excludeInterfaces", "")),
        outbound_ip_ranges_include=annotations.get(f"{ANNOTATION}includeOutboundIPRanges", "*"),
        outbound_ip_ranges_exclude=annotations.get(f"{ANNOTATION}excludeOutboundIPRanges", ""),
        outbound_ports_include=trimmed(annotations.get(f"{ANNOTATION}includeOutboundPorts", "")),
        outbound_ports_exclude=trimmed(annotations.get(f"{ANNOTATION}excludeOutboundPorts", "15020")),
        reroute_virtual_interfaces=trimmed(virtual), redirect_dns=dns, capture_all_dns=dns,
        drop_invalid=env.get("INVALID_DROP") in TRUE, enable_ipv6=has_ipv6(pod, env.get("ISTIO_DUAL_STACK") in TRUE),
        owner_groups_include=env.get("ISTIO_OUTBOUND_OWNER_GROUPS") or "*",
        owner_groups_exclude=env.get("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", ""),
        host_ipv4_loopback_cidr=env.get("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR") or "127.0.0.1/32")
    arguments = container(pod, "istio-validation").get("args", [])
    for flag, value in zip(arguments, arguments[1:]):
        if flag in ARGUMENTS:
            setattr(options, ARGUMENTS[flag], value)
    return options


def linkerd(pod):
    annotations = {key.removeprefix("config.linkerd.io/"): value for key, value in pod["metadata"]["annotations"].items() if value}
    proxy = container(pod, "linkerd-proxy")
    env = environment(proxy)
    context = proxy.get("securityContext", {})

    def port(key, absent):
        return int(env.get(f"LINKERD2_PROXY_{key}", f":{absent}").split(",")[0].rpartition(":")[2])

    def listed(key):
        return [item.strip() for item in annotations.get(key, "").split(",") if item.strip()]

    ignored = [str(port("CONTROL_LISTEN_ADDR", 4190)), str(port("ADMIN_LISTEN_ADDR", 4191))]
    control_plane = ["443", "6443"] if pod["metadata"]["labels"].get("linkerd.io/control-plane-component") else []
    return LinkerdOptions(
        incoming_port=port("INBOUND_LISTEN_ADDR", 4143), outgoing_port=port("OUTBOUND_LISTEN_ADDRS", 4140),
        uid=context.get("runAsUser", int(annotations.get("proxy-uid", 2102))), gid=context.get("runAsGroup", int(annotations.get("proxy-gid", 0))),
        inbound_ignore=ignored + listed("skip-inbound-ports"), outbound_ignore=listed("skip-outbound-ports") + control_plane,
        subnets_ignore=listed("skip-subnets"), ipv6=env.get("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "").startswith("["))


def options_of(pod):
    return linkerd(pod) if container(pod, "linkerd-proxy") else istio(pod)

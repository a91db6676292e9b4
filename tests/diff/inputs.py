# SPDX-License-Identifier: Apache-2.0
"""What the mesh would hand to its iptables tool for a Pod object: Istio's CNI plugin, Linkerd's CNI plugin, or an istio-init container.

Where the injector and the CNI plugin differ, the CNI plugin is the measure: its pods have no init container with rules of its own. A pod
with istio-init says with that container's arguments, and with nothing else, what its rules are.
"""

import ipaddress

from .rules import IstioOptions, LinkerdOptions

ANNOTATION = "traffic.sidecar.istio.io/"
DECLARED = "weir.io/proxy-"
TRUE = ("1", "t", "T", "TRUE", "true", "True")
OWN_PORTS = ("15020", "15021", "15090")
# istio-iptables' flags: short, long, and the option that each sets; switches take no value.
FLAGS = (("-p", "--envoy-port", "proxy_port"), ("-z", "--inbound-capture-port", "inbound_capture_port"),
         ("-e", "--inbound-tunnel-port", "inbound_tunnel_port"), ("-u", "--proxy-uid", "proxy_uid"), ("-g", "--proxy-gid", "proxy_gid"),
         ("-m", "--istio-inbound-interception-mode", "inbound_interception_mode"), ("-b", "--istio-inbound-ports", "inbound_ports_include"),
         ("-d", "--istio-local-exclude-ports", "inbound_ports_exclude"), ("-c", "--istio-exclude-interfaces", "exclude_interfaces"),
         ("-i", "--istio-service-cidr", "outbound_ip_ranges_include"), ("-x", "--istio-service-exclude-cidr", "outbound_ip_ranges_exclude"),
         ("-q", "--istio-outbound-ports", "outbound_ports_include"), ("-o", "--istio-local-outbound-ports-exclude", "outbound_ports_exclude"),
         ("-k", "--kube-virt-interfaces", "reroute_virtual_interfaces"))
SWITCHES = {"--redirect-dns": "redirect_dns", "--capture-all-dns": "capture_all_dns", "--drop-invalid": "drop_invalid"}


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


def from_environment(env):
    """What only an environment can say."""
    return {"owner_groups_include": env.get("ISTIO_OUTBOUND_OWNER_GROUPS", "*"), "owner_groups_exclude": env.get("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", ""),
            "host_ipv4_loopback_cidr": env.get("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1/32")}


def resolvers(pod):
    """The servers of the pod's resolv.conf, as far as the object tells; by family."""
    servers = pod["spec"].get("dnsConfig", {}).get("nameservers", []) if pod["spec"].get("dnsPolicy") == "None" else []
    return {f"dns_servers_v{family}": [ip for ip in servers if ipaddress.ip_address(ip).version == family] for family in (4, 6)}


def istio_init(pod, init):
    """The container's arguments; without --proxy-gid the groups are the users."""
    arguments, env = list(init["args"][1:]), environment(init)
    by_flag = {flag: option for short, long, option in FLAGS for flag in (short, long)}
    given = {}
    while arguments:
        flag = arguments.pop(0)
        if flag in by_flag:
            given[by_flag[flag]] = arguments.pop(0)
        elif flag in SWITCHES:
            given[SWITCHES[flag]] = True
    given.setdefault("proxy_gid", given.get("proxy_uid", "1337"))
    given.setdefault("redirect_dns", env.get("ISTIO_META_DNS_CAPTURE") in TRUE)
    dual_stack = "--dual-stack" in init["args"] or env.get("ISTIO_DUAL_STACK") in TRUE
    return IstioOptions(**given, **from_environment(env), **resolvers(pod), enable_ipv6=has_ipv6(pod, dual_stack))


def init_arguments(options):
    """The arguments and the environment that give istio-init these options."""
    arguments = [text for short, _, name in FLAGS for text in (short, getattr(options, name))]
    arguments += [flag for flag, name in SWITCHES.items() if getattr(options, name)]
    env = {"ISTIO_OUTBOUND_OWNER_GROUPS": options.owner_groups_include, "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": options.owner_groups_exclude,
           "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": options.host_ipv4_loopback_cidr, "ISTIO_DUAL_STACK": "true" if options.enable_ipv6 else "false"}
    return ["istio-iptables", *arguments], env


def with_istio_init(pod, options):
    """Makes a pod of istio-cni's one of istio-init's, whose rules weir is told to take over."""
    arguments, env = init_arguments(options)
    pod["spec"]["initContainers"] = [{"name": "istio-init", "image": "istio/proxyv2", "args": arguments,
                                      "env": [{"name": key, "value": value} for key, value in env.items()]}]
    pod["metadata"]["annotations"]["weir.io/capture"] = "on"
    servers = options.dns_servers_v4 + options.dns_servers_v6
    if servers:
        pod["spec"].update(dnsPolicy="None", dnsConfig={"nameservers": servers})
    return pod


def istio(pod):
    annotations = pod["metadata"]["annotations"]
    proxy = container(pod, "istio-proxy")
    env = environment(proxy)
    dns = env.get("ISTIO_META_DNS_CAPTURE") in TRUE
    status_port = annotations.get("status.sidecar.istio.io/port", "0").strip()
    excluded = annotations.get(f"{ANNOTATION}excludeInboundPorts", "15020") + ("" if status_port == "0" else f",{status_port}")
    virtual = annotations.get("istio.io/reroute-virtual-interfaces", annotations.get(f"{ANNOTATION}kubevirtInterfaces", ""))
    return IstioOptions(
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
        **from_environment(env))


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


def with_linkerd_init(pod, options):
    """Makes a pod of linkerd-cni's one of linkerd-init's, whose rules weir is told to take over."""
    arguments = ["-p", options.incoming_port, "-o", options.outgoing_port, "-u", options.uid]
    arguments += ["-g", options.gid] if options.gid > 0 else []
    for flag, values in (("--inbound-ports-to-ignore", options.inbound_ignore), ("--outbound-ports-to-ignore", options.outbound_ignore),
                         ("--subnets-to-ignore", options.subnets_ignore)):
        arguments += [flag, ",".join(values)] if values else []
    arguments += [text for port in options.redirect_ports for text in ("-r", port)] + [f"--ipv6={str(options.ipv6).lower()}"]
    pod["spec"]["initContainers"].insert(0, {"name": "linkerd-init", "image": "linkerd/proxy-init", "args": list(map(str, arguments))})
    pod["metadata"]["annotations"]["weir.io/capture"] = "on"
    return pod


def linkerd_init(init):
    """The container's arguments: nothing else counts."""
    arguments, told = list(init["args"]), {}
    while arguments:
        flag, _, value = arguments.pop(0).partition("=")
        told.setdefault(flag, []).extend((value or arguments.pop(0)).split(","))
    return LinkerdOptions(
        incoming_port=int(told["-p"][0]), outgoing_port=int(told["-o"][0]), uid=int(told["-u"][0]), gid=int(told.get("-g", ["0"])[0]),
        inbound_ignore=told.get("--inbound-ports-to-ignore", []), outbound_ignore=told.get("--outbound-ports-to-ignore", []),
        subnets_ignore=told.get("--subnets-to-ignore", []), redirect_ports=told.get("-r", []), ipv6=told["--ipv6"] == ["true"])


def declared(pod):
    """A proxy that no mesh injected: Istio's rules without Envoy's own ports. A direction without a port is not captured."""
    annotations = pod["metadata"]["annotations"]
    own = {key.removeprefix(DECLARED): value for key, value in annotations.items() if key.startswith(DECLARED)}
    outbound, inbound = own.get("outbound-port", ""), own.get("inbound-port", "")

    def traffic(key, absent=""):
        return trimmed(annotations.get(f"{ANNOTATION}{key}", absent))

    return IstioOptions(
        proxy_port=outbound, inbound_capture_port=inbound, inbound_tunnel_port="",
        proxy_uid=own.get("uid", "" if "gid" in own else "1337"), proxy_gid=own.get("gid", ""),
        inbound_ports_include=traffic("includeInboundPorts", "*") if inbound else "", inbound_ports_exclude=traffic("excludeInboundPorts"),
        exclude_interfaces=traffic("excludeInterfaces"),
        outbound_ip_ranges_include=traffic("includeOutboundIPRanges", "*") if outbound else "",
        outbound_ip_ranges_exclude=traffic("excludeOutboundIPRanges"),
        outbound_ports_include=traffic("includeOutboundPorts") if outbound else "", outbound_ports_exclude=traffic("excludeOutboundPorts"),
        redirect_dns="dns-port" in own, capture_all_dns=True, dns_port=own.get("dns-port", "15053"), enable_ipv6=True)


def options_of(pod):
    annotations, init = pod["metadata"]["annotations"], container(pod, "istio-init")
    if container(pod, "linkerd-init"):
        options = linkerd_init(container(pod, "linkerd-init"))
    elif container(pod, "linkerd-proxy"):
        options = linkerd(pod)
    elif any(f"{DECLARED}{direction}-port" in annotations for direction in ("outbound", "inbound")):
        options = declared(pod)
    else:
        options = istio_init(pod, init) if init else istio(pod)
    options.captured = annotations.get("weir.io/capture") != "off"
    return options


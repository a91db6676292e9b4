# SPDX-License-Identifier: Apache-2.0
"""Random configurations: a Pod object as a user might write it, from a seed and an index."""

import random

from .inputs import ANNOTATION, DECLARED, container, options_of, with_istio_init, with_linkerd_init
from .worlds import PORTS

CIDRS4 = ("10.96.0.0/16", "10.96.0.1/32", "203.0.113.0/24", "203.0.113.20/32", "203.0.113.21/31", "0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/8",
          "10.244.0.0/16", "10.244.0.10/32", "172.16.0.0/12", "192.168.7.0/29", "198.51.100.0/24", "203.0.113.77/24", "9.9.0.0/16")
LOOPBACK4 = ("127.0.0.0/8", "127.0.0.1/32", "127.0.0.2/32", "127.0.0.4/30", "127.1.2.3/32", "127.0.0.53/32")
CIDRS6 = ("2001:db8::/32", "2001:db8::20/128", "fd00:10:96::/48", "fd00::/8", "::/0", "2001:db8:51::/48", "fd00:10:244::10/128")
LOOPBACK6 = ("::1/128",)
IDS = (1337, 1337, 1337, 101, 2102, 1000670000, 4294967294)
MAPPED = IDS[:5]  # those that a user namespace of 65,536 ids has
GROUPS = (1000, 2000, 3000, 0, 1337)


class Draw(random.Random):
    """What configurations are made of."""

    def chance(self, percent):
        return self.random() * 100 < percent

    def some(self, values, most):
        return self.sample(values, self.randint(1, most))

    def ports(self, most=6):
        return ",".join(self._spaced(str(port)) for port in self.some(PORTS, self.randint(1, most)))

    def _spaced(self, text):
        """The plugins trim: what users write stays what they mean."""
        return f" {text}" if self.chance(8) else text

    def cidrs(self):
        pool = list(CIDRS4 + CIDRS6) + (list(LOOPBACK4 + LOOPBACK6) if self.chance(20) else [])
        chosen = self.some(pool, 4)
        if self.chance(40):
            chosen.append(f"{self.randint(1, 223)}.{self.randint(0, 255)}.{self.randint(0, 255)}.{self.randint(0, 255)}/{self.randint(1, 32)}")
        if self.chance(20):
            chosen.append(f"2001:db8:{self.randint(0, 0xffff):x}::{self.randint(0, 0xffff):x}/{self.randint(16, 128)}")
        return ",".join(chosen)

    def maybe(self, percent, values, key, make):
        """Sets a key with that chance; a tenth of them empty."""
        if self.chance(percent):
            values[key] = "" if self.chance(10) else make()


def add_env(item, values):
    item.setdefault("env", []).extend({"name": name, "value": value} for name, value in values.items())


def families(draw, pod):
    """IPv4 alone in effect, IPv6 first, or both."""
    if draw.chance(20):
        pod["status"]["podIPs"].reverse()
        pod["status"]["podIP"] = pod["status"]["podIPs"][0]["ip"]


def traffic(draw, annotations):
    """Istio's annotations about ports, ranges and interfaces."""
    for key, percent, make in (("includeInboundPorts", 40, draw.ports), ("excludeInboundPorts", 40, draw.ports),
                               ("includeOutboundIPRanges", 50, draw.cidrs), ("excludeOutboundIPRanges", 35, draw.cidrs),
                               ("includeOutboundPorts", 25, draw.ports), ("excludeOutboundPorts", 50, draw.ports)):
        draw.maybe(percent, annotations, f"{ANNOTATION}{key}", make)
    for key in ("includeInboundPorts", "includeOutboundIPRanges"):
        if draw.chance(8):
            annotations[f"{ANNOTATION}{key}"] = "*"
    if draw.chance(12):
        annotations[f"{ANNOTATION}excludeInterfaces"] = ",".join(draw.some(("eth1", "eth0", "tap0", "nope0"), 2))


def istio(draw, pod):
    annotations, proxy, env = pod["metadata"]["annotations"], container(pod, "istio-proxy"), {}
    if draw.chance(12):
        annotations["sidecar.istio.io/interceptionMode"] = draw.choice(("TPROXY", "TPROXY", "REDIRECT"))
    tproxy = annotations.get("sidecar.istio.io/interceptionMode") == "TPROXY"
    traffic(draw, annotations)
    if draw.chance(8):
        annotations[draw.choice(("istio.io/reroute-virtual-interfaces", f"{ANNOTATION}kubevirtInterfaces"))] = draw.choice(("tap0", "tap0", "eth1", "eth0", "eth1,tap0,nope0"))
    for key, percent, value in (("ISTIO_META_DNS_CAPTURE", 30, "true"), ("ISTIO_DUAL_STACK", 50, "true"), ("INVALID_DROP", 10, "true"),
                                ("ISTIO_OUTBOUND_OWNER_GROUPS", 10, draw.choice(("", ",".join(map(str, draw.some(GROUPS, 3))), ",".join(map(str, draw.some(GROUPS, 2)))))),
                                ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", 10, ",".join(map(str, draw.some(GROUPS, 2)))),
                                ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", 7, draw.choice(("127.0.0.1/8", "127.0.0.1/24", "127.0.0.1/29", "127.0.0.1/32")))):
        if draw.chance(percent):
            env[key] = value
    add_env(proxy, env)
    ids = IDS if pod["spec"].get("hostUsers", True) else MAPPED
    uid, gid = (0, 1337) if tproxy else (draw.choice(ids), draw.choice(ids))
    proxy.setdefault("securityContext", {}).update(runAsUser=uid, runAsGroup=gid)
    families(draw, pod)
    if draw.chance(25):
        istio_init(draw, pod)


def istio_init(draw, pod):
    """What the annotations said becomes arguments of istio-init; some of which only such arguments can say."""
    options = options_of(pod)
    if draw.chance(50):
        options.proxy_uid = ",".join(map(str, draw.some((1337, 4242, 1001, 0, 2102), 3)))
    if draw.chance(50):
        options.proxy_gid = ",".join(map(str, draw.some((1337, 4343, 2000, 1000, 0), 3)))
    if draw.chance(40):
        options.redirect_dns, options.capture_all_dns = True, draw.chance(25)
        options.dns_servers_v4 = draw.some(("127.0.0.53", "10.96.0.1", "203.0.113.20", "127.0.0.1"), 2)
        options.dns_servers_v6 = draw.some(("2001:db8::20", "fd00:10:96::1", "::1"), 2) if draw.chance(50) else []
    if options.inbound_ports_exclude and draw.chance(30):
        options.inbound_ports_exclude = ""
    with_istio_init(pod, options)


def linkerd(draw, pod):
    meta, proxy = pod["metadata"], container(pod, "linkerd-proxy")
    prefix = "config.linkerd.io/"

    def ports():
        first = draw.choice(PORTS)
        return ",".join([draw.ports(12), f"{first}-{first + draw.randint(0, 900)}"] if draw.chance(50) else [draw.ports(20)])

    draw.maybe(50, meta["annotations"], f"{prefix}skip-inbound-ports", ports)
    draw.maybe(50, meta["annotations"], f"{prefix}skip-outbound-ports", ports)
    draw.maybe(30, meta["annotations"], f"{prefix}skip-subnets", lambda: ",".join(draw.some(CIDRS4, 3)))
    if draw.chance(10):
        meta["labels"]["linkerd.io/control-plane-component"] = "destination"
    proxy["securityContext"]["runAsUser"] = draw.choice((2102, 2102, 2102, 101))
    del proxy["securityContext"]["runAsGroup"]
    if draw.chance(40):
        meta["annotations"][f"{prefix}proxy-gid"] = str(draw.choice((2102, 2102, 3000)))
    if draw.chance(40):
        for entry in proxy["env"]:
            if entry["name"] == "LINKERD2_PROXY_INBOUND_LISTEN_ADDR":
                entry["value"] = "[::]:4143"
    if draw.chance(25):
        linkerd_init(draw, pod)


def linkerd_init(draw, pod):
    """The same told by arguments of linkerd-init; some of which only such arguments can say."""
    options = options_of(pod)
    if draw.chance(40):
        options.redirect_ports = [str(port) for port in draw.some(PORTS, 6)]
    if draw.chance(30):
        options.inbound_ignore = []
    with_linkerd_init(pod, options)


def declared(draw, pod):
    """A proxy of the user's own; its ports are among those that somebody listens on."""
    annotations = pod["metadata"]["annotations"]
    directions = draw.choice((("outbound",), ("inbound",), ("outbound", "inbound"), ("outbound", "inbound")))
    for direction in directions:
        annotations[f"{DECLARED}{direction}-port"] = draw.choice({"outbound": ("15001", "15021"), "inbound": ("15006", "15090")}[direction])
    for key, ids in (("uid", (1337, 13, 14, 0)), ("gid", (1337, 13, 3000))):
        if draw.chance(60):
            annotations[f"{DECLARED}{key}"] = ",".join(map(str, draw.some(ids, 2)))
    if draw.chance(30):
        annotations[f"{DECLARED}dns-port"] = "15053"
    traffic(draw, annotations)


# kind of pod: how many in a hundred, its mesh, whether it has a user namespace of its own, who writes its object
KINDS = {"istio": (64, "istio", False, istio), "linkerd": (18, "linkerd", False, linkerd), "declared": (8, None, False, declared),
         "istio, hostUsers: false": (7, "istio", True, istio), "linkerd, hostUsers: false": (3, "linkerd", True, linkerd)}


def kind_of(seed, index):
    return Draw(f"kind {seed} {index}").choices(list(KINDS), [kind[0] for kind in KINDS.values()])[0]


def random_pod(seed, index, pod):
    """The configuration of that number, written into a fresh object of its kind's pod."""
    draw = Draw(f"{seed} {index}")
    KINDS[kind_of(seed, index)][3](draw, pod)
    if draw.chance(3):
        pod["metadata"]["annotations"]["weir.io/capture"] = "off"
    return pod


def describe(pod):
    """What makes this configuration, for a report."""
    lines = [f"{key}={value!r}" for key, value in pod["metadata"]["annotations"].items()
             if not key.startswith(("weir.io/netns", "weir.io/cgroup", "sidecar.istio.io/status", "linkerd.io/"))]
    lines += [f"hostUsers={pod['spec']['hostUsers']}"] if "hostUsers" in pod["spec"] else []
    for name in ("istio-proxy", "linkerd-proxy"):
        item = container(pod, name)
        lines += [f"env {entry['name']}={entry['value']!r}" for entry in item.get("env", []) if entry["name"].startswith(("ISTIO_", "INVALID"))
                  and entry["name"] != "ISTIO_META_INTERCEPTION_MODE"]
        if item:
            lines.append(f"runs as {item.get('securityContext', {}).get('runAsUser')}:{item.get('securityContext', {}).get('runAsGroup')}")
    init = container(pod, "linkerd-init")
    if init:
        lines = ["linkerd-init", *init["args"]]
    init = container(pod, "istio-init")
    if init:  # nothing else counts
        env = [f"{entry['name']}={entry['value']}" for entry in init["env"]]
        lines = ["istio-init", *(repr(text) if not text else text for text in init["args"][1:]), *env, f"resolvers {pod['spec'].get('dnsConfig')}"]
        return " ".join(lines + ["podIPs " + ",".join(item["ip"] for item in pod["status"]["podIPs"])])
    return "; ".join(lines + ["podIPs " + ",".join(item["ip"] for item in pod["status"]["podIPs"])])

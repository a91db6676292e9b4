# SPDX-License-Identifier: Apache-2.0
"""What is tried under a configuration: callers by destinations, and from outside ports by sources.

Destinations follow the configuration: each listed port and its neighbour, first and last address of each listed range and the addresses
beside it, each listed id and one that is not.
"""

import ipaddress
from dataclasses import dataclass

from .rules import IstioOptions, items
from .worlds import APP, BEHIND_SECOND4, BEHIND_SECOND6, MACHINE, OUTSIDE, POD, PORTS, SECOND4, SECOND6, TAP4, TAP6, UDP_PORTS, ids_of

POD4, POD6 = "10.244.0.10", "fd00:10:244::10"
VIP4, VIP6 = "10.96.0.1", "fd00:10:96::1"
REMOTE4, REMOTE6 = "203.0.113.20", "2001:db8::20"
NOBODY = 70000  # without a number in a user namespace of 65,536 ids
SOURCES = ("203.0.113.10", "10.244.0.77", "2001:db8::10")
CALLED = (22, 53, 80, 443, 8080, 9090, 15001, 15006, 15008, 15020, 15021, 15053, 15090, 4140, 4143, 4190, 4191)


@dataclass(frozen=True)
class Probe:
    """One connection, or one datagram and its answer."""

    kind: str  # tcp, udp, udpc
    to: str
    port: int
    uid: int = APP
    gid: int = APP
    groups: str = "-"
    bind: str = "-"
    at: str = POD

    @property
    def outside(self):
        """It arrives from elsewhere."""
        return self.at != POD

    @property
    def came_by(self):
        """The pod's interface that it comes in by, if it starts elsewhere."""
        return {POD: None, MACHINE: "tap0", OUTSIDE: "eth1" if self.to in (SECOND4, SECOND6) else "eth0"}[self.at]

    @property
    def ipv6(self):
        return ":" in self.to and not self.mapped

    @property
    def mapped(self):
        return self.to.startswith("::ffff:")

    def line(self, ids):
        """As `probe batch` reads it; ids: what the node calls a user of the pod's."""
        uid, gid = (ids(self.uid), ids(self.gid)) if self.at == POD else (self.uid, self.gid)
        groups = self.groups if self.groups == "-" else str(ids(int(self.groups)))
        return f"{self.kind} {uid} {gid} {groups} {bracketed(self.bind)} {bracketed(self.to)}:{self.port}"

    def __str__(self):
        who = f"from {self.at}" if self.outside else f"uid {self.uid} gid {self.gid}" + (f" groups {self.groups}" if self.groups != "-" else "")
        bound = f" bound {self.bind}" if self.bind != "-" else ""
        return f"{self.kind} {who}{bound} -> {bracketed(self.to)}:{self.port}"


def bracketed(address):
    return f"[{address}]" if ":" in address else address


def numbers(text):
    """The ports of a list and, for each, one beside it; only such as have a listener."""
    ports = []
    for item in items(text):
        first, _, last = item.strip().partition("-")
        if first != "*":
            ports += [int(first), int(first) + 1, int(last or first), int(last or first) - 1]
    return [port for port in dict.fromkeys(ports) if port in PORTS]


def edges(text):
    """First and last address of each range, and those beside it."""
    found = []
    for item in items(text.replace("*", "")):
        network = ipaddress.ip_network(item.strip(), strict=False)
        first, last = int(network[0]), int(network[-1])
        for number in (first - 1, first, first + 1, last - 1, last, last + 1):
            if 0 < number < 2 ** network.max_prefixlen:
                address = ipaddress.ip_address(number) if network.version == 4 else ipaddress.IPv6Address(number)
                if is_usable(address):
                    found.append(str(address))
    return list(dict.fromkeys(found))


def is_usable(address):
    """Can be dialled, and is not answered by something of the lab's own."""
    network4 = address.version == 4 and (address.is_multicast or address in ipaddress.ip_network("0.0.0.0/8") or int(address) >= 0xF0000000)
    special6 = address.version == 6 and (address.is_multicast or address.is_link_local or address.ipv4_mapped or address.is_unspecified)
    return not network4 and not special6


def callers(options):
    """(uid, gid, supplementary groups) of those who might be told apart."""
    uid, gid = ids_of(options)
    found = [(APP, APP, "-"), (0, 0, "-"), (NOBODY, NOBODY, "-"), (uid, gid, "-"), (uid, APP, "-"), (APP, gid, "-"), (0, gid, "-"), (APP, APP, str(gid))]
    if isinstance(options, IstioOptions):
        found += [(int(more), APP, "-") for more in items(options.proxy_uid)] + [(APP, int(more), "-") for more in items(options.proxy_gid)]
        groups = [int(group) for group in items(options.owner_groups_include.replace("*", "")) + items(options.owner_groups_exclude)]
        found += [(APP, group, "-") for group in groups] + [(APP, APP, str(group)) for group in groups]
    return list(dict.fromkeys(found))


def remote_ports(options):
    if isinstance(options, IstioOptions):
        return numbers(options.outbound_ports_include) + numbers(options.outbound_ports_exclude) + numbers(options.inbound_ports_include)
    return numbers(",".join(options.outbound_ignore))


def far_addresses(options):
    if isinstance(options, IstioOptions):
        return edges(options.outbound_ip_ranges_include) + edges(options.outbound_ip_ranges_exclude)
    return edges(",".join(options.subnets_ignore))


def destinations(options):
    """(bind, address, port) that a caller in the pod dials."""
    found = [("-", VIP4, 80), ("-", VIP6, 80), ("-", BEHIND_SECOND4, 443), ("-", BEHIND_SECOND6, 443), ("-", SECOND4, 8080), ("-", SECOND6, 8080)]
    for remote, pod, one, six in ((REMOTE4, POD4, "127.0.0.1", "127.0.0.6"), (REMOTE6, POD6, "::1", "::6")):
        found += [("-", remote, port) for port in (53, 443, 15001, 15006, 15008, 15020, *remote_ports(options))]
        found += [("-", pod, port) for port in (53, 8080, 15001, 15006, 15008, 15020, 15053, *remote_ports(options)[:4])]
        found += [("-", one, port) for port in (53, 8080, 15001, 15008)] + [("-", six, 15002), ("-", six, 8080)]
        found += [(six, pod, 8080), (six, one, 8080), (one, six, 15002), (pod, remote, 443), (one, one, 8080)]
    found += [("-", "127.0.0.2", 8080), ("-", "127.0.0.53", 53), ("-", "127.0.0.2", 15008)]
    found += [("-", f"::ffff:{address}", port) for address, port in ((VIP4, 80), (REMOTE4, 15020), (POD4, 8080), ("127.0.0.1", 8080), ("127.0.0.2", 8080))]
    found += [("-", address, 443) for address in far_addresses(options)]
    return list(dict.fromkeys(found))


def lookups(options):
    """(bind, address, port) of datagrams."""
    ports = [port for port in remote_ports(options) if port in UDP_PORTS]
    far = [(address, 53) for address in far_addresses(options)[:4]]
    servers = options.dns_servers_v4 + options.dns_servers_v6 if isinstance(options, IstioOptions) else []
    near = [(address, 53) for address in (REMOTE4, VIP4, POD4, "127.0.0.1", "127.0.0.53", REMOTE6, POD6, "::1", f"::ffff:{REMOTE4}", *servers)]
    return [("-", address, port) for address, port in dict.fromkeys(near + far + [(REMOTE4, 123), (REMOTE6, 123)] + [(REMOTE4, p) for p in ports])]


def inbound(options):
    """(source, address, port) from outside."""
    listed = options.inbound_ports_include + "," + options.inbound_ports_exclude if isinstance(options, IstioOptions) else ",".join(options.inbound_ignore + options.redirect_ports)
    sources = list(SOURCES)
    if not isinstance(options, IstioOptions):
        sources += [source for source in edges(",".join(options.subnets_ignore)) if source != "127.255.255.255"]  # a broadcast binds nothing
    found = []
    for source in sources:
        ipv6 = ":" in source
        pod, second = (POD6, SECOND6) if ipv6 else (POD4, SECOND4)
        found += [(source, pod, port) for port in dict.fromkeys((*CALLED, *numbers(listed)))] + [(source, second, 8080), (source, second, 15020)]
    return found


def forwarded(options):
    """(address, port) that a virtual machine in the pod dials."""
    found = []
    for remote, vip, pod, tap in ((REMOTE4, VIP4, POD4, TAP4), (REMOTE6, VIP6, POD6, TAP6)):
        found += [(vip, 80), *[(remote, port) for port in (443, 15006, 15008, 15020, *remote_ports(options)[:3])]]
        found += [(pod, port) for port in (8080, 15006, 15008, 15020)] + [(tap, 8080), (tap, 15090)]
    return found + [(address, 443) for address in far_addresses(options) if not ipaddress.ip_address(address).is_loopback]


def matrix(options):
    """Every probe of a configuration."""
    probes = [Probe("tcp", to, port, uid, gid, groups, bind)
              for uid, gid, groups in callers(options) for bind, to, port in destinations(options)]
    probes += [Probe(kind, to, port, uid, gid, groups, bind) for kind in ("udp", "udpc")
               for uid, gid, groups in callers(options) for bind, to, port in lookups(options)]
    probes += [Probe("tcp", to, port, 0, 0, bind=source, at=OUTSIDE) for source, to, port in inbound(options)]
    probes += [Probe("tcp", to, port, 0, 0, at=MACHINE) for to, port in forwarded(options)]
    return list(dict.fromkeys(probes))


def sample(options, random, count):
    """Some of the matrix, drawn by `random`; the inbound ones get their share."""
    probes = matrix(options)
    outside = [probe for probe in probes if probe.outside]
    inside = [probe for probe in probes if not probe.outside]
    share = min(len(outside), count // 5)
    return random.sample(outside, share) + random.sample(inside, min(len(inside), count - share))

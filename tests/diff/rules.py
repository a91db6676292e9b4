# SPDX-License-Identifier: Apache-2.0
"""The iptables rules that istio-iptables and Linkerd's proxy-init load, from the options that they are given.

Rules are kept as they are restored: for each family and table a list of `-N`, `-A` and `-I` lines. chains() plays them, so that two rule
sets can be compared whatever the order in which different chains were filled.
"""

import ipaddress
from dataclasses import dataclass, field

LOOPBACK = {4: "127.0.0.1/32", 6: "::1/128"}
PASSTHROUGH = {4: "127.0.0.6/32", 6: "::6/128"}
TABLES = ("raw", "mangle", "nat")
BUILT_IN = {"raw": ("PREROUTING", "OUTPUT"), "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
            "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")}


@dataclass
class IstioOptions:
    """istio-iptables' flags; the defaults are the program's own, which capture nothing."""

    proxy_port: str = "15001"
    inbound_capture_port: str = "15006"
    inbound_tunnel_port: str = "15008"
    proxy_uid: str = "1337"
    proxy_gid: str = "1337"
    inbound_interception_mode: str = ""
    inbound_t_proxy_mark: str = "1337"
    inbound_t_proxy_route_table: str = "133"
    inbound_ports_include: str = ""
    inbound_ports_exclude: str = ""
    exclude_interfaces: str = ""
    outbound_ip_ranges_include: str = ""
    outbound_ip_ranges_exclude: str = ""
    outbound_ports_include: str = ""
    outbound_ports_exclude: str = ""
    reroute_virtual_interfaces: str = ""
    redirect_dns: bool = False
    capture_all_dns: bool = False
    dns_servers_v4: list = field(default_factory=list)
    dns_servers_v6: list = field(default_factory=list)
    drop_invalid: bool = False
    enable_ipv6: bool = False
    owner_groups_include: str = "*"
    owner_groups_exclude: str = ""
    host_ipv4_loopback_cidr: str = "127.0.0.1/32"
    dns_port: str = "15053"
    captured: bool = True  # False: nobody loads rules for this pod

    @property
    def captures_dns(self):
        """Servers to capture must be known, or all be meant."""
        return self.redirect_dns and (self.capture_all_dns or bool(self.dns_servers_v4 or self.dns_servers_v6))


@dataclass
class LinkerdOptions:
    """linkerd2-proxy-init's flags; ports are lists of "p" and "a-b"."""

    incoming_port: int = 4143
    outgoing_port: int = 4140
    uid: int = 2102
    gid: int = 0
    inbound_ignore: list = field(default_factory=list)
    outbound_ignore: list = field(default_factory=list)
    subnets_ignore: list = field(default_factory=list)
    redirect_ports: list = field(default_factory=list)
    ipv6: bool = False
    captured: bool = True


class RuleSet:
    """Lines for one or both families."""

    def __init__(self, families):
        self.families = families
        self.lines = {family: {table: [] for table in TABLES} for family in families}
        self.chains_made = {family: set() for family in families}

    def add(self, table, chain, rule, only=None, at=None):
        """Appends a rule, or inserts it at a place. {loopback} and {passthrough} become the family's; only: one family."""
        for family in self.families:
            if only not in (None, family):
                continue
            if chain not in BUILT_IN[table] and (table, chain) not in self.chains_made[family]:
                self.chains_made[family].add((table, chain))
                self.lines[family][table].append(("-N", chain))
            self.lines[family][table].append(("-A", chain, rule[family]) if at is None else ("-I", chain, at, rule[family]))

    def text(self, family):
        """For iptables-restore: every table, so that restoring without --noflush leaves nothing of the former rules."""
        out = []
        for table in TABLES:
            lines = self.lines[family][table] if family in self.families else []
            made = [line[1] for line in lines if line[0] == "-N"]
            out += [f"*{table}", *(f":{chain} ACCEPT [0:0]" for chain in BUILT_IN[table]), *(f":{chain} - [0:0]" for chain in made)]
            out += [" ".join(map(str, line)) for line in lines if line[0] != "-N"]
            out.append("COMMIT")
        return "\n".join(out) + "\n"

    def chains(self):
        """{(family, table, chain): rules in the order in which packets meet them}"""
        return play({(family, table): lines for family, tables in self.lines.items() for table, lines in tables.items()})


def play(lines):
    """What a list of -N, -A and -I leaves in each chain."""
    chains = {}
    for (family, table), rules in lines.items():
        for verb, chain, *rest in rules:
            rules_there = chains.setdefault((family, table, chain), [])
            if verb == "-A":
                rules_there.append(rest[0])
            elif verb == "-I":
                rules_there.insert(rest[0] - 1, rest[1])
    return chains


def parse(text):
    """The chains of a file of Istio's: a table that appears for the second time is IPv6's."""
    lines, seen, table = {}, set(), None
    for line in text.splitlines():
        if line.startswith("*"):
            table = (6 if line[1:].strip() in seen else 4, line[1:].strip())
            seen.add(table[1])
            lines[table] = []
        elif line.startswith("-N"):
            lines[table].append(("-N", line.split()[1]))
        elif line.startswith("-A"):
            _, chain, rule = line.split(" ", 2)
            lines[table].append(("-A", chain, rule))
        elif line.startswith("-I"):
            _, chain, at, rule = line.split(" ", 3)
            lines[table].append(("-I", chain, int(at), rule))
    return play(lines)


def items(text):
    """istio-iptables' list: empty items do not count."""
    return [item for item in text.split(",") if item]


def ranges(text):
    """(is it "*", {family: CIDRs}, does a range begin with a loopback address); a CIDR's host bits stay, as Go's netip leaves them."""
    if text == "*":
        return True, {4: [], 6: []}, False
    by_family = {4: [], 6: []}
    loopback = False
    for item in items(text):
        interface = ipaddress.ip_interface(item)
        by_family[interface.version].append(f"{interface.ip}/{interface.network.prefixlen}")
        loopback |= interface.ip.is_loopback
    return False, by_family, loopback


class Both(dict):
    """A rule for both families, with what differs between them filled in."""

    def __init__(self, text, loopback=None):
        super().__init__({family: text.format(loopback=loopback[family] if loopback else LOOPBACK[family], passthrough=PASSTHROUGH[family])
                          for family in (4, 6)})


class Istio:
    """Builds the rules in istio-iptables' order."""

    def __init__(self, options):
        self.options = options
        self.out = RuleSet((4, 6) if options.enable_ipv6 else (4,))
        self.loopback = {4: options.host_ipv4_loopback_cidr, 6: LOOPBACK[6]}
        self.include_all, self.include, self.keeps_lo = ranges(options.outbound_ip_ranges_include)
        self.exclude = ranges(options.outbound_ip_ranges_exclude)[1]
        self.uids, self.gids = items(options.proxy_uid), items(options.proxy_gid)
        self.tproxy = options.inbound_interception_mode == "TPROXY"
        servers = {4: options.dns_servers_v4, 6: options.dns_servers_v6}
        # None: whatever the server.
        self.servers = {family: [None] if options.capture_all_dns else servers[family] for family in (4, 6)}
        self.dns = options.captures_dns

    def add(self, table, chain, text, **place):
        self.out.add(table, chain, Both(text, self.loopback), **place)

    def build(self):
        self._excluded_interfaces()
        for interface in items(self.options.reroute_virtual_interfaces):
            self.add("nat", "PREROUTING", f"-i {interface} -j RETURN", at=1)
        if self.options.drop_invalid:
            self.add("mangle", "PREROUTING", "-m conntrack --ctstate INVALID -j ISTIO_DROP")
            self.add("mangle", "ISTIO_DROP", "-j DROP")
        for port, chain, target in ((self.options.inbound_tunnel_port, "ISTIO_INBOUND", "--dport {} -j RETURN"),
                                    (self.options.proxy_port, "ISTIO_REDIRECT", "-j REDIRECT --to-ports {}"),
                                    (self.options.inbound_capture_port, "ISTIO_IN_REDIRECT", "-j REDIRECT --to-ports {}")):
            if port:  # a declared proxy may have none
                self.add("nat", chain, f"-p tcp {target.format(port)}")
        if self.options.inbound_ports_include:
            self._inbound()
        self._outbound()
        if self.tproxy:
            self._marks()
        return self.out

    def _excluded_interfaces(self):
        for table in ("nat", "mangle") if self.tproxy else ("nat",):
            for interface in items(self.options.exclude_interfaces):
                self.add(table, "PREROUTING", f"-i {interface} -j RETURN")
                self.add(table, "OUTPUT", f"-o {interface} -j RETURN")

    # -- inbound -------------------------------------------------------------------------------------------------------

    def _inbound(self):
        table = "mangle" if self.tproxy else "nat"
        mark, port = self.options.inbound_t_proxy_mark, self.options.inbound_capture_port
        if self.tproxy:
            self.add("mangle", "ISTIO_DIVERT", f"-j MARK --set-mark {mark}")
            self.add("mangle", "ISTIO_DIVERT", "-j ACCEPT")
            self.add("mangle", "ISTIO_TPROXY", f"! -d {{loopback}} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}")
        self.add(table, "PREROUTING", "-p tcp -j ISTIO_INBOUND")
        if self.options.inbound_ports_include == "*":
            for excluded in items(self.options.inbound_ports_exclude):
                self.add(table, "ISTIO_INBOUND", f"-p tcp --dport {excluded} -j RETURN")
            self._capture_inbound("-p tcp")
            return
        for included in items(self.options.inbound_ports_include):
            self._capture_inbound(f"-p tcp --dport {included}")

    def _capture_inbound(self, match):
        if self.tproxy:
            self.add("mangle", "ISTIO_INBOUND", f"{match} -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT")
            self.add("mangle", "ISTIO_INBOUND", f"{match} -j ISTIO_TPROXY")
        else:
            self.add("nat", "ISTIO_INBOUND", f"{match} -j ISTIO_IN_REDIRECT")

    def _marks(self):
        mark = self.options.inbound_t_proxy_mark
        self.add("mangle", "PREROUTING", f"-p tcp -m mark --mark {mark} -j CONNMARK --save-mark")
        self.add("mangle", "OUTPUT", f"-p tcp -o lo -m mark --mark {mark} -j RETURN")
        for owner in [f"--uid-owner {uid}" for uid in self.uids] + [f"--gid-owner {gid}" for gid in self.gids]:
            self.add("mangle", "OUTPUT", f"! -d {{loopback}} -p tcp -o lo -m owner {owner} -j MARK --set-mark 1338")
        self.add("mangle", "OUTPUT", f"-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark")
        self.add("mangle", "ISTIO_INBOUND", f"-p tcp -m mark --mark {mark} -j RETURN", at=1)
        self.add("mangle", "ISTIO_INBOUND", "-p tcp -s {passthrough} -i lo -j RETURN", at=2)
        self.add("mangle", "ISTIO_INBOUND", "-p tcp -i lo -m mark ! --mark 1338 -j RETURN", at=3)

    # -- outbound ------------------------------------------------------------------------------------------------------

    def _outbound(self):
        self.add("nat", "OUTPUT", "-j ISTIO_OUTPUT")
        for port in items(self.options.outbound_ports_exclude):
            for protocol in ("tcp", "udp"):
                self.add("nat", "ISTIO_OUTPUT", f"-p {protocol} --dport {port} -j RETURN")
        self.add("nat", "ISTIO_OUTPUT", "-o lo -s {passthrough} -j RETURN")
        tunnel = self.options.inbound_tunnel_port
        for uid in self.uids:  # port 53 is let through for the uid only
            self._owner(f"--uid-owner {uid}", ["53", tunnel] if self.dns else [tunnel])
        for gid in self.gids:
            self._owner(f"--gid-owner {gid}", [tunnel])
        self._owner_groups()
        if self.dns:
            self._dns()
        self.add("nat", "ISTIO_OUTPUT", "-d {loopback} -j RETURN")
        self._each_range(self.exclude, "RETURN")
        for port in items(self.options.outbound_ports_include):
            self.add("nat", "ISTIO_OUTPUT", f"-p tcp --dport {port} -j ISTIO_REDIRECT")
        self._included_ranges()

    def _owner(self, owner, spared):
        ports = [port for port in spared if port]
        match = f"-m multiport ! --dports {','.join(ports)} " if len(ports) > 1 else f"! --dport {ports[0]} " if ports else ""
        if self.options.inbound_capture_port:
            self.add("nat", "ISTIO_OUTPUT", f"-o lo ! -d {{loopback}} -p tcp {match}-m owner {owner} -j ISTIO_IN_REDIRECT")
        if not self.keeps_lo:
            self.add("nat", "ISTIO_OUTPUT", f"-o lo{' -p tcp ! --dport 53' if self.dns else ''} -m owner ! {owner} -j RETURN")
        self.add("nat", "ISTIO_OUTPUT", f"-m owner {owner} -j RETURN")

    def _owner_groups(self):
        if self.options.owner_groups_include == "*":
            for group in items(self.options.owner_groups_exclude):
                self.add("nat", "ISTIO_OUTPUT", f"-m owner --gid-owner {group} -j RETURN")
            return
        none_of = " ".join(f"-m owner ! --gid-owner {group}" for group in items(self.options.owner_groups_include))
        self.add("nat", "ISTIO_OUTPUT", f"{none_of} -j RETURN".strip())

    def _each_range(self, by_family, target):
        for family in self.out.families:
            for cidr in by_family[family]:
                self.add("nat", "ISTIO_OUTPUT", f"-d {cidr} -j {target}", only=family)

    def _included_ranges(self):
        interfaces = items(self.options.reroute_virtual_interfaces)
        if self.include_all:
            self.add("nat", "ISTIO_OUTPUT", "-j ISTIO_REDIRECT")
            for interface in interfaces:
                self.add("nat", "PREROUTING", f"-i {interface} -j ISTIO_REDIRECT", at=1)
            return
        for family in self.out.families:
            for cidr in self.include[family]:
                for interface in interfaces:
                    self.add("nat", "PREROUTING", f"-i {interface} -d {cidr} -j ISTIO_REDIRECT", only=family, at=1)
        self._each_range(self.include, "ISTIO_REDIRECT")

    # -- DNS -----------------------------------------------------------------------------------------------------------

    def _dns(self):
        self.add("raw", "OUTPUT", "-j ISTIO_OUTPUT_DNS")
        for family in self.out.families:
            if self.servers[family]:
                self.add("nat", "ISTIO_OUTPUT", "-j ISTIO_OUTPUT_DNS", only=family)
            for protocol, option in (("tcp", "--to-ports"), ("udp", "--to-port")):
                for server in self.servers[family]:
                    match = f"-p {protocol} --dport 53{self._host('-d', server, family)}"
                    self.add("nat", "ISTIO_OUTPUT_DNS", f"{match} -j REDIRECT {option} {self.options.dns_port}", only=family)
        for owner in [f"--uid-owner {uid}" for uid in self.uids] + [f"--gid-owner {gid}" for gid in self.gids]:
            self.add("raw", "ISTIO_OUTPUT_DNS", f"-p udp --dport 53 -m owner {owner} -j CT --zone 1")
            self.add("raw", "ISTIO_OUTPUT_DNS", f"-p udp --sport {self.options.dns_port} -m owner {owner} -j CT --zone 2")
        for family in self.out.families:
            if self.servers[family]:
                self.add("raw", "PREROUTING", "-j ISTIO_INBOUND", only=family)
            for server in self.servers[family]:
                self.add("raw", "ISTIO_OUTPUT_DNS", f"-p udp --dport 53{self._host('-d', server, family)} -j CT --zone 2", only=family)
                self.add("raw", "ISTIO_INBOUND", f"-p udp --sport 53{self._host('-s', server, family)} -j CT --zone 1", only=family)

    @staticmethod
    def _host(option, server, family):
        return "" if server is None else f" {option} {server}/{32 if family == 4 else 128}"


def multiport(ports):
    """At most 15 references in a rule; a range counts two."""
    chunks, used = [[]], 0
    for port in ports:
        first, _, last = port.partition("-")
        cost = 2 if last and last != first else 1
        if used + cost > 15:
            chunks.append([])
            used = 0
        chunks[-1].append(f"{first}:{last}" if cost == 2 else first)
        used += cost
    return [",".join(chunk) for chunk in chunks if chunk]


def linkerd(options):
    """Linkerd's rules; only nat, and subnets of the other family left out, which Linkerd does not (its ip6tables would fail)."""
    out = RuleSet((4, 6) if options.ipv6 else (4,))

    def add(chain, text, **place):
        out.add("nat", chain, Both(text), **place)

    for ports in multiport(options.inbound_ignore):
        add("PROXY_INIT_REDIRECT", f"-p tcp --match multiport --dports {ports} -j RETURN")
    for subnet in options.subnets_ignore:
        add("PROXY_INIT_REDIRECT", f"-p all -j RETURN -s {subnet}", only=ipaddress.ip_interface(subnet).version)
    for match in [f" --destination-port {port}" for port in options.redirect_ports] or [""]:
        add("PROXY_INIT_REDIRECT", f"-p tcp{match} -j REDIRECT --to-port {options.incoming_port}")
    add("PREROUTING", "-j PROXY_INIT_REDIRECT")
    if options.uid > 0:
        add("PROXY_INIT_OUTPUT", f"-m owner --uid-owner {options.uid} -j RETURN")
    if options.gid > 0:
        add("PROXY_INIT_OUTPUT", f"-m owner --gid-owner {options.gid} -j RETURN")
    add("PROXY_INIT_OUTPUT", "-o lo -j RETURN")
    for ports in multiport(options.outbound_ignore):
        add("PROXY_INIT_OUTPUT", f"-p tcp --match multiport --dports {ports} -j RETURN")
    add("PROXY_INIT_OUTPUT", f"-p tcp -j REDIRECT --to-port {options.outgoing_port}")
    add("OUTPUT", "-j PROXY_INIT_OUTPUT")
    return out


def build(options):
    if not options.captured:
        return RuleSet(())
    return linkerd(options) if isinstance(options, LinkerdOptions) else Istio(options).build()

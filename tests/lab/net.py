# SPDX-License-Identifier: Apache-2.0
"""The node's network: a namespace that routes between its pods.

Each pod hangs on a point-to-point veth with a /32 (/128) route, as with Calico or GKE. Everything between two pods passes the node's
routing, so that the DNAT of Services works in both directions, and no rule is needed in a pod.
"""

import os
import pathlib
import subprocess

from .command import PROBE, run, wait_until

GATEWAY4 = "10.244.0.1"
GATEWAY6 = "fd00:10:244::1"
NODE_SYSCTLS = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
# No duplicate address detection: addresses work at once. containerd lets pods bind ports below 1024.
COMMON_SYSCTLS = ("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv4.ip_unprivileged_port_start=0")
CHAINS = {"refusals": "filter hook prerouting priority raw", "backends": "nat hook prerouting priority dstnat",
          "hairpins": "nat hook postrouting priority srcnat"}


def netns_path(name):
    return f"/run/netns/{name}"


def in_netns(name, *argv, **options):
    """Runs a tool in a network namespace, in the machine's own mount namespace."""
    return run(PROBE, "exec", "--netns", netns_path(name), "--", *argv, **options)


def ip_batch(name, *lines):
    run("ip", "-n", name, "-batch", "-", stdin="\n".join(lines))


class UserNamespace:
    """A pod's own, as hostUsers: false gives it: ids from `first` on to the node, from 0 on to the pod."""

    def __init__(self, first, count=65536):
        self.first, self.count = first, count
        self.holder = None

    def make_netns(self, netns):
        """Held by a process that ends with this one, until the name is bound."""
        self.holder = subprocess.Popen(["unshare", "--user", "--net", "cat"], stdin=subprocess.PIPE)
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, "unshare", 10)
        for ids in ("uid_map", "gid_map"):
            pathlib.Path(f"/proc/{self.holder.pid}/{ids}").write_text(f"0 {self.first} {self.count}")
        pathlib.Path(netns_path(netns)).touch()
        run("mount", "--bind", f"/proc/{self.holder.pid}/ns/net", netns_path(netns))

    def argv(self, argv, uid, gid):
        """The command line that runs something with ids of the pod's."""
        return ["nsenter", f"--user=/proc/{self.holder.pid}/ns/user", f"--setuid={uid}", f"--setgid={gid}", "--", *argv]

    def run(self, *argv, **options):
        """As root of the pod, in its user and network namespace."""
        return run("nsenter", f"--user=/proc/{self.holder.pid}/ns/user", f"--net=/proc/{self.holder.pid}/ns/net", "--", *argv, **options)

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)


class Node:
    """The node's network namespace."""

    def __init__(self, name):
        self.name = name
        self.links = 0
        self.services = {}  # (namespace, name) -> rules
        run("ip", "netns", "add", name)
        in_netns(name, "sysctl", "-qw", *NODE_SYSCTLS, *COMMON_SYSCTLS)
        ip_batch(name, "link set lo up")

    def next_host(self):
        """The host part of the next address: 10.244.0.10, fd00:10:244::10 and so on."""
        return 10 + self.links

    def make_netns(self, netns, owner=None):
        """An empty one, as a container runtime makes it; owner: the UserNamespace that it is to belong to."""
        if owner:
            owner.make_netns(netns)
        else:
            run("ip", "netns", "add", netns)
        in_netns(netns, "sysctl", "-qw", *COMMON_SYSCTLS)

    def connect(self, netns, ipv4, ipv6, owner=None):
        """Makes a network namespace with an eth0 and routes through the node; either address may be None."""
        link = f"pod{self.links}"
        self.links += 1
        self.make_netns(netns, owner)
        node = [f"link add {link} type veth peer name eth0 netns {netns}", f"link set {link} up"]
        pod = ["link set lo up", "link set eth0 up"]
        for address, gateway, length in ((ipv4, GATEWAY4, 32), (ipv6, GATEWAY6, 128)):
            if address is None:
                continue
            node += [f"addr add {gateway}/{length} dev {link}", f"route replace {address}/{length} dev {link}"]
            pod += [f"addr add {address}/{length} dev eth0", f"route add {gateway} dev eth0", f"route add default via {gateway} dev eth0"]
        ip_batch(self.name, *node)
        ip_batch(netns, *pod)

    def set_service(self, key, rules):
        """Replaces the rules of one Service: (family, chain, rule); an empty list removes it."""
        self.services[key] = rules
        for family in ("ip", "ip6"):
            in_netns(self.name, "nft", "-f", "-", stdin=self._ruleset(family))

    def _ruleset(self, family):
        chains = {chain: [] for chain in CHAINS}
        for rules in self.services.values():
            for rule_family, chain, rule in rules:
                if rule_family == family:
                    chains[chain].append(rule)
        table = f"table {family} services"
        return "\n".join([
            table, f"delete {table}", table + " {",
            *(line for chain, rules in chains.items() for line in (f"chain {chain} {{ type {CHAINS[chain]};", *rules, "}")), "}", ""])


def family_of(address):
    return "ip6" if ":" in address else "ip"


def service_rules(address, protocol, port, backends):
    """DNAT of one port to its backends (address, port) in turn, as kube-proxy does it; a pod that reaches itself is masqueraded."""
    family = family_of(address)
    match = f"{family} daddr {address} {protocol.lower()} dport {port}"
    if not backends:
        return [(family, "refusals", f"{match} reject")]
    items = ", ".join(f"{i} : {ip} . {target}" for i, (ip, target) in enumerate(backends))
    dnat = f"{match} dnat {family} addr . port to numgen inc mod {len(backends)} map {{ {items} }}"
    hairpins = [(family, "hairpins", f"{family} saddr {ip} {family} daddr {ip} masquerade") for ip, _ in backends]
    return [(family, "backends", dnat), *hairpins]

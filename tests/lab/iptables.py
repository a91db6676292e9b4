# SPDX-License-Identifier: Apache-2.0
"""Istio's own rule sets (conformance/istio), loaded by the real iptables-restore: what weir is compared with."""

from . import net


def split(text):
    """The parts for iptables-restore and ip6tables-restore: a table that appears for the second time is IPv6's."""
    parts, seen = ([], []), set()
    current = None
    for line in text.splitlines():
        if not line or line.endswith("tables-save"):
            continue
        if line.startswith("*"):
            table = line[1:].strip()
            current = parts[1] if table in seen else parts[0]
            seen.add(table)
        current.append(line)
    return tuple("\n".join(part) + "\n" if part else "" for part in parts)


def load(pod, text):
    """Programs a pod's network namespace as istio-cni would."""
    for tool, rules in zip(("iptables-restore", "ip6tables-restore"), split(text)):
        if rules:
            net.in_netns(pod.netns, tool, "--noflush", stdin=rules)
    if split(text)[1]:
        net.ip_batch(pod.netns, "addr add ::6/128 dev lo")  # istio-iptables does so: Envoy's source address inbound

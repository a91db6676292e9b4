# SPDX-License-Identifier: Apache-2.0
"""What weir does not do yet, so that configurations which ask for it are left out of the tests (and said to be)."""

from .rules import IstioOptions, items

UNBUILT = {
    "DNS capture": lambda o: o.redirect_dns,
    "TPROXY": lambda o: o.inbound_interception_mode == "TPROXY",
    "excluded interfaces": lambda o: o.exclude_interfaces,
    "virtual interfaces": lambda o: o.reroute_virtual_interfaces,
    "owner groups": lambda o: (o.owner_groups_include, o.owner_groups_exclude) != ("*", ""),
    "the loopback CIDR": lambda o: o.host_ipv4_loopback_cidr != "127.0.0.1/32",
    "several proxy ids": lambda o: len(items(o.proxy_uid)) + len(items(o.proxy_gid)) > 2,
}


def unbuilt(options):
    """Names of the features that are missing; empty when weir claims to do all of it."""
    return [name for name, needs in UNBUILT.items() if isinstance(options, IstioOptions) and needs(options)]

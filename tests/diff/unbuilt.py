# SPDX-License-Identifier: Apache-2.0
"""What weir does not do yet, so that configurations which ask for it are left out of the tests (and said to be)."""

from .rules import IstioOptions

UNBUILT = {
    "excluded interfaces": lambda o: o.exclude_interfaces,
    "virtual interfaces": lambda o: o.reroute_virtual_interfaces,
}


def unbuilt(options):
    """Names of the features that are missing; empty when weir claims to do all of it."""
    return [name for name, needs in UNBUILT.items() if isinstance(options, IstioOptions) and needs(options)]

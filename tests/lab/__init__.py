# SPDX-License-Identifier: Apache-2.0
"""A small cluster node in cgroups and network namespaces of its own, for the demo, the end-to-end tests and the benchmarks.

    with Lab("name") as lab:
        server = lab.pod("server", mesh="istio")
        client = lab.pod("client")
        server.serve("0.0.0.0:8080")
        print(client.connect(f"{server.ip}:8080"))
"""

from .lab import Lab, LabError, clean

__all__ = ["Lab", "LabError", "clean"]

# SPDX-License-Identifier: Apache-2.0
"""The load that runs all the while: its books, and that they agree with what weir counted."""

import json

from lab.command import LabError

from .objects import BOOKS, SERVICE_PORT, SHOP, SOCKET, STREAM_PORT


class Load:
    """The load of one client's pod, as it is now."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def ask(self, what):
        """Tells the application to pause or resume; its books. By the node: kubectl exec would take ten times as long there."""
        uid = self.cluster.pod(SHOP, self.name)["metadata"]["uid"]
        path = f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/{BOOKS}/{SOCKET}"
        # The container may have been started and its program not yet listen.
        command = "curl --silent --show-error --retry 60 --retry-delay 1 --retry-all-errors"
        return json.loads(self.cluster.node.out(f"{command} --unix-socket {path} http://books/{what}", timeout=600))

    def stats(self):
        return self.ask("stats")

    def begin(self):
        """From here on, what fails is looked at."""
        self.cluster.marks[self.name] = self.stats()

    def since(self):
        """(requests done, lines streamed, failures) since begin()."""
        if self.name not in self.cluster.marks:
            raise LabError(f"{self.name}: since() without begin()")
        mark, now = self.cluster.marks[self.name], self.stats()
        failed = sum(now[kind]["failed"] - mark[kind]["failed"] for kind in ("requests", "streams"))
        return (now["requests"]["done"] - mark["requests"]["done"], now["streams"]["done"] - mark["streams"]["done"],
                now["failures"][-failed:] if failed else [])

    def check(self, report, while_what):
        """Traffic went on since begin(), and nothing failed; the long-lived stream is still the same."""
        requests, lines, failures = self.since()
        report.check(requests > 0 and lines > 0 and not failures, f"{self.name}: {requests} requests, {lines} lines of one stream, none failed, while {while_what}",
                     json.dumps(failures, indent=1))
        self.begin()

    def check_totals(self, report, weir, when):
        """What weir counted is what the application counted, byte for byte, open connections included."""
        books = self.ask("pause")
        try:
            metrics = weir.metrics()  # what it dials alone: an init container of its pod dialled elsewhere
            ports = [weir.tcp(self.name, metrics, direction="outbound", port=str(port)) for port in (SERVICE_PORT, STREAM_PORT)]
            counted = {key: sum(port[key] for port in ports) for key in ports[0]}
            mine = {key: books["requests"][key] + books["streams"][key] for key in ("opened", "sent", "received")}
        finally:
            self.ask("resume")
        report.check(counted == mine, f"{self.name}: {mine['opened']} connections, {mine['sent']} bytes sent, {mine['received']} received, as weir counted, {when}",
                     f"weir counted {counted}")

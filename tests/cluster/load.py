# SPDX-License-Identifier: Apache-2.0
"""The load that runs all the while: its books, and that they agree with what weir counted."""

import json
from collections import Counter

from lab.command import LabError

from .objects import BOOKS, SERVICE_PORT, SHOP, SOCKET, STREAM_PORT


KEYS = ("opened", "sent", "received")


class Load:
    """The load of one client's pod, as it is now. Of a server that is given, what arrived there is compared as well."""

    def __init__(self, cluster, name, server=None):
        self.cluster, self.name, self.server = cluster, name, server

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

    def _both_books(self, weir):
        """The application's and weir's, of a moment without traffic: of each what the client counted and what arrived at its server."""
        books = self.ask("pause")
        try:
            metrics = weir.metrics()
        finally:
            self.ask("resume")
        # What it dials alone: an init container of its pod dialled elsewhere.
        ports = [weir.tcp(self.name, metrics, direction="outbound", port=str(port)) for port in (SERVICE_PORT, STREAM_PORT)]
        mine, counted = Counter(), Counter()
        for key in KEYS:
            mine[key] = books["requests"][key] + books["streams"][key]
            counted[key] = sum(port[key] for port in ports)
        if self.server:  # of the stream: proxies add to HTTP
            stream, arrived = books["streams"], weir.tcp(self.server, metrics, direction="inbound", port=str(STREAM_PORT))
            mine.update({"server opened": stream["opened"], "server sent": stream["received"], "server received": stream["sent"]})
            counted.update({f"server {key}": arrived[key] for key in KEYS})
        return mine, counted

    def count_from_here(self, weir):
        """What is compared begins here, where the books of both differ by what was before."""
        self.cluster.counted[self.name] = self._both_books(weir)

    def check_totals(self, report, weir, when):
        """What weir counted is what the application counted, byte for byte, open connections included; at the server's end too."""
        mine, counted = self._both_books(weir)
        for book, first in zip((mine, counted), self.cluster.counted.get(self.name, ())):
            book.subtract(first)
        both = ", at both ends" if self.server else ""
        report.check(counted == mine, f"{self.name}: {mine['opened']} connections, {mine['sent']} bytes sent, {mine['received']} received, "
                     f"as weir counted{both}, {when}", f"{dict(mine)}\nweir counted {dict(counted)}")

# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus that scrapes a lab's agent."""

import json
import subprocess
import urllib.parse
import urllib.request

from lab.agent import free_port
from lab.command import wait_until


class Prometheus:
    """Scrapes every second, as job weir, into a folder of its own."""

    def __init__(self, agent, folder):
        self.port = free_port()
        (folder / "config.yml").write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [
            {"job_name": "weir", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{agent.port}"], "labels": {"app": "weir"}}]}]}))
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(["prometheus", f"--config.file={folder}/config.yml", f"--storage.tsdb.path={folder}/data",
                                             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=log, stderr=log)

    def ask(self, query):
        """The rows of an instant query."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def is_up(self):
        try:
            return self.ask("up == 1")
        except OSError:
            return False

    def __enter__(self):
        wait_until(self.is_up, "Prometheus to have scraped", 60)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

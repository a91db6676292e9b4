# SPDX-License-Identifier: Apache-2.0
"""The cluster as its users know it: kubectl, helm, and what the applications in its pods say."""

import json
import os
import time

from lab.command import LabError, run, wait_until

from . import images, store
from .control import ControlPlane
from .images import BIN
from .node import Node


PATIENCE = 600  # seconds, for everything: an emulated CPU on a busy machine may stand still for a while


class Cluster:
    def __init__(self, folder, kernel, driver):
        self.folder = folder
        self.control = ControlPlane(folder)
        self.node = Node(folder, kernel, driver)
        self.marks, self.counted = {}, {}  # the books of each load at some moment (load.py)
        self.environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(self.control.kubeconfig), "HOME": str(folder)}

    def build_images(self, weir_names):
        """Makes the disk with all images; {name: size of its file system}."""
        folder, sizes = self.folder / "images", {}
        folder.mkdir()
        wanted = {**images.test_images(), **{name.replace("/", "_").replace(":", "_"): images.weir_image(name) for name in weir_names}}
        for stem, image in wanted.items():
            sizes[image.name] = image.build(folder, folder / f"{stem}.tar")
        self.node.store = store.make_disk(self.node.disk, sorted(folder.glob("*.tar")), self.folder / "store")
        return sizes

    def start(self):
        self.control.give_to_node(self.node.share)
        self.control.start()
        self.node.boot()

    def stop(self):
        self.node.power_off()

    def wait(self, condition, what):
        return wait_until(condition, what, PATIENCE, 1)

    # -- kubectl and helm ----------------------------------------------------------------------------------------------

    def _run(self, argv, stdin, check, timeout):
        argv = ["env", "-i", *(f"{key}={value}" for key, value in self.environment.items()), *argv]
        return run(*argv, stdin=stdin, check=check, timeout=timeout)

    def kubectl(self, *args, stdin=None, check=True, timeout=PATIENCE):
        return self._run([BIN / "kubectl", *args], stdin, check, timeout)

    def helm(self, *args, check=True, timeout=PATIENCE):
        return self._run([BIN / "helm", *args], None, check, timeout)

    def apply(self, *objects):
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self.kubectl("apply", "--validate=strict", "-f", "-", stdin=json.dumps(listed))

    def get(self, kind, name=None, namespace=None, selector=None):
        """An object, or the list of them; None for an object that is not there."""
        where = ["-n", namespace] if namespace else ["-A"] if name is None else []
        done = self.kubectl("get", kind, *([name] if name else []), *where, *(["-l", selector] if selector else []), "-o", "json",
                            "--ignore-not-found")
        if not done.stdout.strip():
            return None if name else []
        found = json.loads(done.stdout)
        return found if name else found["items"]

    def pods(self, namespace, app):
        """The pods of an application that are not on their way out."""
        return [pod for pod in self.get("pods", namespace=namespace, selector=f"app={app}") if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, namespace, app):
        found = self.pods(namespace, app)
        if len(found) != 1:
            raise LabError(f"{namespace}/{app}: {len(found)} pods, not one")
        return found[0]

    def wait_node(self):
        def ready():
            node = self.get("node", "node")
            return node and any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))

        self.wait(ready, "the node to be Ready")

    def wait_rollout(self, what, namespace):
        self.kubectl("rollout", "status", what, "-n", namespace, f"--timeout={PATIENCE}s", timeout=PATIENCE + 30)

    def wait_pod(self, namespace, app, condition=None):
        """Waits until the application has one pod and that is Ready, or what else is asked of its object."""
        condition = condition or is_ready

        def found():
            pods = self.pods(namespace, app)
            return len(pods) == 1 and condition(pods[0]) and pods[0]

        try:
            return self.wait(found, f"{namespace}/{app}")
        except LabError as error:
            raise LabError(f"{error}\n{self.describe(namespace)}") from None

    def describe(self, namespace):
        """What a person would look at: pods and what was told about them."""
        pods = self.kubectl("get", "pods", "-n", namespace, "-o", "wide", check=False).stdout
        events = self.kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False).stdout
        return pods + "\n".join(events.splitlines()[-15:])

    def exec(self, namespace, target, container, *argv, check=True, timeout=PATIENCE):
        return self.kubectl("exec", "-n", namespace, target, "-c", container, "--", *argv, check=check, timeout=timeout).stdout

    def logs(self, namespace, target, container, *more):
        return self.kubectl("logs", "-n", namespace, target, "-c", container, *more).stdout


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def container_status(pod, name):
    statuses = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == name), {"state": {}})


class Stopwatch:
    def __init__(self):
        self.began = time.monotonic()

    def __str__(self):
        return f"{time.monotonic() - self.began:.0f} s"

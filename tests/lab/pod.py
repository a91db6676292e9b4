# SPDX-License-Identifier: Apache-2.0
"""A pod: a network namespace, a cgroup below the kubepods cgroup, an object as the API server has it, and processes in all of that."""

import json
import subprocess
import uuid

from . import cgroup, kube, net
from .command import PROBE, LabError, run, wait_until, write_atomically

LISTEN = "0A"  # a state in /proc/net/tcp


class Pod:
    """Made by Lab.pod() and Lab.outside()."""

    def __init__(self, lab, name, namespace="default", ip=None, ipv6=True, mesh=None, labels=None, annotations=None, owner=None,
                 ports=(), proxy_uid=None, proxy_env=None, outside=False, network=True, userns=None):
        self.lab, self.name, self.namespace, self.mesh, self.userns = lab, name, namespace, mesh, userns
        self.labels, self.annotations, self.owner, self.ports = {"app": name, **(labels or {})}, dict(annotations or {}), owner, ports
        self.proxy_uid = proxy_uid or {"istio": 1337, "linkerd": 2102}.get(mesh)
        self.proxy_env = proxy_env or {}  # such as ISTIO_DUAL_STACK
        self.uid = str(uuid.uuid4())
        self.netns = f"{lab.prefix}-{namespace}-{name}"
        self.file = lab.pods_dir / f"{namespace}_{name}.json"
        if owner and owner.startswith("Deployment/"):
            self.labels.setdefault("pod-template-hash", "7d9f8c6b5d")
        self.kubepods = lab.outside_cgroup if outside else lab.cgroup_root
        self._make_cgroups()
        self.ip = self.ipv6 = None
        if network:
            self._connect(ip, ipv6)
        else:  # CNI plugins do the rest
            lab.node.make_netns(self.netns)

    def _connect(self, ip, ipv6):
        host = self.lab.node.next_host()
        self.ip = ip or f"10.244.0.{host}"
        self.ipv6 = f"fd00:10:244::{host}" if ipv6 is True else ipv6 or None
        self.lab.node.connect(self.netns, self.ip, self.ipv6, self.userns)

    def _make_cgroups(self):
        """One cgroup for the pod, in it one for each container."""
        self.cgroup = cgroup.pod_path(self.lab.layout, self.uid)  # relative to the kubepods cgroup
        self.containers = {"app": uuid.uuid4().hex * 2}
        if self.mesh:
            self.containers[kube.PROXY_CONTAINER[self.mesh]] = uuid.uuid4().hex * 2
        for container in self.containers:
            self.container_cgroup(container).mkdir(parents=True)

    def container_cgroup(self, container="app"):
        return self.kubepods / self.cgroup / cgroup.container_name(self.lab.layout, self.containers[container])

    # -- the object ----------------------------------------------------------------------------------------------------

    def object(self):
        """The Pod as `kubectl get pod -o json` prints it; edit it and hand it to write() for anything unusual."""
        addresses = [address for address in (self.ip, self.ipv6) if address]
        pod = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": self.namespace, "uid": self.uid, "creationTimestamp": kube.CREATED,
                "labels": dict(self.labels), **kube.owner_metadata(self.owner, self.labels, self.name),
                "annotations": {**self.annotations, "weir.io/netns": net.netns_path(self.netns), "weir.io/cgroup": str(self.cgroup)}},
            "spec": {"nodeName": "node-a", "serviceAccountName": "default", "restartPolicy": "Always", "initContainers": [],
                     "containers": [kube.container("app", "example/app", self.ports)]},
            "status": {"phase": "Running", "hostIP": net.GATEWAY4, **kube.addresses(addresses),
                       "qosClass": "Burstable", "startTime": kube.CREATED, "containerStatuses": [
                           {"name": name, "containerID": f"containerd://{ident}", "ready": True, "started": True, "restartCount": 0}
                           for name, ident in self.containers.items()]}}
        if self.mesh:
            kube.INJECTORS[self.mesh](pod, self.proxy_uid, self.proxy_env)
        return pod

    def write(self, pod=None):
        """Tells weir of the pod, or of a change."""
        write_atomically(self.file, json.dumps(pod or self.object(), indent=1))
        return self

    def remove_file(self):
        self.file.unlink(missing_ok=True)

    def delete(self):
        """Ends the pod as the kubelet would: processes, network, cgroup, object."""
        cgroup.kill(self.kubepods / self.cgroup)
        self.remove_file()
        run("ip", "netns", "del", self.netns)
        cgroup.remove(self.kubepods / self.cgroup)

    # -- processes -----------------------------------------------------------------------------------------------------

    def argv(self, argv, uid=0, gid=None, groups=None, container="app", inside=False):
        """The command line that starts a process in one of the pod's containers; inside of its user namespace the ids are the pod's."""
        if inside:
            return self.argv(self.userns.argv(argv, uid, uid if gid is None else gid), container=container)
        ids = ["--uid", uid, "--gid", uid if gid is None else gid, f"--groups={groups or ''}"]
        place = ["--netns", net.netns_path(self.netns), "--cgroup", self.container_cgroup(container)]
        die = [] if self.lab.keep else ["--pdeathsig"]
        return [str(arg) for arg in (PROBE, "exec", *place, *ids, *die, "--", *argv)]

    def run(self, argv, check=True, stdin=None, timeout=60, **place):
        """Runs a command in the pod to its end; place: uid, gid, groups, container."""
        return run(*self.argv(argv, **place), check=check, stdin=stdin, timeout=timeout)

    def popen(self, argv, stdin=subprocess.DEVNULL, stdout=None, stderr=None, env=None, **place):
        """Starts a command in the pod; what it prints goes to a file in the lab's log directory unless said otherwise."""
        log = None
        if stdout is None or stderr is None:
            log = self.lab.open_log(f"{self.namespace}_{self.name}_{str(argv[0]).rsplit('/', 1)[-1]}")
        process = subprocess.Popen(self.argv(argv, **place), stdin=stdin, stdout=stdout or log, stderr=stderr or log, env=env)
        if log:
            log.close()
        return process

    def listening_ports(self):
        table = net.in_netns(self.netns, "cat", "/proc/net/tcp", "/proc/net/tcp6", check=False).stdout
        rows = [line.split() for line in table.splitlines()]
        return {int(row[1].rsplit(":", 1)[1], 16) for row in rows if len(row) > 3 and row[3] == LISTEN}

    def wait_listen(self, *ports, timeout=10):
        """Waits until all these TCP ports have listeners."""
        wait_until(lambda: set(ports) <= self.listening_ports(), f"{self.name}: listeners on {ports}", timeout)

    # -- the probe -----------------------------------------------------------------------------------------------------

    def connect(self, *targets, options=(), **place):
        """`probe connect`: what the client and the acceptor saw; one dict for one connection, else a list of them."""
        done = self.run([PROBE, "connect", *targets, *options], check=False, **place)
        if done.returncode not in (0, 1):
            raise LabError(f"probe connect: {done.stderr}")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return lines[0] if len(lines) == 1 else lines

    def serve(self, *addresses, mode="serve", options=(), **place):
        """`probe serve|sink|bulk` in the background, ready when this returns."""
        return Server(self, [PROBE, mode, *options, "--listen", *addresses], place)


class Server:
    """A probe that listens in a pod."""

    def __init__(self, pod, argv, place):
        self.log = pod.lab.log_path(f"{pod.namespace}_{pod.name}_serve")
        with open(self.log, "w", encoding="utf-8") as out:
            self.process = pod.popen(argv, stdout=out, stderr=out, **place)
        wait_until(self._is_ready, f"{pod.name}: probe {argv[1]}")

    def _is_ready(self):
        if self.process.poll() is not None:
            raise LabError(f"probe: {self.log.read_text()}")
        return self.log.read_text().startswith("ready")

    def books(self):
        """One dict for each connection that has ended."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def wait_books(self, count, timeout=10):
        """The books of `count` connections, as soon as they have ended."""
        wait_until(lambda: len(self.books()) >= count, f"{count} connections to end", timeout)
        return self.books()

    def stop(self):
        self.process.kill()
        self.process.wait()

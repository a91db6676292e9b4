# SPDX-License-Identifier: Apache-2.0
"""The lab: everything a node has, under one prefix, removed on every way out.

Its owner is recorded below /run, where labs of other checkouts can be seen as well, before anything else is made; so `clean` finds
all that an interrupted run left, and never touches what belongs to a process that lives.
"""

import atexit
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import sys
import threading

from . import cgroup, iptables, kube, net
from .agent import Agent, weir
from .command import BUILD, PROBE, LabError, run, write_atomically
from .pod import Pod

OWNER = "owner.json"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_path(prefix):
    return pathlib.Path("/run") / prefix


def start_time(pid):
    """With the pid it names one process for ever; None when there is none."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def unmount_below(folder):
    mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for mount in mounts:
        if mount.startswith(f"{folder}/"):
            run("umount", "--lazy", mount)


def remove(prefix, work):
    """Removes a lab by its names alone; repeating it does no harm."""
    cgroup.remove(cgroup.mount_point() / prefix)
    for netns in pathlib.Path("/run/netns").glob(f"{prefix}-*"):
        run("ip", "netns", "del", netns.name)
    unmount_below(work)
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(run_path(prefix), ignore_errors=True)


def clean():
    """Removes the labs whose owner has ended, kept ones included; returns their names."""
    removed = []
    for record in pathlib.Path("/run").glob(f"weir-*/{OWNER}"):
        try:
            owner = json.loads(record.read_text())
        except FileNotFoundError:
            continue  # its owner is just removing it
        if start_time(owner["pid"]) == owner["start"]:
            continue
        remove(record.parent.name, pathlib.Path(owner["work"]))
        removed.append(record.parent.name)
    return removed


class Lab:
    """A node with its pods' network and cgroups; keep=True leaves it up at the end (until `make clean-lab`)."""

    def __init__(self, name, layout="systemd", keep=False):
        if not PROBE.exists():
            raise LabError(f"{PROBE} is missing: run make")
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24]
        self.prefix = f"weir-{slug}-{secrets.token_hex(3)}"
        self.layout, self.keep = layout, keep
        self.work = BUILD / "lab" / self.prefix
        self.run_dir = run_path(self.prefix) / "weir"
        self.pods_dir, self.log_dir, self.state_dir = self.work / "pods", self.work / "log", self.work / "state"
        self.bpf_dir = self.work / "bpf" / "weir"
        root = cgroup.mount_point() / self.prefix
        self.agent_cgroup, self.outside_cgroup = root / "agent", root / "outside"
        self.cgroup_root = root / ("kubepods.slice" if layout == "systemd" else "kubepods")
        self.open = False
        self.agents = []

    def __enter__(self):
        self._record_owner()
        self.open = True
        atexit.register(self.close)
        self._catch_signals()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, error, trace):
        wanted = kind is None or issubclass(kind, Exception)  # and not Ctrl-C
        if self.keep and wanted:
            atexit.unregister(self.close)
        else:
            self.close()

    def _record_owner(self):
        run_path(self.prefix).mkdir()
        owner = {"pid": os.getpid(), "start": start_time(os.getpid()), "work": str(self.work)}
        write_atomically(run_path(self.prefix) / OWNER, json.dumps(owner))

    def _catch_signals(self):
        """SIGTERM and SIGHUP unwind the stack like Ctrl-C does, so that __exit__ runs."""
        if threading.current_thread() is threading.main_thread():
            for sig in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(sig) == signal.SIG_DFL:
                    signal.signal(sig, lambda number, _: sys.exit(128 + number))

    def _build(self):
        for folder in (self.run_dir, self.pods_dir, self.log_dir, self.bpf_dir.parent, self.agent_cgroup, self.outside_cgroup, self.cgroup_root):
            folder.mkdir(parents=True)
        run("mount", "-t", "bpf", "bpf", self.bpf_dir.parent)
        self.bpf_dir.mkdir()
        self.node = net.Node(f"{self.prefix}-node")

    def close(self):
        """Removes everything; a second Ctrl-C does not interrupt it."""
        atexit.unregister(self.close)
        if not self.open:
            return
        self.open = False
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            remove(self.prefix, self.work)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # -- what is in it -------------------------------------------------------------------------------------------------

    def pod(self, name, **options):
        """A running pod, not yet known to weir: pod.write() tells it. Options: see Pod."""
        return Pod(self, name, **options)

    def outside(self, name, ip="203.0.113.10", ipv6="2001:db8::10", **options):
        """A machine outside the cluster, for peers that are no pods: not below the kubepods cgroup."""
        return Pod(self, name, namespace="outside", ip=ip, ipv6=ipv6, outside=True, **options)

    def service(self, name, ip, ports, pods, namespace="default", protocol="TCP", write=True):
        """A ClusterIP Service: ip is one address or several, ports is {port: target}. Called again, it replaces the former."""
        addresses = [ip] if isinstance(ip, str) else list(ip)
        triples = [(port, target, protocol) for port, target in ports.items()]
        rules = []
        for address in addresses:
            ipv6 = ":" in address
            backends = [pod.ipv6 if ipv6 else pod.ip for pod in pods]
            for port, target, _ in triples:
                rules += net.service_rules(address, protocol, port, [(backend, target) for backend in backends])
            if write:
                self.write_object(kube.endpoint_slice(name, namespace, ipv6, triples, pods))
        if write:
            selector = {"app": pods[0].labels["app"]} if pods else {}
            self.write_object(kube.service(name, namespace, addresses, triples, selector))
        self.node.set_service((namespace, name), rules)

    def write_object(self, item):
        """Puts any Kubernetes object into the agent's directory."""
        meta = item["metadata"]
        write_atomically(self.pods_dir / f"{item['kind'].lower()}_{meta.get('namespace', '')}_{meta['name']}.json", json.dumps(item, indent=1))

    def iptables(self, pod, golden_text):
        """Loads one of Istio's rule sets into a pod."""
        iptables.load(pod, golden_text)

    def agent(self, *args, wait=True, mounts=None, under=(), without=()):
        """Starts the weir agent on this lab.

        mounts is {folder: where the agent alone sees it}, under the command that runs it, without the options that it is not given.
        """
        agent = Agent(self, args, wait, mounts, under, without)
        self.agents.append(agent)
        return agent

    def weir(self, *argv, check=True):
        """Runs a weir subcommand on this lab, agent or not."""
        return weir(self, *argv, check=check)

    # -- logs ----------------------------------------------------------------------------------------------------------

    def log_path(self, stem):
        """A file that does not exist yet."""
        number = len(list(self.log_dir.iterdir()))
        return self.log_dir / f"{number:03}_{stem}.log"

    def open_log(self, stem):
        return open(self.log_path(stem), "w", encoding="utf-8")

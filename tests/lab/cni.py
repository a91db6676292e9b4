# SPDX-License-Identifier: Apache-2.0
"""CNI as a container runtime calls it: the CNI project's cnitool with the real bridge, host-local and loopback, weir-cni chained behind.

The bridge is made in the lab's node; addresses and results are kept in the lab.
"""

import json
import os
import pathlib
import subprocess

from . import net
from .command import BUILD, PROBE, ROOT, LabError, run

DEBIAN = pathlib.Path("/usr/lib/cni")  # of version 1.0.0
FETCHED = BUILD / "cni" / "bin"
# cnitool keeps results in /var/lib/cni, which is the machine's: the lab's own folder is mounted over it.
IN_OWN_CACHE = 'mkdir -p /var/lib/cni && mount --bind "$1" /var/lib/cni && shift && exec "$@"'


class CniError(LabError):
    """The error result of a plugin, as cnitool prints it."""


class Cni:
    """The runtime's configuration: one chain, to which tests may add settings of weir-cni."""

    def __init__(self, lab, version="1.0.0", name="pods", chained=True, **settings):
        if not FETCHED.exists():
            run(ROOT / "scripts" / "fetch-cni", timeout=600)
        self.lab, self.name = lab, name
        self.looped = set()  # network namespaces whose lo is up: the plugin does not take one that weir has been at
        self.plugins = FETCHED if version == "1.1.0" else DEBIAN
        self.folder = lab.work / f"cni-{name}"
        self.conf_dir, self.cache = self.folder / "net.d", self.folder / "cache"
        for folder in (self.conf_dir, self.cache):
            folder.mkdir(parents=True)
        bridge = {"type": "bridge", "bridge": f"cni-{name}"[:15], "isGateway": True, "ipam": {
            "type": "host-local", "dataDir": str(self.folder / "addresses"), "ranges": [[{"subnet": "10.250.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}}
        self.entry = {"type": "weir-cni", "runDir": str(lab.run_dir), "stateDir": str(lab.state_dir), **settings}
        self.write(self.name, version, [bridge] + ([self.entry] if chained else []))
        self.write("loopback", "0.3.1", [{"type": "loopback"}])  # of its own, as containerd has it

    def write(self, name, version, plugins):
        conflist = {"cniVersion": version, "name": name, "plugins": plugins}
        (self.conf_dir / f"10-{name}.conflist").write_text(json.dumps(conflist, indent=1))

    def call(self, command, pod, args=None, check=True, timeout=60, network=None, ifname="eth0"):
        """Runs cnitool; args: CNI_ARGS, by default those of a kubelet."""
        if args is None:
            args = (f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name};"
                    f"K8S_POD_INFRA_CONTAINER_ID={pod.uid};K8S_POD_UID={pod.uid}")
        env = {**os.environ, "CNI_PATH": f"{self.plugins}:{BUILD}", "NETCONFPATH": str(self.conf_dir), "CNI_ARGS": args, "CNI_IFNAME": ifname}
        argv = ["unshare", "--mount", "sh", "-c", IN_OWN_CACHE, "sh", self.cache, PROBE, "exec", "--netns", net.netns_path(self.lab.node.name),
                "--", FETCHED / "cnitool", command, network or self.name, net.netns_path(pod.netns)]
        done = subprocess.run([str(arg) for arg in argv], env=env, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise CniError(f"cnitool {command}: {done.stdout}{done.stderr}")
        return done

    def add(self, pod, **options):
        """The result; the pod has its address from it."""
        if pod.netns not in self.looped:
            self.looped.add(pod.netns)
            self.call("add", pod, network="loopback", ifname="lo")
        result = json.loads(self.call("add", pod, **options).stdout)
        pod.ip = result["ips"][0]["address"].split("/")[0]
        return result

    def check(self, pod):
        self.call("check", pod)

    def delete(self, pod):
        self.call("del", pod)


def weir_cni(command, config="", env=None, raw=False):
    """Runs the plugin itself; its exit status and what it printed, parsed unless raw."""
    done = run_plugin(command, config, env)
    return done.returncode, done.stdout if raw or not done.stdout else json.loads(done.stdout)


def run_plugin(command, config="", env=None):
    defaults = {"CNI_COMMAND": command, "CNI_CONTAINERID": "box-1", "CNI_NETNS": "/run/netns/none", "CNI_IFNAME": "eth0", "CNI_PATH": "/none"}
    full = {key: value for key, value in {**defaults, **(env or {})}.items() if value is not None}
    text = config if isinstance(config, str) else json.dumps(config)
    return subprocess.run([str(BUILD / "weir-cni")], input=text, env=full, capture_output=True, text=True, timeout=60)


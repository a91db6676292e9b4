# SPDX-License-Identifier: Apache-2.0
"""The node once more, after weir has left it: without a bpf file system, and without Kubernetes' help."""

import json
import shutil

from lab.command import ROOT, run

from .load import Load
from .objects import SHOP
from .step import ONE, Step
from .steps_change import left_in_kernel, left_on
from .steps_mesh import ISTIO_CLIENT, first_answer, pid_of
from .weir import DAEMONSET, FIRST, NAMESPACE, VALUES, Weir

HOOKS = "ls /sys/fs/bpf/weir/links 2>/dev/null | wc -l"


def without_bpffs(cluster, report):
    """As nodes of kind are, which are containers: the chart mounts one, for the node. Installed and removed by kubectl this time."""
    weir, load = Weir(cluster), Load(cluster, ISTIO_CLIENT)
    cluster.node.run("umount /sys/fs/bpf")
    manifests = weir.manifests(FIRST, "--values", VALUES / "kind.yaml")
    cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=manifests)
    weir.wait_ready()
    first_answer(load, "client-outbound, server-inbound")
    report.check(cluster.node.out("findmnt -n -o FSTYPE /sys/fs/bpf") == "bpf", "the node has a bpf file system, and requests pass both Envoys again")
    hooks = int(cluster.node.out(HOOKS))
    cluster.kubectl("delete", "pod", weir.pod()["metadata"]["name"], "-n", NAMESPACE)
    report.check(hooks > 0 and int(cluster.node.out(HOOKS)) == hooks, f"{hooks} hooks are pinned there though the agent's pod is deleted")
    weir.wait_ready()
    cluster.kubectl("delete", DAEMONSET, "-n", NAMESPACE, "--cascade=foreground")
    cluster.kubectl("delete", "-n", NAMESPACE, "-f", "-", "--ignore-not-found", stdin=manifests)
    report.check(not left_on(cluster.node), "kubectl delete: nothing of weir is left on the node", left_on(cluster.node))


def described(cluster):
    """The client's pod as a file for --pods-dir: its object, and where its network namespace is."""
    pod = cluster.pod(SHOP, ISTIO_CLIENT)
    pod["metadata"]["annotations"]["weir.io/netns"] = f"/proc/{pid_of(cluster, ISTIO_CLIENT, 'app')}/ns/net"
    return json.dumps(pod)


def package(cluster, report):
    """The Debian package, its unit as confined as it is, and a pod that a file describes."""
    node, load = cluster.node, Load(cluster, ISTIO_CLIENT)
    if node.driver != "systemd":
        report.skip("the Debian package", "this node runs no systemd: --driver=systemd")
        return
    shutil.copy(ROOT / run("make", "-s", "-C", ROOT, "deb", timeout=300).stdout.split()[-1], node.share / "weir.deb")
    node.run("dpkg -i /share/weir.deb", timeout=300)
    report.check(node.run("systemctl is-active weir", check=False)[1] == "inactive", "dpkg -i: installed, and not started before it is enabled")
    (node.share / "client.json").write_text(described(cluster))
    node.run("cp /share/client.json /etc/weir/pods/ && systemctl enable --now weir")
    # Its Envoy may go on with a connection to the server's that weir has diverted before.
    cluster.wait(lambda: load.stats()["last"]["via"].startswith("client-outbound"), "requests that pass its Envoy")
    report.check(True, "systemctl enable --now weir: the pod of the file is captured, its requests pass its Envoy")
    load.begin()
    for what in ("systemctl kill --signal=KILL weir", "systemctl restart weir", "dpkg -i /share/weir.deb"):
        before = node.out("systemctl show -p MainPID --value weir")
        node.run(what, timeout=300)
        cluster.wait(lambda: node.out("systemctl show -p MainPID --value weir") not in (before, "0") and node.run("weir status", check=False)[0] == 0,
                     f"an agent after {what}")
        load.check(report, what)
    said = node.out("journalctl -u weir -p warning -o cat --no-pager | grep -v 'signal\\|KILL' ; true")
    report.check(not said, "its journal has no warning", said)
    node.run("dpkg -r weir", timeout=300)
    cluster.wait(lambda: not load.stats()["last"]["via"], "requests that pass its Envoy by")
    report.check(not left_in_kernel(node), "dpkg -r: nothing is diverted any more, nothing of weir is in the kernel", left_in_kernel(node))
    node.run("rm /etc/weir/pods/client.json && dpkg -P weir", timeout=300)
    left = node.out("ls -d /usr/sbin/weir /etc/weir /etc/default/weir /var/lib/weir /run/weir /lib/systemd/system/weir.service 2>/dev/null; true")
    report.check(not left, "dpkg -P: nothing of weir is on the node", left)


LAST = [Step("bpffs", "a node without a bpf file system", without_bpffs, drivers=ONE),
        Step("package", "without Kubernetes: the Debian package", package, drivers=("systemd",))]

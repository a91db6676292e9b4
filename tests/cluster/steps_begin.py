# SPDX-License-Identifier: Apache-2.0
"""The cluster comes up, without weir: whatever fails here is not weir's fault."""

from . import objects
from .objects import SHOP, deployment
from .step import Step
from .weir import IMAGES


def make_images(cluster, report):
    for name, size in cluster.build_images(IMAGES).items():
        report.say(f"{name}: {size / 1e6:.1f} MB")


def boot(cluster, report):
    cluster.start()
    cluster.wait_node()
    version = cluster.get("node", "node")["status"]["nodeInfo"]
    report.check(True, f"node is Ready: {version['kubeletVersion']}, {version['containerRuntimeVersion']}, kernel {version['kernelVersion']}")
    kubepods = cluster.node.out("ls -d /sys/fs/cgroup/kubepods*")
    want = {"cgroupfs": "/sys/fs/cgroup/kubepods", "systemd": "/sys/fs/cgroup/kubepods.slice"}[cluster.node.driver]
    report.check(kubepods == want, f"kubelet's cgroup is {kubepods}")


def plain(cluster, report):
    """A database outside the mesh, and a pod that reaches it through kube-proxy: the cluster's own network works."""
    asks = objects.pod("asker", objects.app("pause"), inits=[objects.app("dial", f"{objects.DATABASE_ADDRESS}:{objects.DATABASE_PORT}", "--wait", name="dial")])
    cluster.apply(objects.namespace(SHOP), *objects.database())
    cluster.wait_pod(SHOP, "database")
    cluster.apply(deployment("asker", asks))
    pod = cluster.wait_pod(SHOP, "asker")
    said = pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["message"]
    report.check(said == "connected", f"without weir a pod reaches the database by its ClusterIP: {said}")
    cluster.kubectl("delete", "deployment", "asker", "-n", SHOP)


BEGIN = [
    Step("images", "images are assembled, without a registry or a builder", make_images, needed=True),
    Step("boot", "control plane and node come up", boot, needed=True),
    Step("plain", "pods and Services work without weir", plain, needed=True),
]

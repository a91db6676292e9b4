# SPDX-License-Identifier: Apache-2.0
"""What the node's containerd keeps in /var/lib/containerd, as a disk: images are imported here, by the node's own programs run
on this machine. On an emulated CPU that takes two minutes, here two seconds.
"""

import subprocess

from lab.command import run, wait_until

PROGRAMS = ("containerd", "ctr")
SIZE = "8G"  # sparse
CONFIGURATION = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{socket}"
"""


def make_disk(node_disk, archives, folder):
    """Writes FOLDER/store.img and returns its path. Only for a mount namespace of its own: it leaves a tmpfs at the folder."""
    image = folder.with_suffix(".img")
    folder.mkdir()
    # Whatever the checkout lies on: containerd wants a file system that overlayfs can stand on.
    run("mount", "-t", "tmpfs", "tmpfs", folder)
    for program in PROGRAMS:
        run("debugfs", "-R", f"dump /usr/bin/{program} {folder / program}", node_disk)
        (folder / program).chmod(0o755)
    _import(archives, folder)
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", folder / "root", image, SIZE, timeout=300)
    run("umount", folder)
    return image


def _import(archives, folder):
    socket = folder / "socket"
    (folder / "configuration").write_text(CONFIGURATION.format(folder=folder, socket=socket))
    with open(folder.parent / "store.log", "wb") as log:
        containerd = subprocess.Popen([folder / "containerd", "--config", folder / "configuration"], stdout=log, stderr=log)
    try:
        ctr = (folder / "ctr", "--address", socket)
        wait_until(lambda: run(*ctr, "version", check=False).returncode == 0, "containerd on this machine", 120, 0.1)
        for archive in archives:
            run(*ctr, "--namespace", "k8s.io", "images", "import", archive, timeout=300)
    finally:
        containerd.terminate()
        containerd.wait()

# SPDX-License-Identifier: Apache-2.0
"""Control groups below the cgroup2 mount, wherever this machine has it."""

import os
import pathlib
import signal

from .command import LabError, wait_until


def mount_point():
    """The cgroup2 mount: /sys/fs/cgroup, or .../unified on a machine that still has cgroup v1 as well."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(path)
    raise LabError("no cgroup2 is mounted: weir needs cgroup v2")


def processes(path):
    """The ids of all processes in a cgroup and below it."""
    pids = []
    for procs in path.rglob("cgroup.procs"):
        try:
            pids += [int(pid) for pid in procs.read_text().split()]
        except OSError:
            continue  # the cgroup was removed meanwhile
    return pids


def kill(path):
    """Ends every process below a cgroup; repeated, because a process may have forked in between."""

    def is_empty():
        pids = processes(path)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not pids

    wait_until(is_empty, f"processes in {path} do not end")


def remove(path):
    """Kills what runs in a cgroup and removes it with everything below; fine when there is none."""
    if not path.exists():
        return
    kill(path)

    def is_gone():
        for folder, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                return False  # busy for a moment after the last process ended
        return not path.exists()

    wait_until(is_gone, f"cannot remove {path}")


def pod_path(layout, uid, qos="burstable"):
    """A pod's cgroup relative to the kubepods cgroup, as the kubelet's two cgroup drivers name it."""
    if layout == "systemd":
        return pathlib.Path(f"kubepods-{qos}.slice") / f"kubepods-{qos}-pod{uid.replace('-', '_')}.slice"
    return pathlib.Path(qos) / f"pod{uid}"


def container_name(layout, container_id):
    """The name of a container's cgroup in its pod's."""
    return f"cri-containerd-{container_id}.scope" if layout == "systemd" else container_id

# SPDX-License-Identifier: Apache-2.0
"""What no accounting at these hooks can do without: the calls themselves, and the making of a socket's storage.

Programs that do nothing (floor.bpf.c) are attached where weir is not, to the lab's pods outside the kubepods cgroup.
"""

import contextlib

from lab.command import BUILD, run

import programs

OBJECT = BUILD / "tests" / "floor.bpf.o"
HOOKS = {"connect4": "cgroup_inet4_connect", "sock_release": "cgroup_inet_sock_release", "sockops": "cgroup_sock_ops"}
EMPTY = {"connect4": "empty_connect4", "sock_release": "empty_release", "sockops": "empty_sockops"}
STORE = EMPTY | {"connect4": "store_connect4", "sockops": "store_sockops"}


@contextlib.contextmanager
def loaded(lab):
    """The programs, pinned in a folder that is gone afterwards."""
    folder = lab.bpf_dir.parent / "floor"
    run(programs.BPFTOOL, "prog", "loadall", OBJECT, folder)
    try:
        yield folder
    finally:
        for pin in folder.iterdir():
            pin.unlink()
        folder.rmdir()


@contextlib.contextmanager
def attached(lab, folder, names):
    """{program id: hook} of what is attached meanwhile."""
    done = []
    try:
        for hook, name in names.items():
            run(programs.BPFTOOL, "cgroup", "attach", lab.outside_cgroup, HOOKS[hook], "pinned", folder / name, "multi")
            done.append((hook, name))
        yield {programs.ident(folder / name): hook for hook, name in done}
    finally:
        for hook, name in done:
            run(programs.BPFTOOL, "cgroup", "detach", lab.outside_cgroup, HOOKS[hook], "pinned", folder / name)


def measure(lab, cases):
    """{"empty": ..., "store": ...}: what programs.measure() says of each."""
    with loaded(lab) as folder:
        results = {}
        for floor, names in (("empty", EMPTY), ("store", STORE)):
            with attached(lab, folder, names) as hooks:
                results[floor] = programs.measure(hooks, cases)
        return results


@contextlib.contextmanager
def walk(lab, name):
    """A file whose reading walks over the storage of weir's sockets: name.bpf.c says what it does there."""
    pin = lab.bpf_dir.parent / f"{name}_walk"
    run(programs.BPFTOOL, "iter", "pin", BUILD / "tests" / f"{name}.bpf.o", pin, "map", "pinned", lab.bpf_dir / "weir_conns")
    try:
        yield pin
    finally:
        pin.unlink()

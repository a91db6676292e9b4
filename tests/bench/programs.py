# SPDX-License-Identifier: Apache-2.0
"""What weir's BPF programs cost, by the kernel's own clock."""

import contextlib
import json
import os
import shutil
import subprocess

from lab.command import LabError, run

from worlds import LOAD

BPFTOOL = os.environ.get("BPFTOOL") or shutil.which("bpftool") or "/usr/sbin/bpftool"


def ident(pin):
    """The number of a pinned program."""
    return json.loads(run(BPFTOOL, "-j", "prog", "show", "pinned", pin).stdout)["id"]


def program_of(link):
    return json.loads(run(BPFTOOL, "-j", "link", "show", "pinned", link).stdout)["prog_id"]


def attached(lab):
    """The programs of this lab's agent by their links, for others may run on this machine: {program id: hook}."""
    hooks = {program_of(link): link.name for link in (lab.bpf_dir / "links").iterdir()}
    return hooks | {program_of(link): "sk_lookup" for link in (lab.bpf_dir / "netns").iterdir()}


@contextlib.contextmanager
def timed():
    """The kernel times all BPF programs of the machine meanwhile, and no longer than this process lives."""
    with subprocess.Popen([LOAD, "stats"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "ready\n":
            raise LabError("the kernel does not time BPF programs (BPF_ENABLE_STATS)")
        yield


def counters(hooks):
    """{hook: (calls, ns)} since the programs were loaded, as far as they were timed."""
    programs = {program["id"]: program for program in json.loads(run(BPFTOOL, "-j", "prog", "show").stdout)}
    return {hook: (programs[ident].get("run_cnt", 0), programs[ident].get("run_time_ns", 0)) for ident, hook in hooks.items()}


def measure(hooks, cases):
    """What these programs {program id: hook} take of {name: function that returns its number of connections}.

    {name: {"connections": n, "hooks": {hook: {"calls": n, "ns": n}}}}
    """
    results = {}
    with timed():
        for name, case in cases.items():
            before = counters(hooks)
            connections = case()
            after = counters(hooks)
            calls = {hook: (after[hook][0] - before[hook][0], after[hook][1] - before[hook][1]) for hook in after}
            results[name] = {"connections": connections, "hooks": {
                hook: {"calls": count, "ns": total} for hook, (count, total) in sorted(calls.items()) if count}}
    return results

# SPDX-License-Identifier: Apache-2.0
"""Runs the steps against a cluster of its own. Called by scripts/check-cluster, as process 1 of its own namespaces."""

import argparse
import importlib
import pathlib
import signal
import sys
import time
import traceback

from lab.command import LabError

from . import steps
from .cluster import Cluster
from .report import Report


def options():
    parser = argparse.ArgumentParser(prog="scripts/check-cluster", description="Tests weir in a real Kubernetes of one node.")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--driver", choices=("cgroupfs", "systemd"), default="cgroupfs", help="how kubelet and runc make cgroups")
    parser.add_argument("--kernel", default="6.1", help="a series of tests/kernels.txt")
    parser.add_argument("--pair", action="store_true", help="the other driver has its turn as well: only steps for this one, with its name on each line")
    parser.add_argument("--rest", action="store_true", help="steps that the other driver of a pair has not, and those that are named")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up afterwards; names of steps in FOLDER/again are run again")
    parser.add_argument("steps", nargs="*", help="only these; the first ones, which the others need, run always")
    return parser.parse_args()


def choose(wanted):
    """What was named; else all, or of a pair what is to be done with this driver. What the others need, always."""
    def is_wanted(step):
        if wanted.rest and step.drivers == (wanted.driver,):
            return True
        if wanted.rest or wanted.steps:
            return step.name in wanted.steps
        return not wanted.pair or wanted.driver in step.drivers

    return [step for step in steps.ALL if step.needed or is_wanted(step)]


def run_steps(cluster, report, chosen):
    """Every step, though one failed: they tell more that way. Without a cluster there is nothing to tell."""
    for step in chosen:
        with report.step(step):
            step.run(cluster, report)
        if step.needed and report.step_failed:
            report.note(f"{step.name} failed: the other steps were not run")
            return


def again(cluster, folder):
    """For whoever works on a step: runs it as it is written now."""
    file = folder / "again"
    print(f"the cluster is up; enter it with: nsenter -t $(cat {folder}/pid) -n -p -m\n"
          f"export KUBECONFIG={cluster.control.kubeconfig}; Ctrl-C ends it", flush=True)
    while True:
        time.sleep(0.5)
        if not file.exists():
            continue
        names = file.read_text().split()
        file.unlink()
        report = Report()
        try:
            for name in [name for name in sys.modules if name.startswith("cluster.step")]:
                importlib.reload(sys.modules[name])
            importlib.reload(steps)
            run_steps(cluster, report, [step for step in steps.ALL if step.name in names])
        except Exception:  # noqa: BLE001  (whatever a half-written step does)
            traceback.print_exc()
        report.end()


def main():
    wanted = options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    report = Report(f"{wanted.driver:8} | " if wanted.pair else "")
    cluster = Cluster(wanted.folder, wanted.kernel, wanted.driver)
    try:
        run_steps(cluster, report, choose(wanted))
        report.check_kernel(cluster.node)
        failed = report.end()
        if wanted.keep:
            again(cluster, wanted.folder)
    except LabError as error:
        print(f"check-cluster: {error}", file=sys.stderr)
        failed = True
    finally:
        cluster.stop()
    sys.exit(1 if failed else 0)


main()

# SPDX-License-Identifier: Apache-2.0
"""The same figures of a tool that many know: tcplife of bcc's libbpf-tools (package libbpf-tools).

It tells of each connection when it ends, from the tracepoint sock/inet_sock_set_state, which is all that the kernels of all our
machines have: a kernel may lack kprobes, which tcptop needs. It sees the whole machine and reads only; tracefs is mounted for it alone.
"""

import contextlib
import json
import shutil
import statistics
import subprocess

from lab.command import run, wait_until

import programs
import report

PROGRAM = "inet_sock_set_state"
MOUNT = 'mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; exec "$@"'


def program_ids():
    return {item["id"] for item in json.loads(run(programs.BPFTOOL, "-j", "prog", "show").stdout) if item.get("name", "").startswith(PROGRAM[:15])}


class TcpLife:
    def __init__(self, out):
        before = program_ids()
        self.process = subprocess.Popen(["unshare", "--mount", "sh", "-c", MOUNT, "sh", "tcplife"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.process.poll() is not None or program_ids() - before, "tcplife to be attached")
        self.ids = program_ids() - before
        if not self.ids:
            raise RuntimeError("tcplife cannot run on this kernel")

    def info(self):
        return [item for item in json.loads(run(programs.BPFTOOL, "-j", "prog", "show").stdout) if item["id"] in self.ids]

    def spent(self):
        return sum(item.get("run_time_ns", 0) for item in self.info())

    def maps(self):
        wanted = {number for item in self.info() for number in item.get("map_ids", [])}
        return sum(item["bytes_memlock"] for item in json.loads(run(programs.BPFTOOL, "-j", "map", "show").stdout) if item["id"] in wanted)

    def of(self, path):
        with open(f"/proc/{self.process.pid}/{path}", encoding="utf-8") as file:
            return file.read()

    def resident(self):
        return next(int(line.split()[1]) * 1024 for line in self.of("status").splitlines() if line.startswith("VmRSS"))

    def cpu_ns(self):
        return int(self.of("schedstat").split()[0])

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@contextlib.contextmanager
def running(out=subprocess.DEVNULL):
    tool = TcpLife(out)
    try:
        yield tool
    finally:
        tool.stop()


def measure(pair, rounds, count):
    """None where it is not installed or cannot run; else what it costs, on a pair of pods that weir does not see."""
    if not shutil.which("tcplife"):
        return {"missing": "the package libbpf-tools is not installed"}
    result = {"ns": [], "cpu_ns": [], "pairs": {"no tool": [], "tcplife": []}}
    try:
        for _ in range(rounds):
            result["pairs"]["no tool"].append(pair.run("close", count, 64)["ns"])
            with running() as tool, programs.timed():
                spent, cpu = tool.spent(), tool.cpu_ns()
                made = pair.run("close", count, 64)["operations"]
                result["ns"].append((tool.spent() - spent) / made / 2)
                result["cpu_ns"].append((tool.cpu_ns() - cpu) / made / 2)
                result["maps"], result["resident"] = tool.maps(), tool.resident()
            with running():
                result["pairs"]["tcplife"].append(pair.run("close", count, 64)["ns"])
    except RuntimeError as error:
        return {"missing": str(error)}
    return result


def text_of(result, ours):
    if "missing" in result:
        return f"Not measured: {result['missing']}."
    life = next(iter(ours["lives"]["weir"].values()))
    maps, resident = sum(size for size, _ in ours["maps"].values()), ours["resident"]
    weir_rate = report.ratios(next(iter(ours["pairs"].values())), "no weir", "weir")
    peer_rate = report.ratios(result["pairs"], "no tool", "tcplife")
    rows = [
        ["kernel, ns a socket", f"{statistics.median(life['ns']):.0f}", f"{statistics.median(result['ns']):.0f}"],
        ["its process, ns a socket", f"{ours['rest']['cpu_ns'] / ours['rest']['connections'] / 2:.0f}", f"{statistics.median(result['cpu_ns']):.0f}"],
        ["connect rate, with / without", report.ratio(weir_rate), report.ratio(peer_rate)],
        ["maps, KiB", f"{maps / 1024:,.0f}", f"{result['maps'] / 1024:,.0f}"],
        ["resident, MiB", f"{resident / (1 << 20):.1f}", f"{result['resident'] / (1 << 20):.1f}"],
    ]
    return report.markdown(["", "weir", "tcplife"], rows)

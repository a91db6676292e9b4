# SPDX-License-Identifier: Apache-2.0
"""The weir agent, run on the host as on a node: in the host's network namespace, outside the kubepods cgroup."""

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request

from .command import PROBE, WEIR, LabError, run, wait_until

SAMPLE = re.compile(r'^(\w+)(?:\{(.*)\})?\s+(\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parse_metrics(text):
    """The text format as {(name, frozenset of (label, value)): number}."""
    metrics = {}
    for line in text.splitlines():
        sample = None if line.startswith("#") else SAMPLE.match(line)
        if sample:
            metrics[sample[1], frozenset(LABEL.findall(sample[2] or ""))] = float(sample[3])
    return metrics


def total(metrics, name, **labels):
    """The sum of all series of a name that carry these labels."""
    return sum(value for (key, have), value in metrics.items() if key == name and set(labels.items()) <= have)


def directories(lab):
    return [f"--bpf-dir={lab.bpf_dir}", f"--run-dir={lab.run_dir}"]


def weir(lab, *argv, check=True):
    """Runs a subcommand of weir against this lab; with -o json the answer comes parsed."""
    done = run(WEIR, argv[0], *directories(lab), *argv[1:], check=check)
    return json.loads(done.stdout) if "json" in argv and not done.returncode else done


def ask(lab, request):
    """A question to the agent's control socket, as `weir pods` and `weir status` ask it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(lab.run_dir / "weir.sock"))
        sock.sendall(f"{request}\n".encode())
        return json.loads(b"".join(iter(lambda: sock.recv(65536), b"")))


def known(lab, pod):
    """What the agent says of a pod; None while it does not know it."""
    for item in ask(lab, "pods")["pods"]:
        if (item["namespace"], item["name"], item["uid"]) == (pod.namespace, pod.name, pod.uid):
            return item
    return None


class Agent:
    """Made by Lab.agent(); running and ready."""

    def __init__(self, lab, args, wait=True, mounts=None, under=(), without=()):
        self.lab, self.port = lab, free_port()
        self.log = lab.log_path("agent")
        self.process = self._start(args, mounts or {}, under, without)
        if wait:
            self.wait_ready()

    def _start(self, args, mounts, under, without):
        if not WEIR.exists():
            raise LabError(f"{WEIR} is missing: run make")
        place = ["--cgroup", self.lab.agent_cgroup] + ([] if self.lab.keep else ["--pdeathsig"])
        argv = [PROBE, "exec", *place, "--", *under, WEIR, "agent", f"--cgroup-root={self.lab.cgroup_root}", *directories(self.lab),
                f"--pods-dir={self.lab.pods_dir}", f"--state-dir={self.lab.state_dir}", f"--web.listen-address=127.0.0.1:{self.port}", "--node-name=node-a", *args]
        argv = [arg for arg in argv if str(arg).split("=")[0] not in without]
        if mounts:  # what stands elsewhere for the agent alone
            binds = "".join(f"mount --bind {source} {target} && " for source, target in mounts.items())
            argv = ["unshare", "--mount", "sh", "-c", f'{binds}exec "$@"', "sh", *argv]
        with open(self.log, "w", encoding="utf-8") as out:
            return subprocess.Popen([str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def _is_ready(self):
        if self.process.poll() is not None:
            raise LabError(f"the agent ended with status {self.process.returncode}:\n{self.stderr()[-3000:]}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self, timeout=30):
        try:
            wait_until(self._is_ready, "the agent's /readyz", timeout)
        except LabError as error:
            raise LabError(f"{error}\n{self.stderr()[-3000:]}") from None

    def stderr(self):
        return self.log.read_text(errors="replace")

    def get(self, path):
        """Status and text of an HTTP request to the agent."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        return parse_metrics(self.get("/metrics")[1])

    def weir(self, *argv, check=True):
        return weir(self.lab, *argv, check=check)

    def wait_pod(self, pod, state="captured", timeout=10):
        """Waits until the agent has reconciled a pod file."""
        labels = {("namespace", pod.namespace), ("pod", pod.name), ("state", state)}

        def is_known():
            return any(name == "weir_pod_info" and labels <= have for name, have in self.metrics())

        wait_until(is_known, f"the agent to call {pod.namespace}/{pod.name} {state}", timeout, 0.05)

    def stop(self, sig=signal.SIGTERM, timeout=10):
        """Ends the agent; links and maps stay. Returns its exit status."""
        self.process.send_signal(sig)
        return self.process.wait(timeout)

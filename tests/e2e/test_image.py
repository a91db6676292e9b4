# SPDX-License-Identifier: Apache-2.0
"""The image's file system, assembled as for a release: what is in it, how large it is, and weir run in it with nothing else."""

import json
import os
import pty
import re
import signal
import subprocess

import pytest

from lab.agent import ask, free_port
from lab.apiserver import ApiServer
from lab.command import BUILD, PROBE, ROOT, wait_until
from support import APP, plain_pod, wait_state
from test_kube import NAMESPACE

TOLD = re.compile(r"libraries that they load, (\d+) MiB")
# A node's own trees appear in the image where a DaemonSet mounts them; the root is then what a container sees.
IN_IMAGE = """
image=$1; shift
for tree in /proc /sys /run/netns "$WORK" "$RUN"; do mkdir -p "$image$tree"; mount --rbind "$tree" "$image$tree"; done
exec chroot "$image" "$@"
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([ROOT / "deploy/image/assemble", folder, f"{BUILD}/weir=/usr/sbin/weir", f"{BUILD}/weir-cni=/usr/sbin/weir-cni"],
                   check=True, timeout=60)
    return folder


def chroot(image, *argv, env=None):
    done = subprocess.run(["/usr/sbin/chroot", image, *argv], capture_output=True, text=True, timeout=60, env=env or {}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def top_on(term, pid, image, lab):
    """What weir top draws in the image, beside the agent."""
    master, slave = pty.openpty()
    argv = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "/usr/sbin/chroot", image, "/usr/sbin/weir", "top", f"--bpf-dir={lab.bpf_dir}", "-d", "0.1", "-n", "2"]
    process = subprocess.Popen([str(arg) for arg in argv], stdin=slave, stdout=slave, stderr=slave, env={"TERM": term})
    os.close(slave)
    output = b""
    try:
        while True:
            output += os.read(master, 65536)
    except OSError:  # its other end is closed
        assert process.wait(20) == 0, output
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return output.decode()


def test_contents(image):
    """Two programs and their libraries; no shell, no package manager, no other command."""
    files = [path for path in image.rglob("*") if path.is_file()]
    programs = {path.name for path in files if path.parent.name in ("bin", "sbin")}
    assert programs == {"weir", "weir-cni"}
    size = sum(path.stat().st_size for path in files) / (1 << 20)
    print(f"{size:.1f} MiB in {len(files)} files")
    told = int(TOLD.search((ROOT / "docs/INSTALL.md").read_text())[1])
    assert 0.7 * told < size < 1.3 * told, "docs/INSTALL.md tells the image's size"  # libraries of another Debian are of other sizes


def test_what_the_containerfile_makes(tmp_path):
    """Its make builds the programs, and has nothing installed for tests: not even when scripts/setup is newer than the layer that ran it."""
    command = re.search(r"^RUN (make .*?) &&", (ROOT / "deploy/image/Containerfile").read_text(), re.M)[1]
    for options, sets_up in ((command, False), (command.replace("-o build/.setup", ""), True)):
        told = subprocess.run(f"{options.replace('build/', f'{tmp_path}/')} -n B={tmp_path}", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert f"-o {tmp_path}/weir-cni" in told.stdout and ("scripts/setup" in told.stdout.split()) == sets_up


def test_programs_run(image):
    assert chroot(image, "/usr/sbin/weir", "version").startswith("weir ")
    answer = json.loads(chroot(image, "/usr/sbin/weir-cni", env={"CNI_COMMAND": "VERSION"}))
    assert "1.1.0" in answer["supportedVersions"]


def test_the_agent_runs_in_it(lab, image):
    """Hooks, maps, TLS to the API, a pod captured: no library that is loaded late is missing."""
    with ApiServer(lab.work / "api") as api:
        api.put(NAMESPACE)
        argv = [PROBE, "exec", "--cgroup", lab.agent_cgroup, "--pdeathsig", "--", "unshare", "--mount", "--propagation=slave", "sh", "-euc", IN_IMAGE, "sh", image,
                "/usr/sbin/weir", "agent", f"--cgroup-root={lab.cgroup_root}", f"--bpf-dir={lab.bpf_dir}", f"--run-dir={lab.run_dir}",
                f"--state-dir={lab.state_dir}", f"--pods-dir={lab.pods_dir}", f"--kubeconfig={api.kubeconfig()}", "--node-name=node-a",
                f"--web.listen-address=127.0.0.1:{free_port()}"]
        with open(lab.log_path("agent-in-image"), "w", encoding="utf-8") as log:
            process = subprocess.Popen([str(arg) for arg in argv], stdout=log, stderr=log,
                                       env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "WORK": str(lab.work), "RUN": str(lab.run_dir)})
        try:
            wait_until(lambda: process.poll() is not None or (lab.run_dir / "weir.sock").exists(), "the agent in the image", 30)
            wait_until(lambda: ask(lab, "status")["ready"], "it to be ready", 30)
            assert ask(lab, "status")["kubernetes"]["reachable"]
            pod, peer = wait_state(lab, lab.pod("web", mesh="istio").write()), plain_pod(lab, 80)
            assert pod.connect(f"{peer.ip}:80", uid=APP)["errno"] == "ECONNREFUSED"  # its proxy is not there yet
            for term in ("xterm", "xterm-256color", "screen", "tmux-256color", "linux"):  # as kubectl exec and people's terminals say
                assert "workloads by bytes" in top_on(term, process.pid, image, lab)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0

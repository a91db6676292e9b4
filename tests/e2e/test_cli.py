# SPDX-License-Identifier: Apache-2.0
"""The command line against a running agent, and after it: status, pods, check, cleanup, version."""

import json
import subprocess

import pytest

from lab.agent import directories
from lab.command import WEIR, run, wait_until
from support import APP, OUTBOUND, PROXY, Shell, assert_redirected, mesh_pod, plain_pod, start_proxy


def test_status_says_what_runs(lab, agent):
    mesh_pod(lab)
    status = agent.weir("status", "-o", "json")
    assert status["ready"] and status["pods"]["captured"] == 1
    assert {hook["name"] for hook in status["hooks"]} == {
        "bind4", "bind6", "connect4", "connect6", "getpeername4", "getpeername6", "getsockopt", "recvmsg4", "recvmsg6", "sendmsg4", "sendmsg6",
        "sock_release", "sockops"}
    assert all(hook["attached"] for hook in status["hooks"])
    assert str(lab.cgroup_root) in agent.weir("status").stdout


def test_pods_are_listed_with_and_without_an_agent(lab, agent):
    pod = mesh_pod(lab)
    wanted = ("default", pod.name, "captured")
    for _ in range(2):
        answer = lab.weir("pods", "-o", "json")
        assert [(p["namespace"], p["name"], p["state"]) for p in answer["pods"]] == [wanted]
        assert pod.name in lab.weir("pods").stdout
        agent.stop()


def test_check_finds_nothing_wrong_and_takes_the_agents_cgroup(lab, agent):
    start_proxy(mesh_pod(lab))
    done = lab.weir("check", check=False)
    assert done.returncode == 0, done.stdout
    assert str(lab.cgroup_root) in done.stdout


def test_check_tells_of_rights_that_are_missing(lab, agent):
    """What the agent cannot do without is a failure; without the right to be told of networks it looks now and then."""
    for right, mark, status in (("net_broadcast", "\N{DOUBLE EXCLAMATION MARK}", 0), ("sys_ptrace", "\N{MULTIPLICATION SIGN}", 1)):
        done = run("setpriv", f"--bounding-set=-{right}", WEIR, "check", *directories(lab), check=False)
        assert f"{mark} CAP_{right.upper()} is missing: it is needed to" in done.stdout and done.returncode == status, done.stdout


def test_cleanup_waits_for_the_agent_and_removes_everything(lab, agent):
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    refused = lab.weir("cleanup", check=False)
    assert refused.returncode and "agent" in refused.stderr
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    agent.stop()
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    lab.weir("cleanup")
    assert not lab.bpf_dir.exists() or not list(lab.bpf_dir.iterdir())
    assert pod.connect(f"{peer.ip}:80", uid=APP)["acceptor"]["listener"] == "[::]:80"
    assert lab.weir("cleanup").returncode == 0


def test_cleanup_lets_the_last_ones_learn_their_destination(lab, agent):
    """A connection that was diverted before, and whose proxy asks while weir is going."""
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    with Shell(pod, uid=PROXY, container="istio-proxy") as proxy, Shell(pod) as app:
        proxy(f"listener = create_server(('0.0.0.0', {OUTBOUND}))")
        app(f"s = tcp(); s.connect(('{peer.ip}', 80))")
        agent.stop()
        with subprocess.Popen([WEIR, "cleanup", f"--bpf-dir={lab.bpf_dir}"], stdout=subprocess.DEVNULL) as cleanup:
            wait_until(lambda: not (lab.bpf_dir / "links" / "connect6").exists(), "the hooks that divert to go")
            proxy("accepted, _ = listener.accept(); asked = accepted.getsockopt(SOL_IP, 80, 16)")
            assert proxy("[inet_ntoa(asked[4:8]), int.from_bytes(asked[2:4], 'big')]") == [peer.ip, 80]
            assert cleanup.wait(30) == 0
    assert not lab.bpf_dir.exists() or not list(lab.bpf_dir.iterdir())


@pytest.mark.parametrize("command", ["status", "pods", "conns", "top", "explain", "check", "cleanup", "version", "agent"])
def test_every_command_has_help(command):
    done = run(WEIR, command, "--help")
    assert "Usage:" in done.stdout


def test_version_is_json_when_asked():
    assert {"version", "libbpf", "kernel"} <= set(json.loads(run(WEIR, "version", "-o", "json").stdout))


@pytest.mark.parametrize("argv", [["nonsense"], ["top"], ["top", "--view=x"], ["conns", "--sort=nonsense"], ["conns", "--state=nonsense"], ["conns", "--port=x"], ["status", "-o", "wide"],
                                  ["agent", "--mesh=nonsense"], ["explain"], []])
def test_what_is_wrong_or_not_there_yet_is_said_in_an_error(argv):
    done = run(WEIR, *argv, check=False)
    assert done.returncode != 0 and done.stderr.strip()


def test_mount_bpffs(tmp_path):
    """Once: a second one, hidden below, would be another."""
    script = f"for i in 1 2; do {WEIR} mount-bpffs --dir={tmp_path} || exit 1; done; findmnt -n -o FSTYPE {tmp_path}; {WEIR} mount-bpffs --dir={tmp_path}/no"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == [f"mounted a bpf file system at {tmp_path}", f"{tmp_path} is a bpf file system already", "bpf"]
    assert done.returncode == 1 and done.stderr == f"weir mount-bpffs: {tmp_path}/no: No such file or directory\n"

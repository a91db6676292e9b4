# SPDX-License-Identifier: Apache-2.0
"""The lab itself: it is like a node, and nothing of it stays, whatever happens to its owner."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from lab import Lab, LabError, clean, cgroup, envoy
from lab.agent import parse_metrics, total
from lab.iptables import split

TESTS = pathlib.Path(__file__).resolve().parents[1]
OWNER = """
import sys, time
from lab import Lab
with Lab("victim") as lab:
    lab.pod("a").serve("0.0.0.0:80")
    print(lab.prefix, flush=True)
    time.sleep(60)
"""


def leftovers(prefix):
    """Everything on this machine that carries a lab's name."""
    places = [cgroup.mount_point(), pathlib.Path("/run"), pathlib.Path("/run/netns"), Lab("x").work.parent]
    found = [path for place in places if place.exists() for path in place.glob(f"{prefix}*")]
    return found + [line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if prefix in line]


def heed_signals():
    """A test run in the background ignores SIGINT, one under nohup SIGHUP, and so would its children."""
    for sig in (signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, signal.SIG_DFL)


def start_owner():
    """Another process with a lab that has a running server."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER], env={**os.environ, "PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE, text=True, preexec_fn=heed_signals)
    return owner, owner.stdout.readline().strip()


def end(owner, sig):
    owner.send_signal(sig)
    owner.wait(20)
    owner.stdout.close()


def test_pods_reach_each_other(lab):
    client, server = lab.pod("client"), lab.pod("server")
    server.serve("[::]:8080")
    for target in (f"{server.ip}:8080", f"[{server.ipv6}]:8080"):
        answer = client.connect(target, options=["--send=100000"])
        assert answer["ok"] and answer["intact"] and answer["body"] == 100000
        assert answer["peername"] == target
    assert answer["acceptor"]["peername"] == answer["sockname"]


def test_both_sides_keep_the_same_books(lab):
    client, server = lab.pod("client"), lab.pod("server")
    for port, mode, options in ((1, "serve", ["--send=70000"]), (2, "sink", ["--send=70000"]), (3, "bulk", [])):
        served = server.serve(f"0.0.0.0:{port}", mode=mode, options=["--send=123456"] if mode == "bulk" else [])
        answer = client.connect(f"{server.ip}:{port}", options=[*options, "--shutdown"])
        books, = served.wait_books(1)
        assert (books["received"], books["sent"]) == (answer["sent"], answer["received"])
        assert answer["intact"] and answer["eof"]


@pytest.mark.parametrize("ip", ["10.96.0.10", "fd00:10:96::10"])
def test_a_service_is_reached_without_rules_in_pods(lab, ip):
    client, first, second = lab.pod("client"), lab.pod("first"), lab.pod("second")
    for pod in (first, second):
        pod.serve("[::]:8080")
    lab.service("web", ip, {80: 8080}, [first, second])
    target = f"[{ip}]:80" if ":" in ip else f"{ip}:80"
    acceptors = {client.connect(target)["acceptor"]["sockname"] for _ in range(4)}
    assert len(acceptors) == 2
    assert first.connect(target, target)[1]["ok"]  # one of the two is the pod itself
    for pod in (client, first):
        assert pod.run(["nft", "list", "ruleset"]).stdout == ""


def test_a_service_without_endpoints_refuses(lab):
    client = lab.pod("client")
    lab.service("empty", "10.96.0.11", {80: 8080}, [])
    assert client.connect("10.96.0.11:80")["errno"] == "ECONNREFUSED"


@pytest.mark.parametrize("layout", ["systemd", "cgroupfs"])
def test_processes_are_where_a_container_runtime_puts_them(request, layout):
    with Lab(request.node.name, layout=layout) as lab:
        pod = lab.pod("web", mesh="istio")
        place = pod.run(["cat", "/proc/self/cgroup"], container="istio-proxy").stdout
        top = "kubepods.slice/kubepods-burstable.slice" if layout == "systemd" else "kubepods/burstable"
        assert f"0::/{lab.prefix}/{top}/" in place
        assert pod.run(["id", "-u"], uid=1337).stdout == "1337\n"
        assert pod.run(["id", "-G"], uid=5, gid=6, groups="7,8").stdout == "6 7 8\n"


def test_pod_objects_are_written_whole(lab):
    pod = lab.pod("web", mesh="istio", owner="Deployment/web", ports=[8080]).write()
    written = json.loads(pod.file.read_text())
    assert written == pod.object()
    assert written["metadata"]["ownerReferences"][0]["name"] == "web-7d9f8c6b5d"
    assert "sidecar.istio.io/status" in written["metadata"]["annotations"]
    assert [path.name for path in lab.pods_dir.iterdir()] == ["default_web.json"]


def test_istio_rules_redirect(lab):
    rules = "iptables-save\n* nat\n-A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 15001\nCOMMIT\n"
    client, server = lab.pod("client", mesh="istio"), lab.pod("server")
    lab.iptables(client, rules)
    client.serve("127.0.0.1:15001", container="istio-proxy")
    acceptor = client.connect(f"{server.ip}:80")["acceptor"]
    assert acceptor["odst_ip"] == f"{server.ip}:80"
    assert acceptor["sockname"] == "127.0.0.1:15001"


def test_rule_sets_are_split_by_family():
    assert split("* nat\nA\nCOMMIT\n* raw\nB\nCOMMIT\n* nat\nC\nCOMMIT\n") == ("* nat\nA\nCOMMIT\n* raw\nB\nCOMMIT\n", "* nat\nC\nCOMMIT\n")


def test_envoy_configuration_is_accepted(lab):
    if not envoy.ENVOY.exists():
        pytest.skip("Envoy is missing: run scripts/fetch-envoy")
    proxy = envoy.start(lab.pod("web", mesh="istio"))
    assert {15000, 15001, 15006} <= proxy.pod.listening_ports()
    assert proxy.stats("server.concurrency") == {"server.concurrency": 2}


def test_a_pod_that_is_deleted_leaves_nothing(lab):
    pod = lab.pod("web").write()
    server = pod.serve("0.0.0.0:80")
    pod.delete()
    assert server.process.wait(5) == -signal.SIGKILL
    assert not pod.file.exists() and not pathlib.Path("/run/netns", pod.netns).exists()
    assert not (lab.cgroup_root / pod.cgroup).exists()


def test_metrics_are_parsed():
    metrics = parse_metrics('# TYPE a counter\na{x="1",y="q\\"}"} 2\na{x="2"} 3\nb 1e3\n')
    assert total(metrics, "a") == 5 and total(metrics, "a", x="1") == 2
    assert metrics["b", frozenset()] == 1000


def test_an_exception_leaves_nothing():
    with pytest.raises(LabError), Lab("failing") as lab:
        lab.pod("a").serve("0.0.0.0:80")
        raise LabError("as wanted")
    assert not leftovers(lab.prefix)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(sig):
    owner, prefix = start_owner()
    assert leftovers(prefix)
    end(owner, sig)
    assert not leftovers(prefix)


def test_clean_after_sigkill_spares_living_labs(lab):
    owner, prefix = start_owner()
    end(owner, signal.SIGKILL)
    assert leftovers(prefix)
    assert prefix in clean()
    assert not leftovers(prefix)
    assert leftovers(lab.prefix)


def test_a_kept_lab_runs_on_until_clean():
    with Lab("kept", keep=True) as lab:
        server = lab.pod("a").serve("0.0.0.0:80")
    assert server.process.poll() is None and leftovers(lab.prefix)
    assert lab.prefix not in clean()  # its owner lives
    lab.close()
    assert not leftovers(lab.prefix)
    assert server.process.wait(5) == -signal.SIGKILL

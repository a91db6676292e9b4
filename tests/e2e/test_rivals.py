# SPDX-License-Identifier: Apache-2.0
"""Pods that want what is another's, by accident or on purpose: its namespace, its place in a table, its hooks."""

import json
import time

from lab.agent import total
from lab.command import run, wait_until
from support import (APP, BPFTOOL, INBOUND, OUTBOUND, PROXY, PYTHON, Traffic, assert_redirected, assert_unhurt, dual_stack, entries, known,
                     listener_port, mesh_pod, plain_pod, start_proxy, wait_state)


def test_a_rival_does_not_get_a_namespace_whose_pod_is_away_for_a_moment(lab, agent):
    """A file that is removed and written again, while another pod waits for its network namespace."""
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    rival = pod.object()
    rival["metadata"].update(name="rival", uid="0f0f0f0f-0000-4000-8000-000000000000")
    del rival["metadata"]["annotations"]["sidecar.istio.io/status"]
    (lab.pods_dir / "rival.json").write_text(json.dumps(rival))
    time.sleep(0.3)
    stream = Traffic(pod, peer.ip, 80, OUTBOUND, uid=APP)
    text = pod.file.read_text()
    pod.file.unlink()
    time.sleep(0.15)
    pod.file.write_text(text)
    time.sleep(2)
    assert_unhurt([stream])
    assert known(lab, pod)["state"] == "captured"


FLOOD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
held = []
for n in range(6000):
    s = socket.socket()
    s.setblocking(False)
    held.append(s)
    try:
        s.connect((f"192.0.2.{n % 250 + 1}", 80))
    except BlockingIOError:
        pass
    except OSError as error:
        print(n, error.errno, flush=True)
        break
print("done", flush=True)
sys.stdin.read()
"""


def test_pending_handshakes_of_one_pod_are_bounded(lab, agent):
    """A proxy that accepts nothing fills up its own pod's share alone; all entries go with their sockets."""
    evil, good, peer = mesh_pod(lab), mesh_pod(lab), plain_pod(lab, 80)
    deaf = evil.popen([PYTHON, "-c", f"import socket,time\ns=socket.socket()\ns.bind(('127.0.0.1',{OUTBOUND}))\ns.listen(0)\ntime.sleep(60)"], uid=PROXY)
    evil.wait_listen(OUTBOUND)
    start_proxy(good)
    flood = evil.popen([PYTHON, "-c", FLOOD], stdin=-1, stdout=-1, uid=APP)
    lines = [flood.stdout.readline().split()]
    assert lines[0][1] == b"111", lines  # ECONNREFUSED, long before the table is full
    assert 1000 < len(entries(lab, "weir_origdst")) <= 4200
    assert_redirected(good.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert total(agent.metrics(), "weir_verdicts_total", reason="too_many_pending", verdict="refuse") >= 1
    flood.stdin.close()
    flood.wait()
    wait_until(lambda: not entries(lab, "weir_origdst"), "weir_origdst to be empty", 20)
    pending = {item["value"] for item in entries(lab, "weir_pending") if "value" in item and isinstance(item["value"], int)}
    assert pending <= {0}
    deaf.kill()
    deaf.wait()


def test_a_list_that_does_not_fit_leaves_room_for_others(lab, agent):
    big, small = lab.pod("big", mesh="istio"), lab.pod("small", mesh="istio")
    key = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
    big.annotations[key] = ",".join(f"{10 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24" for n in range(262200))
    big.write()
    wait_state(lab, big, "failed", timeout=60)
    small.annotations[key] = "9.9.9.0/24"
    small.write()
    wait_state(lab, small, "captured")


def test_hooks_that_somebody_detaches_are_attached_again(lab, agent):
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    run(BPFTOOL, "link", "detach", "pinned", lab.bpf_dir / "links" / "connect4")
    (lab.pods_dir / "touch.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}')
    wait_until(lambda: "attached again" in agent.stderr(), "the agent to notice")
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")


def test_a_sandbox_made_anew_at_the_same_path_is_captured_soon(lab, agent):
    """The runtime makes a new network namespace for a pod whose file does not change."""
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    old = known(lab, pod)["netns_cookie"]
    run("ip", "netns", "del", pod.netns)
    run("ip", "netns", "add", pod.netns)
    wait_until(lambda: known(lab, pod)["netns_cookie"] not in (0, old), "the new namespace to be found", 3)
    assert peer


def test_direct_connections_for_want_of_a_proxy_are_counted_as_such(lab, agent):
    pod = lab.pod("lonely", mesh="istio", annotations={"weir.io/before-proxy": "direct", "weir.io/proxy-down": "direct"})
    peer = plain_pod(lab)
    pod.write(dual_stack(pod))
    wait_state(lab, pod)
    pod.serve("[::]:8080", uid=APP)
    assert listener_port(peer.connect(f"{pod.ip}:8080")) == 8080
    now = agent.metrics()
    assert total(now, "weir_verdicts_total", direction="inbound", verdict="direct", reason="before_proxy") == 1
    assert total(now, "weir_tcp_connections_opened_total", direction="inbound", via="direct") == 1
    start_proxy(pod)
    assert listener_port(peer.connect(f"{pod.ip}:8080")) == INBOUND
    assert total(agent.metrics(), "weir_tcp_connections_opened_total", direction="inbound", via="proxy") == 1


def test_an_ipv6_loopback_listener_is_not_shown_to_the_network(lab, agent):
    """Before the pod is known as well as after."""
    peer = plain_pod(lab)
    for when in ("before", "after"):
        pod = lab.pod(f"loop-{when}", mesh="istio")
        if when == "before":
            pod.serve(f"[::1]:{INBOUND}", uid=PROXY)
        pod.write(dual_stack(pod))
        wait_state(lab, pod)
        if when == "after":
            pod.serve(f"[::1]:{INBOUND}", uid=PROXY)
        assert peer.connect(f"[{pod.ipv6}]:8080")["errno"] == "ECONNREFUSED"


def test_the_pods_own_address_is_its_own_before_the_interface_has_it(lab, agent):
    pod = mesh_pod(lab)
    start_proxy(pod)
    pod.serve("[::]:8080", uid=APP)
    late = "10.244.99.9"
    item = dual_stack(pod)
    item["status"].update(podIP=late, podIPs=[{"ip": late}])
    pod.write(item)
    wait_until(lambda: known(lab, pod)["ips"] == [late], "the address to be known")
    run("ip", "-n", pod.netns, "addr", "add", f"{late}/32", "dev", "eth0")
    assert listener_port(pod.connect(f"{late}:8080", uid=APP)) == 8080

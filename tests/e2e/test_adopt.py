# SPDX-License-Identifier: Apache-2.0
"""Pods that run before weir: those with iptables rules of their mesh's own are left alone, or taken over when that is wanted."""

import re
import signal
import subprocess

import pytest

from lab import iptables, net
from lab.command import wait_until
from support import APP, INBOUND, OUTBOUND, Shell, assert_redirected, dual_stack, known, plain_pod, start_proxy, wait_state
from test_discover import told_with_address
from test_outcomes import BASIC

LINKERD = """*nat
:PROXY_INIT_OUTPUT - [0:0]
:PROXY_INIT_REDIRECT - [0:0]
-A PREROUTING -j PROXY_INIT_REDIRECT
-A OUTPUT -j PROXY_INIT_OUTPUT
-A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191 -j RETURN
-A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143
-A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN
-A PROXY_INIT_OUTPUT -o lo -j RETURN
-A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140
COMMIT
"""
NATIVE = 'table inet istio-proxy-nat { chain istio-output { type nat hook output priority -100; }; }'
UNRELATED = """*nat
:MY_CHAIN - [0:0]
-A OUTPUT -p tcp -d 198.51.100.7 -j MY_CHAIN
COMMIT
"""


def load(pod, tool, text, *more):
    net.in_netns(pod.netns, tool, *more, stdin=text)


def rules(pod):
    """All that the kernel holds for the pod, of either kind."""
    names = net.in_netns(pod.netns, "sh", "-c", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names", check=False).stdout
    return net.in_netns(pod.netns, "nft", "list", "ruleset").stdout, names


SETS = {
    "iptables-nft": lambda pod: load(pod, "iptables-nft-restore", iptables.split(BASIC)[0]),
    "iptables-legacy": lambda pod: load(pod, "iptables-legacy-restore", iptables.split(BASIC)[0]),
    "ip6tables-legacy": lambda pod: load(pod, "ip6tables-legacy-restore", iptables.split(BASIC)[0].replace("127.0.0.6/32", "::6/128").replace("127.0.0.1/32", "::1/128")),
    "istio-nftables": lambda pod: load(pod, "nft", NATIVE, "-f", "-"),
    "linkerd": lambda pod: load(pod, "iptables-nft-restore", LINKERD),
}


@pytest.mark.parametrize("name", SETS)
def test_a_pod_with_rules_of_its_own_is_left_alone(lab, agent, name):
    pod = lab.pod("web", mesh="linkerd" if name == "linkerd" else "istio")
    SETS[name](pod)
    before = rules(pod)
    wait_state(lab, pod.write(), "not_captured")
    assert "its own iptables rules" in known(lab, pod)["reason"] and "weir.io/takeover" in known(lab, pod)["reason"]
    assert "its own iptables rules" in agent.weir("pods").stdout
    assert rules(pod) == before
    assert not list((lab.bpf_dir / "netns").iterdir())


def test_other_rules_do_not_count(lab, agent):
    """And nothing is loaded into a namespace by looking."""
    pod, clean = lab.pod("web", mesh="istio"), lab.pod("clean", mesh="istio")
    load(pod, "iptables-legacy-restore", UNRELATED)
    load(pod, "iptables-nft-restore", UNRELATED.replace("nat", "mangle"))
    before = rules(clean)
    wait_state(lab, pod.write())
    wait_state(lab, clean.write())
    assert rules(clean) == before
    assert before[1].strip() == ""


def established(pod, peer):
    """A connection through the rules, and what was said in it."""
    shell = Shell(pod)
    shell(f"s = tcp(); s.connect(('{peer.ip}', 80)); first = greeting(s)")
    return shell


def test_left_alone_until_its_rules_go(lab, agent):
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80)
    iptables.load(pod, BASIC)
    start_proxy(pod)
    wait_state(lab, pod.write(dual_stack(pod)), "not_captured")
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")  # by its own rules
    for tool in ("iptables-nft", "ip6tables-nft"):
        net.in_netns(pod.netns, tool, "-t", "nat", "-F")
        net.in_netns(pod.netns, tool, "-t", "nat", "-X")
    pod.write(dual_stack(pod))
    wait_state(lab, pod)
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")


def removal(lab, pod):
    """The command that weir tells."""
    warning = next(text for text in known(lab, pod)["warnings"] if "taken over" in text)
    return re.search(r"on its node: (nsenter .*)$", warning)[1]


def assert_alive(shell):
    """What is sent is not answered by a reset."""
    for _ in range(3):
        assert shell("s.send(b'x')") == 1
        shell("time.sleep(0.1)")


@pytest.mark.parametrize("kind", ["nft", "legacy"])
@pytest.mark.parametrize("by", ["annotation", "flag"])
def test_taken_over(lab, kind, by):
    """With the rules still there and without them new connections are redirected and know their destination; what is established lives on."""
    pod, peer = lab.pod("web", mesh="istio", annotations={"weir.io/takeover": "on"} if by == "annotation" else {}), plain_pod(lab, 80)
    load(pod, f"iptables-{kind}-restore", iptables.split(BASIC)[0])
    start_proxy(pod)
    told_with_address(pod)
    with established(pod, peer) as shell:
        agent = lab.agent(*(["--takeover"] if by == "flag" else []))
        wait_state(lab, pod)
        assert "taken over" in agent.weir("pods").stderr
        for step in ("with rules", "without"):
            for _ in range(2):
                assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
                assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)
            if step == "with rules":  # with the last of them the kernel forgets what it has translated
                assert_alive(shell)
                command = removal(lab, pod)
                assert f"iptables-{kind}" in command
                subprocess.run(command, shell=True, check=True)
    wait_until(lambda: not told_again(lab, pod)["warnings"], "the warning to go")


def told_again(lab, pod):
    told_with_address(pod)
    return known(lab, pod)


def test_a_pod_with_istio_init_is_taken_over_when_it_wants(lab, agent):
    pod, peer = lab.pod("web", mesh="istio", annotations={"weir.io/takeover": "on"}), plain_pod(lab, 80)
    iptables.load(pod, BASIC)
    item = dual_stack(pod)
    item["spec"]["initContainers"].append({"name": "istio-init", "image": "istio/proxyv2"})
    start_proxy(pod)
    wait_state(lab, pod.write(item))
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)


def test_a_wrong_value_is_told(lab, agent):
    pod = lab.pod("web", mesh="istio", annotations={"weir.io/takeover": "please"})
    wait_state(lab, pod.write(), "failed")
    assert "weir.io/takeover" in known(lab, pod)["reason"]


def test_rules_that_a_captured_pod_loads_are_no_way_out(lab, agent):
    """CAP_NET_ADMIN in a pod is not weir's to give away."""
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80)
    start_proxy(pod)
    wait_state(lab, pod.write())
    load(pod, "nft", "table ip nat { chain ISTIO_OUTPUT { }; }", "-f", "-")
    for again in range(2):
        pod.write()
        assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
        assert known(lab, pod)["state"] == "captured"
        if not again:
            agent.stop(signal.SIGKILL)
            lab.agent()

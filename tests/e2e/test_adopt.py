# SPDX-License-Identifier: Apache-2.0
"""Pods that run before weir: those with iptables rules of their mesh's own are left alone, or taken over when that is wanted."""

import json
import re
import signal
import subprocess

import pytest

from lab import iptables, net
from lab.agent import total
from lab.command import wait_until
from support import APP, INBOUND, OUTBOUND, PROXY, PYTHON, Shell, as_container, assert_redirected, dual_stack, known, plain_pod, start_proxy, wait_state
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
# As Istio's nftables backend writes them for a sidecar by default, in short.
NATIVE_REDIRECT = """table inet istio-proxy-nat {
	chain istio-redirect { meta l4proto tcp redirect to :15001; }
	chain istio-in-redirect { meta l4proto tcp redirect to :15006; }
	chain istio-inbound { tcp dport { 15008, 15020, 15021, 15090 } return; meta l4proto tcp jump istio-in-redirect; }
	chain istio-output {
		oifname "lo" ip saddr 127.0.0.6 return;
		oifname "lo" ip daddr != 127.0.0.1 meta l4proto tcp tcp dport != 15008 meta skuid 1337 jump istio-in-redirect;
		oifname "lo" meta skuid != 1337 return;
		meta skuid 1337 return;
		meta skgid 1337 return;
		ip daddr 127.0.0.1 return;
		jump istio-redirect;
	}
	chain prerouting { type nat hook prerouting priority -100; meta l4proto tcp jump istio-inbound; }
	chain output { type nat hook output priority -100; jump istio-output; }
}
"""
OWN = """*filter
-A OUTPUT -d 198.51.100.7/32 -j DROP
COMMIT
"""
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
def test_a_pod_with_rules_of_its_own_is_left_alone(lab, name):
    """Also by an agent that has no more rights than its container."""
    agent = lab.agent(under=as_container("weir"))
    pod = lab.pod("web", mesh="linkerd" if name == "linkerd" else "istio")
    SETS[name](pod)
    before = rules(pod)
    wait_state(lab, pod.write(), "not_captured")
    assert "its own iptables rules" in known(lab, pod)["reason"] and "weir.io/takeover" in known(lab, pod)["reason"]
    assert "its own iptables rules" in agent.weir("pods").stdout
    assert rules(pod) == before
    assert not list((lab.bpf_dir / "netns").iterdir())


@pytest.mark.parametrize("taken_over", [False, True])
def test_the_proxy_of_a_pod_with_rules_is_counted_apart(lab, taken_over):
    """What the application dials counts once, though its proxy dials it as well; also what was open before."""
    pod, peer = lab.pod("web", mesh="istio"), plain_pod(lab, 80)
    SETS["iptables-nft"](pod)
    start_proxy(pod)
    with Shell(pod, uid=PROXY) as before, Shell(pod, uid=PROXY) as proxy, Shell(pod) as app:
        before(f"s = tcp(); s.connect(('{peer.ip}', 80)); first = greeting(s)")
        agent = lab.agent()
        wait_state(lab, pod.write(), "not_captured")
        for shell in (proxy, app):
            shell(f"s = tcp(); s.connect(('{peer.ip}', 80)); first = greeting(s)")
        if taken_over:
            item = pod.object()
            item["metadata"]["annotations"]["weir.io/takeover"] = "on"
            wait_state(lab, pod.write(item))
        for shell, size in ((before, 10), (proxy, 100), (app, 1000)):
            shell(f"s.send({size} * b'x')")
        sent = agent.metrics()
        assert total(sent, "weir_tcp_sent_bytes_total", workload=pod.name, direction="outbound") == 1000
        assert total(sent, "weir_proxy_tcp_sent_bytes_total", workload=pod.name, leg="network") == 110


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


REDIRECT = {kind: SETS[kind] for kind in ("iptables-nft", "iptables-legacy")} | {"nft": lambda pod: load(pod, "nft", NATIVE_REDIRECT, "-f", "-")}


def removal(lab, pod):
    """The command that weir tells."""
    warning = next(text for text in known(lab, pod)["warnings"] if "taken over" in text)
    return re.search(r"on its node: (nsenter .*)$", warning)[1]


@pytest.mark.parametrize("kind", REDIRECT)
@pytest.mark.parametrize("by", ["annotation", "flag"])
def test_taken_over(lab, kind, by):
    """With the rules still there and without them: what is established lives on, new ones are redirected and know their destination."""
    pod, peer = lab.pod("web", mesh="istio", annotations={"weir.io/takeover": "on"} if by == "annotation" else {}), plain_pod(lab, 80)
    REDIRECT[kind](pod)
    if kind != "nft":
        load(pod, f"{kind}-restore", OWN, "--noflush")
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
            assert shell("s.send(b'x') and s.recv(1).decode()") == "x"  # and its proxy echoes it
            if step == "with rules":
                command = removal(lab, pod)
                assert f"{kind} " in command or f"{kind}-" in command
                subprocess.run(command, shell=True, check=True)
    if kind != "nft":
        assert OWN.splitlines()[1] in net.in_netns(pod.netns, f"{kind}-save", "-t", "filter").stdout
    wait_until(lambda: not told_again(lab, pod)["warnings"], "the warning to go")


PORTS = range(20000, 20040)
# Connects until each of these ports has been its own once; tells where it was not told what was dialled.
EVERY_PORT = """
import json, socket, struct, sys
left, wrong = set(range({0.start}, {0.stop}, 2)), []  # connect() prefers these
for attempt in range(100 * len(left)):
    s = socket.create_connection(("{1}", 80), 5)
    port, told = s.getsockname()[1], json.loads(s.recv(4096))["odst_ip"]
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # at once, so that the port is free again
    s.close()
    left.discard(port)
    if told != "{1}:80":
        wrong.append([port, told])
    if not left:
        break
print(json.dumps(wrong or sorted(left)))
"""
PROXIES = {"on all addresses": ("istio", REDIRECT["iptables-nft"], (f"0.0.0.0:{OUTBOUND}", f"0.0.0.0:{INBOUND}"), 1337),
           "on loopback": ("linkerd", SETS["linkerd"], ("127.0.0.1:4140", "0.0.0.0:4143"), 2102)}


PLUGINS = {**{f"istio-cni, {kind}": ("istio", rules_of, OUTBOUND, INBOUND, 1337) for kind, rules_of in REDIRECT.items()},
           "linkerd-cni": ("linkerd", SETS["linkerd"], 4140, 4143, 2102)}


@pytest.mark.parametrize("where", PROXIES)
def test_ports_that_the_rules_have_seen(lab, where):
    """conntrack remembers for two minutes whom the rules redirected. What weir redirects from the same port must not be taken for it."""
    mesh, load_rules, listeners, uid = PROXIES[where]
    pod, peer = lab.pod("web", mesh=mesh, annotations={"weir.io/takeover": "on"}), plain_pod(lab, 80)
    load_rules(pod)
    pod.serve(*listeners, uid=uid, container=f"{mesh}-proxy")
    net.in_netns(pod.netns, "sysctl", "-qw", f"net.ipv4.ip_local_port_range={PORTS.start} {PORTS.stop - 1}")

    def told_wrongly():
        return json.loads(pod.run([PYTHON, "-c", EVERY_PORT.format(PORTS, peer.ip)], uid=APP, timeout=60).stdout)

    told_with_address(pod)
    assert told_wrongly() == []  # by the rules
    for step in ("with rules", "without", "and another agent"):
        agent = lab.agent() if step != "without" else agent
        wait_state(lab, pod)
        assert told_wrongly() == [], step
        if step == "with rules":
            subprocess.run(removal(lab, pod), shell=True, check=True)
            wait_until(lambda: not told_again(lab, pod)["warnings"], "the warning to go")
        else:
            agent.stop()


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


@pytest.mark.parametrize("kind", PLUGINS)
def test_the_way_back(lab, kind):
    """istio-cni or linkerd-cni installed again stands behind weir-cni: rules come on top of what weir does. Then weir leaves, and
    at no moment a connection misses the proxy, nor does the proxy lack its destination; what is established lives on."""
    mesh, load_rules, outbound, inbound, uid = PLUGINS[kind]
    agent = lab.agent()
    pod, peer = lab.pod("web", mesh=mesh), plain_pod(lab, 80)
    wait_state(lab, pod.write())
    load_rules(pod)
    pod.serve(f"127.0.0.1:{outbound}", f"0.0.0.0:{inbound}", uid=uid, container=f"{mesh}-proxy")
    with established(pod, peer) as shell:
        for step in ("both", "rules alone"):
            for _ in range(2):
                assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", outbound)
                assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", inbound)
            assert shell("s.send(b'x') and s.recv(1).decode()") == "x"
            if step == "both":
                assert known(lab, pod)["state"] == "captured"
                agent.stop()
                lab.weir("cleanup")


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


@pytest.mark.parametrize("by, kind", [*(("annotation", kind) for kind in REDIRECT), ("flag", "iptables-nft")])
def test_taken_over_and_given_back(lab, by, kind):
    """The rules are still there: without the annotation or the flag they redirect again, and what is established lives on."""
    pod, peer = lab.pod("web", mesh="istio", annotations={"weir.io/takeover": "on"} if by == "annotation" else {}), plain_pod(lab, 80)
    REDIRECT[kind](pod)
    start_proxy(pod)
    told_with_address(pod)
    agent = lab.agent(*(["--takeover"] if by == "flag" else []))
    wait_state(lab, pod)
    with established(pod, peer) as shell:
        if by == "flag":
            agent.stop()
            agent = lab.agent()
        pod.annotations.clear()
        told_with_address(pod)
        wait_state(lab, pod, "not_captured")
        assert "its own iptables rules" in known(lab, pod)["reason"] and not known(lab, pod)["warnings"]
        for _ in range(2):
            assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
            assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)
        assert shell("s.send(b'x') and s.recv(1).decode()") == "x"
    assert not list((lab.bpf_dir / "netns").iterdir())


def test_takeover_of_a_pod_without_rules(lab, agent):
    """It says nothing, and what the pod loads afterwards changes nothing."""
    pod, peer = lab.pod("web", mesh="istio", annotations={"weir.io/takeover": "on"}), plain_pod(lab, 80)
    start_proxy(pod)
    told_with_address(pod)
    wait_state(lab, pod)
    assert not known(lab, pod)["warnings"]
    del pod.annotations["weir.io/takeover"]
    SETS["iptables-nft"](pod)
    for _ in range(2):
        told_with_address(pod)
        assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", OUTBOUND)
        assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)
        assert known(lab, pod)["state"] == "captured"

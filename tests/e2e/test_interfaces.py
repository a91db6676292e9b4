# SPDX-License-Identifier: Apache-2.0
"""Interfaces that a pod's policy names: excluded ones, and those that lead to virtual machines (KubeVirt).

Everything runs twice, in a pod with Istio's own rules and in one under weir.
"""

import itertools
import time

import pytest

from books import NOTHING, books, flow, metrics, settled
from lab import Lab, iptables, net
from lab.agent import total
from lab.command import wait_until
from support import (APP, COUNTER, INBOUND, KINDS, OUTBOUND, PROXY, Shell, as_container, assert_redirected, cookies_in, dual_stack, known, listener_port,
                     plain, plain_pod, start_proxy, wait_state)
from test_outcomes import BASIC

MACHINES = itertools.count(1)  # their numbers are parts of addresses
EXCLUDE = "traffic.sidecar.istio.io/excludeInterfaces"
VIRTUAL = "istio.io/reroute-virtual-interfaces"
INCLUDE = "traffic.sidecar.istio.io/includeOutboundIPRanges"
AGENT_UNDER = as_container("weir", "DAC_READ_SEARCH")  # virtualMachines: true in the chart


@pytest.fixture(scope="module")
def peer(node):
    return plain_pod(node, 80, 8080)


def rules_first(*rules):
    """Istio's rules with these in front, in the order in which they are written into the table, for both families."""
    return BASIC.replace("-A PREROUTING -p tcp -j ISTIO_INBOUND\n", "".join(f"{rule}\n" for rule in rules) + "-A PREROUTING -p tcp -j ISTIO_INBOUND\n")


def make_pod(lab, kind, annotations, rules):
    pod = lab.pod(f"{kind}-{next(COUNTER)}", mesh="istio", annotations=annotations)
    if kind == "iptables":
        iptables.load(pod, rules)
    else:
        pod.write(dual_stack(pod))
        wait_state(lab, pod)
    pod.serve("[::]:8080", uid=APP)
    start_proxy(pod)
    return pod


def plug(lab, pod, name, subnet, ipv6):
    """A second interface of the pod, to a machine of its own that answers on port 80; .1 is the pod, .2 the machine."""
    number = next(MACHINES)
    machine = lab.outside(f"machine-{number}", ip=f"203.0.113.{100 + number}", ipv6=f"2001:db8::{100 + number}")
    net.ip_batch(machine.netns, f"link add {name} type veth peer name {name} netns {pod.netns}", f"addr add {subnet}.2/24 dev {name}",
                 f"addr add {ipv6}::2/64 dev {name}", f"link set {name} up", "addr add 198.51.100.7/32 dev lo", "addr add 2001:db8:7::7/128 dev lo")
    net.ip_batch(pod.netns, f"addr add {subnet}.1/24 dev {name}", f"addr add {ipv6}::1/64 dev {name}", f"link set {name} up")
    machine.serve("[::]:80")
    return machine


def eventually(lab, pod, to, lands):
    """Routes are followed, not asked at every connection: a change counts within a moment."""

    def is_there():
        answer = pod.connect(to, uid=APP)
        return answer["ok"] and listener_port(answer) == lands

    wait_until(is_there, f"{to} to land on {lands}", 5)


# -- excluded interfaces ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=KINDS)
def excluded(request, node):
    pod = make_pod(node, request.param, {EXCLUDE: "net1"}, rules_first("-A PREROUTING -i net1 -j RETURN", "-A OUTPUT -o net1 -j RETURN"))
    machine = plug(node, pod, "net1", "192.168.50", "fd50")  # it comes after the policy, as an interface may
    eventually(node, pod, "192.168.50.2:80", 80)
    return pod, machine


def test_what_leaves_by_an_excluded_interface_goes_direct(excluded, peer):
    pod, _ = excluded
    for to in ("192.168.50.2:80", "[fd50::2]:80", "[::ffff:192.168.50.2]:80"):
        answer = pod.connect(to, uid=APP)
        assert answer["ok"] and listener_port(answer) == 80, to
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert_redirected(pod.connect(f"[{peer.ipv6}]:80", uid=APP), f"[{peer.ipv6}]:80")


def test_what_enters_by_an_excluded_interface_goes_direct(excluded, peer):
    pod, machine = excluded
    for to in ("192.168.50.1:8080", "[fd50::1]:8080"):
        assert listener_port(machine.connect(to)) == 8080, to
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)
    # By the interface, not by the address: the pod's main one is reached by net1 as well.
    net.ip_batch(machine.netns, f"route replace {pod.ip}/32 via 192.168.50.1 dev net1")
    assert listener_port(machine.connect(f"{pod.ip}:8080", options=("--bind", "192.168.50.2"))) == 8080


def test_within_the_pod_nothing_changes(excluded):
    pod, _ = excluded
    assert_redirected(pod.connect(f"{pod.ip}:8080", uid=PROXY), f"{pod.ip}:8080", INBOUND)
    assert_redirected(pod.connect("192.168.50.1:8080", uid=PROXY), "192.168.50.1:8080", INBOUND)
    assert listener_port(pod.connect("192.168.50.1:8080", uid=APP)) == 8080


def test_a_route_that_comes_and_goes_is_followed(node, excluded):
    pod, _ = excluded
    for family, to in (("-4", "198.51.100.7:80"), ("-6", "[2001:db8:7::7]:80")):
        assert_redirected(pod.connect(to, uid=APP), to)
        prefix, via = ("198.51.100.0/24", "192.168.50.2") if family == "-4" else ("2001:db8:7::/48", "fd50::2")
        net.in_netns(pod.netns, "ip", family, "route", "add", prefix, "via", via, "dev", "net1")
        eventually(node, pod, to, 80)
        net.in_netns(pod.netns, "ip", family, "route", "del", prefix)
        eventually(node, pod, to, OUTBOUND)


def test_routes_of_another_table_count_in_their_order(node, excluded):
    """A rule before the main table's: a wide route there wins over a narrow one of main."""
    pod, _ = excluded
    net.in_netns(pod.netns, "ip", "route", "add", "198.51.0.0/16", "via", "192.168.50.2", "dev", "net1", "table", "77")
    net.in_netns(pod.netns, "ip", "route", "replace", "198.51.100.0/24", "via", net.GATEWAY4, "dev", "eth0")
    net.in_netns(pod.netns, "ip", "rule", "add", "lookup", "77", "priority", "1000")
    eventually(node, pod, "198.51.100.7:80", 80)
    net.in_netns(pod.netns, "ip", "rule", "del", "priority", "1000")
    eventually(node, pod, "198.51.100.7:80", OUTBOUND)


def test_a_bound_device_decides(excluded):
    """SO_BINDTODEVICE: whatever the routes say."""
    pod, _ = excluded
    with Shell(pod, uid=0) as shell:
        shell("s = tcp(); s.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b'net1')")
        net.in_netns(pod.netns, "ip", "route", "add", "198.51.100.0/24", "via", "192.168.50.2", "dev", "net1", "metric", "9000")
        net.in_netns(pod.netns, "ip", "route", "replace", "198.51.100.0/24", "via", net.GATEWAY4, "dev", "eth0")
        shell("s.connect(('198.51.100.7', 80))")
        assert shell("greeting(s)")["listener"] == "[::]:80"
        net.in_netns(pod.netns, "ip", "route", "flush", "198.51.100.0/24")


def test_a_bound_device_decides_for_datagrams(node):
    """Name lookups of a socket that is not connected: direct by an excluded device, wherever the routes lead."""
    pod = node.pod(f"lookups-{next(COUNTER)}", mesh="istio", annotations={EXCLUDE: "net1"}, proxy_env={"ISTIO_META_DNS_CAPTURE": "true"})
    pod.write(dual_stack(pod))
    wait_state(node, pod)
    machine = plug(node, pod, "net1", "192.168.55", "fd55")
    net.ip_batch(pod.netns, "route add 198.51.100.0/24 via 192.168.55.2 dev net1 metric 9000", f"route add 198.51.100.0/24 via {net.GATEWAY4} dev eth0")
    code = "{s} = socket(AF_INET, SOCK_DGRAM); {s}.settimeout(5); {s}.bind(({at!r}, {port}))"
    with Shell(machine, uid=0) as server, Shell(pod, uid=0) as client, Shell(pod, uid=PROXY) as proxy:
        server(code.format(s="s", at="198.51.100.7", port=53))
        proxy(code.format(s="s", at="127.0.0.1", port=15053))
        client(code.format(s="free", at="0.0.0.0", port=0))
        client(code.format(s="bound", at="0.0.0.0", port=0))
        client("bound.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b'net1')")
        eventually(node, pod, "192.168.55.2:80", 80)
        client("free.sendto(b'free', ('198.51.100.7', 53)); bound.sendto(b'bound', ('198.51.100.7', 53))")
        assert proxy("s.recv(99).decode()") == "free"
        assert server("s.recv(99).decode()") == "bound"


def explain(lab, pod, *question):
    return lab.weir("explain", f"{pod.namespace}/{pod.name}", "-o", "json", *question)


def test_explain_knows_the_interfaces(node):
    pod = make_pod(node, "weir", {EXCLUDE: "net1", VIRTUAL: "tap0", INCLUDE: "10.96.0.0/16,192.168.0.0/16"}, "")
    plug(node, pod, "net1", "192.168.70", "fd70")
    plug(node, pod, "tap0", "10.0.3", "fd10:3")
    eventually(node, pod, "192.168.70.2:80", 80)
    wait_until(lambda: explain(node, pod, "--to=10.96.0.1:80", "--interface=tap0")["reason"] != "forwarded", "tap0 to be known", 10)
    answer = explain(node, pod, "--to=192.168.70.2:80", "--uid=1000")
    assert (answer["verdict"], answer["reason"]) == ("direct", "interface_excluded") and EXCLUDE in answer["because"]
    assert explain(node, pod, "--to=192.168.71.2:80", "--uid=1000")["verdict"] == "redirect"
    answer = explain(node, pod, "--inbound=8080")
    assert answer["verdict"] == "redirect" and "--interface" in answer["assumed"][0]
    assert explain(node, pod, "--inbound=8080", "--interface=net1")["reason"] == "interface_excluded"
    answer = explain(node, pod, "--to=10.96.0.1:80", "--interface=tap0")
    assert (answer["verdict"], answer["reason"]) == ("redirect", "interface_virtual") and answer["to"].endswith(":15001")
    assert VIRTUAL in answer["because"]
    assert explain(node, pod, "--to=192.0.2.1:80", "--interface=tap0")["verdict"] == "direct"


def test_nothing_is_left_when_the_annotation_goes(node):
    pod = make_pod(node, "weir", {EXCLUDE: "net1"}, "")
    plug(node, pod, "net1", "192.168.60", "fd60")
    eventually(node, pod, "192.168.60.2:80", 80)
    pod.annotations.clear()
    pod.write(dual_stack(pod))
    eventually(node, pod, "192.168.60.2:80", OUTBOUND)
    with Shell(pod) as shell:
        cookie = shell("struct.unpack('Q', tcp().getsockopt(SOL_SOCKET, 71, 8))[0]")  # SO_NETNS_COOKIE
    for name in ("weir_links", "weir_routes"):
        assert cookie not in cookies_in(node, name)


# -- virtual machines ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=KINDS)
def virtual(request, node):
    pod = make_pod(node, request.param, {VIRTUAL: "tap0"}, rules_first("-I PREROUTING 1 -i tap0 -j RETURN", "-I PREROUTING 1 -i tap0 -j ISTIO_REDIRECT"))
    return request.param, pod, machine_in(node, pod)


def machine_in(lab, pod):
    """A virtual machine as KubeVirt's masquerade binding connects it: the pod is its gateway."""
    machine = plug(lab, pod, "tap0", "10.0.2", "fd10:2")
    net.in_netns(pod.netns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    net.ip_batch(machine.netns, "route replace default via 10.0.2.1 dev tap0")
    net.in_netns(machine.netns, "ip", "-6", "route", "replace", "default", "via", "fd10:2::1", "dev", "tap0")
    return machine


@pytest.mark.parametrize("to", ["10.96.0.1:80", "POD:8080", "10.0.2.1:8080", "10.96.0.1:15008", "10.96.0.1:15020", "POD:15006", "[fd00:10:96::1]:80"])
def test_all_that_a_virtual_machine_sends_goes_to_the_outbound_listener(virtual, to):
    kind, pod, machine = virtual
    to = to.replace("POD", pod.ip)

    def answer():
        result = machine.connect(to)
        return result if result["ok"] else None

    answer = wait_until(answer, f"the proxy to take {to}", 10)
    assert_redirected(answer, to)
    acceptor = answer["acceptor"]
    assert plain(acceptor["peername"]).rsplit(":", 1)[0] in ("10.0.2.2", "fd10:2::2", "[fd10:2::2]")
    if kind == "weir":
        assert plain(acceptor["sockname"]) == to  # as in TPROXY mode


def test_what_a_virtual_machine_sends_is_its_pods_own(node):
    """Outbound, under the name that was dialled, with the machine's bytes; within the pod it is not counted."""
    server = plain_pod(node).write()
    server.serve("[::]:80")
    pod = make_pod(node, "weir", {VIRTUAL: "tap0"}, "")
    machine = machine_in(node, pod)
    wait_until(lambda: listener_port(machine.connect(f"{pod.ip}:8080")) == OUTBOUND, "the proxy to take what the machine sends", 10)
    assert flow(node, pod, "outbound") == NOTHING
    inbound = flow(node, pod, "inbound")  # of the moment before weir had seen the interface
    verdicts = ("weir_verdicts_total", {"workload": pod.name, "verdict": "redirect", "reason": "interface_virtual"})
    before = total(metrics(node), verdicts[0], direction="outbound", **verdicts[1])
    answers = [machine.connect(f"{server.ip}:80", options=["--send=5000"]) for _ in range(3)]
    names = {"peer_workload": server.name, "port": "80", "via": "proxy"}
    assert settled(node, pod, "outbound", 3, **names) == books(answers)
    assert flow(node, pod, "outbound") == books(answers) and flow(node, pod, "inbound") == inbound
    assert total(metrics(node), verdicts[0], direction="outbound", **verdicts[1]) == before + 3
    assert total(metrics(node), verdicts[0], direction="inbound", **verdicts[1]) == 0
    with Shell(machine) as shell:
        shell(f"s = tcp(); s.connect(({server.ip!r}, 80))")
        row, = node.weir("conns", "-o", "json", f"--pod={pod.name}")["connections"]
        assert (row["direction"], row["via"], row["dialled"], row["real"]) == ("outbound", "proxy", f"{server.ip}:80", f"{server.ip}:{OUTBOUND}")
        assert (row["peer_workload"], row["peer_address"], row["sent_bytes"]) == (server.name, server.ip, 0)


@pytest.mark.alone  # network namespaces that end, of whomever, are told to every agent of the machine
def test_a_virtual_machine_costs_no_runs(lab):
    """A proxy that listens anew, and anew, gets what the machine sends; the agent does not look at all pods for that each second."""
    agent = lab.agent("--log.level=debug")
    pod = lab.pod("quiet", mesh="istio", annotations={VIRTUAL: "tap0"})
    pod.write(dual_stack(pod))
    wait_state(lab, pod)
    machine = machine_in(lab, pod)
    for _ in range(2):
        proxy = start_proxy(pod)
        wait_until(lambda: listener_port(machine.connect("10.96.0.1:80")) == OUTBOUND, "the proxy to take what the machine sends", 10)
        proxy.stop()

    def runs():
        return agent.stderr().count("msg=reconciled")

    def rests():
        before = runs()
        time.sleep(5)
        return runs() == before

    wait_until(rests, "five seconds without a run", 60)


def test_without_the_right_to_look_for_the_proxy_it_is_told(lab):
    """The DaemonSet has it only where its chart is told of virtual machines."""
    agent = lab.agent(under=as_container("weir"))
    pod = lab.pod("web", mesh="istio", annotations={VIRTUAL: "tap0"})
    wait_state(lab, pod.write(dual_stack(pod)))
    start_proxy(pod)
    for again in range(2):
        wait_until(lambda: any("CAP_DAC_READ_SEARCH" in text for text in known(lab, pod)["warnings"]), "the warning")
        if not again:
            pod.write(dual_stack(pod))
    assert "CAP_DAC_READ_SEARCH" in agent.weir("pods").stderr and agent.stderr().count("CAP_DAC_READ_SEARCH") == 1


def test_the_rest_of_the_pod_is_as_ever(virtual, peer):
    _, pod, _ = virtual
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80")
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", INBOUND)


@pytest.mark.parametrize("kind", KINDS)
def test_ranges_limit_what_is_taken_of_a_virtual_machine(node, peer, kind):
    rules = rules_first("-I PREROUTING 1 -i tap0 -j RETURN", "-I PREROUTING 1 -d 10.96.0.0/16 -i tap0 -j ISTIO_REDIRECT").replace(
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT", "-A ISTIO_OUTPUT -d 10.96.0.0/16 -j ISTIO_REDIRECT")
    rules = iptables.split(rules)[0]
    pod = make_pod(node, kind, {VIRTUAL: "tap0", INCLUDE: "10.96.0.0/16"}, rules)
    machine = machine_in(node, pod)
    answer = wait_until(lambda: (lambda got: got if got["ok"] else None)(machine.connect("10.96.0.1:80")), "the proxy to take it", 10)
    assert_redirected(answer, "10.96.0.1:80")
    # What is not included meets no other rule: the pod's own server takes it.
    assert listener_port(machine.connect(f"{pod.ip}:8080")) == 8080


def own_routes(pod):
    """What weir has put into a pod's routing, in words of iproute2's."""
    lines = [net.in_netns(pod.netns, "ip", family, *what).stdout for family in ("-4", "-6") for what in (["rule"], ["route", "show", "table", "all"])]
    marks = net.in_netns(pod.netns, "sysctl", "-n", "net.ipv4.tcp_fwmark_accept").stdout.strip()
    return sorted(line.partition(":\t")[2] or line for text in lines for line in text.splitlines() if "119" in line.split()), marks


NO_ROUTES = ([], "0")
DELIVERED = {"virtual": {VIRTUAL: "tap0"}, "tproxy": {"sidecar.istio.io/interceptionMode": "TPROXY"},
             "both": {VIRTUAL: "tap0", "sidecar.istio.io/interceptionMode": "TPROXY"}}


@pytest.mark.parametrize("how", DELIVERED)
def test_routes_end_with_what_asks_for_them(how):
    """With the annotations, the pod, the pod while no agent ran, and weir itself; what others made stays."""
    with Lab(f"delivery-{how}") as lab:
        agent = lab.agent()
        pod, other = [make_pod(lab, "weir", DELIVERED[how], "") for _ in range(2)]
        net.in_netns(pod.netns, "ip", "rule", "add", "fwmark", "7", "lookup", "133")
        rules, marks = own_routes(pod)
        assert len(rules) == (6 if how == "both" else 4) and marks == str(int(how != "virtual"))  # each family's rules, and its route
        pod.annotations.clear()
        pod.write(dual_stack(pod))
        wait_until(lambda: own_routes(pod) == NO_ROUTES, "the routes to go with the annotation", 5)
        pod.annotations.update(DELIVERED[how])
        pod.write(dual_stack(pod))
        wait_until(lambda: own_routes(pod) == (rules, marks), "the routes to come again", 5)
        pod.remove_file()
        wait_until(lambda: own_routes(pod) == NO_ROUTES, "the routes to go with the pod", 5)
        wait_state(lab, pod.write(dual_stack(pod)))
        agent.stop()
        pod.remove_file()
        assert own_routes(pod) == own_routes(other) == (rules, marks)
        agent = lab.agent()
        wait_until(lambda: own_routes(pod) == NO_ROUTES, "the routes to go with a pod that went meanwhile", 5)
        agent.stop()
        done = lab.weir("cleanup").stdout
        assert f"routing rules in {net.netns_path(other.netns)}" in done
        assert own_routes(other) == NO_ROUTES
        assert "lookup 133" in net.in_netns(pod.netns, "ip", "rule").stdout


def test_rules_for_a_virtual_machine_go_with_the_annotation(node):
    pod = make_pod(node, "weir", {VIRTUAL: "tap0"}, "")
    assert "lookup 133" in net.in_netns(pod.netns, "ip", "rule").stdout
    pod.annotations.clear()
    pod.write(dual_stack(pod))
    wait_until(lambda: "lookup 133" not in net.in_netns(pod.netns, "ip", "rule").stdout, "the rule to go", 5)
    pod.annotations[VIRTUAL] = "tap0"
    pod.write(dual_stack(pod))
    wait_until(lambda: "lookup 133" in net.in_netns(pod.netns, "ip", "rule").stdout, "the rule to come", 5)
    pod.remove_file()
    wait_until(lambda: "lookup 133" not in net.in_netns(pod.netns, "ip", "rule").stdout, "the rule to go with the pod", 5)

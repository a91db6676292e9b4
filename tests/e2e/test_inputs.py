# SPDX-License-Identifier: Apache-2.0
"""Bad input: the mesh's own words in `weir pods`, once in the log, in a metric; the last good policy stays; who is refused its traffic.

The texts of every annotation are the unit tests' business (tests/unit/test_annotations.c, test_policy*.c).
"""

import json
import signal
import socket
import time

import pytest

from support import APP, OUTBOUND, assert_redirected, dual_stack, known, listener_port, mesh_pod, plain_pod, start_proxy, wait_state
from lab.command import wait_until

TRAFFIC = "traffic.sidecar.istio.io/"
# annotation, value, and what the mesh says of it (the value is quoted before)
REFUSED = {
    "malformed": (TRAFFIC + "excludeOutboundPorts", "80,http", "failed parsing port 'http': strconv.ParseUint: parsing \"http\": invalid syntax"),
    "an empty item": (TRAFFIC + "includeInboundPorts", "80,,443", "failed parsing port '': strconv.ParseUint: parsing \"\": invalid syntax"),
    "huge, and wrong at the end": (TRAFFIC + "excludeOutboundIPRanges", "10.0.0.0/8," * 10000 + "x", "failed parsing cidr 'x': netip.ParsePrefix(\"x\"): no '/'"),
    "spaces where there may be none": (TRAFFIC + "includeOutboundIPRanges", "10.0.0.0/8, 11.0.0.0/8",
                                       "failed parsing cidr ' 11.0.0.0/8': netip.ParsePrefix(\" 11.0.0.0/8\"): "
                                       "ParseAddr(\" 11.0.0.0\"): unexpected character (at \" 11.0.0.0\")"),
    "other digits": (TRAFFIC + "excludeInboundPorts", "８０", "failed parsing port '８０': strconv.ParseUint: parsing \"８０\": invalid syntax"),
    "a mode that is none": ("sidecar.istio.io/interceptionMode", "redirect", "interceptionMode invalid, use REDIRECT,TPROXY,NONE: redirect"),
    "an interface that is none": (TRAFFIC + "excludeInterfaces", "eth0,", "empty interface name"),
    "a truth value that is no string": ("proxy.istio.io/config", "proxyMetadata: {ISTIO_META_DNS_CAPTURE: true}",
                                        "failed to convert to apply proxy config: ProxyConfig.proxyMetadata['ISTIO_META_DNS_CAPTURE'] is a boolean"),
}


def metric(agent, name, pod):
    """The value of this pod's series; None when there is none."""
    return agent.metrics().get((name, frozenset({("namespace", pod.namespace), ("pod", pod.name)})))


def log_lines(agent, pod, state):
    return [line for line in agent.stderr().splitlines() if f"pod={pod.namespace}/{pod.name} state={state}" in line]


@pytest.mark.parametrize("name", REFUSED)
def test_the_last_good_policy_stays(lab, name):
    agent = lab.agent()
    annotation, value, says = REFUSED[name]
    pod, peer = mesh_pod(lab), plain_pod(lab, 80)
    start_proxy(pod)
    pod.annotations[annotation] = value
    wait_state(lab, pod.write(dual_stack(pod)), "failed")
    reason = known(lab, pod)["reason"]
    assert reason.startswith(f"invalid value '{value}' for annotation '{annotation}': ") and says in reason
    assert reason.endswith("(the last good policy stays in force)")
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == OUTBOUND
    assert metric(agent, "weir_pod_input_errors", pod) == 1
    pod.write(dual_stack(pod))
    assert len(log_lines(agent, pod, "failed")) == 1
    del pod.annotations[annotation]
    wait_state(lab, pod.write(dual_stack(pod)))
    assert metric(agent, "weir_pod_input_errors", pod) is None


def with_variable(name, value, container="istio-proxy"):
    def edit(item):
        containers = [*item["spec"]["containers"], *item["spec"].get("initContainers", [])]
        next(c for c in containers if c["name"] == container).setdefault("env", []).append({"name": name, "value": value})
    return edit


def with_argument(*args):
    def edit(item):
        next(c for c in item["spec"]["initContainers"] if c["name"] == "istio-validation")["args"].extend(args)
    return edit


def with_annotation(name, value):
    return lambda item: item["metadata"]["annotations"].update({name: value})


LINKERD = "config.linkerd.io/"
# mesh, what is done to the pod's object, and what is said of it; everywhere the last good policy stays
ELSEWHERE = {
    "groups": ("istio", with_variable("ISTIO_OUTBOUND_OWNER_GROUPS", "java"), "invalid value 'java' for ISTIO_OUTBOUND_OWNER_GROUPS of container istio-proxy: "),
    "ten thousand groups": ("istio", with_variable("ISTIO_OUTBOUND_OWNER_GROUPS", ",".join(map(str, range(10000)))),
                            "number of owner groups whose outgoing traffic should be redirected to Envoy cannot exceed 64, got 10000"),
    "loopback": ("istio", with_variable("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1/7"), "expected CIDR 127.0.0.1/7 to have mask in range [8, 32]; found 7"),
    "a port with a space": ("istio", with_argument("-p", "15001 "), "argument -p of container istio-validation: failed parsing port \"15001 \": "),
    "a switch": ("istio", with_argument("--redirect-dns=yes"), "argument --redirect-dns of container istio-validation: strconv.ParseBool: parsing \"yes\": invalid syntax"),
    "linkerd's ports": ("linkerd", with_annotation(LINKERD + "skip-outbound-ports", "8080-80"), "Invalid port range [8080-80]: "),
    "linkerd's subnets": ("linkerd", with_annotation(LINKERD + "skip-subnets", "10.0.0.0/8," * 10000 + "x"), "x is not a valid CIDR address"),
    "linkerd's user": ("linkerd", with_annotation(LINKERD + "proxy-uid", "２１０２"), "strconv.ParseUint: parsing \"２１０２\": invalid syntax"),
    "linkerd's listener": ("linkerd", with_variable("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", "localhost:4140", "linkerd-proxy"), "no address with a port"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_last_good_policy_stays_whatever_the_input_is(lab, name):
    agent = lab.agent()
    mesh, edit, says = ELSEWHERE[name]
    pod, peer = lab.pod("p", mesh=mesh, annotations={"config.linkerd.io/skip-outbound-ports": "81"} if mesh == "linkerd" else None), plain_pod(lab, 80)
    port = {"istio": OUTBOUND, "linkerd": 4140}[mesh]
    pod.serve(f"0.0.0.0:{port}", uid=pod.proxy_uid)
    wait_state(lab, pod.write())
    item = pod.object()
    edit(item)
    wait_state(lab, pod.write(item), "failed")
    assert says in known(lab, pod)["reason"] and known(lab, pod)["reason"].endswith("(the last good policy stays in force)")
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == port
    assert metric(agent, "weir_pod_input_errors", pod) == 1
    assert len(log_lines(agent, pod, "failed")) == 1
    wait_state(lab, pod.write())
    assert metric(agent, "weir_pod_input_errors", pod) is None


def test_what_a_pods_author_wrote_does_not_fill_or_steer_a_terminal(lab, agent):
    """Of a long value both ends are shown, with what is wrong and where; all of it in JSON."""
    pod = lab.pod("long", mesh="istio")
    value = "10.0.0.0/8," * 10000 + "\x1b[2Jx"
    pod.annotations[TRAFFIC + "excludeOutboundIPRanges"] = value
    wait_state(lab, pod.write(), "failed")
    shown = next(line for line in lab.weir("pods").stdout.splitlines() if " long " in line)
    logged, = log_lines(agent, pod, "failed")
    for text in (shown, logged):
        assert len(text) < 1500 and "\x1b" not in text
        assert "invalid value '10.0.0.0/8," in text and f"for annotation '{TRAFFIC}excludeOutboundIPRanges': excludeIPRanges invalid: failed parsing cidr" in text
    assert value in lab.weir("pods", "-o", "json")["pods"][0]["reason"]


def test_a_client_that_is_slow_gets_the_whole_answer(lab, agent):
    """And holds nobody up, however long it is."""
    pod = lab.pod("p", mesh="linkerd", annotations={LINKERD + "skip-inbound-ports": ",".join(f"port{n}" for n in range(10000))})
    wait_state(lab, pod.write(), "failed")
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(10)
        slow.connect(str(lab.run_dir / "weir.sock"))
        slow.sendall(b"pods\n")
        begun = time.monotonic()
        assert known(lab, pod)["state"] == "failed"
        assert time.monotonic() - begun < 1
        time.sleep(max(0, begun + 2.5 - time.monotonic()))
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
    assert len(answer) > 1000000 and json.loads(answer)["told_by"] == "agent"


def test_without_an_agent_the_answer_has_the_same_fields(lab):
    agent = lab.agent()
    pod = mesh_pod(lab)
    told = lab.weir("pods", "-o", "json")
    agent.stop(signal.SIGKILL)
    read = lab.weir("pods", "-o", "json")
    assert (told["told_by"], read["told_by"]) == ("agent", "maps")
    assert [row["name"] for row in read["pods"]] == [pod.name]
    assert set(read["pods"][0]) == set(told["pods"][0])


def test_a_pod_that_the_mesh_would_refuse_gets_no_traffic_out(lab, agent):
    pod, peer = lab.pod("new", mesh="istio"), plain_pod(lab, 80)
    pod.annotations[TRAFFIC + "excludeOutboundPorts"] = "http"
    wait_state(lab, pod.write(dual_stack(pod)), "failed")
    assert not pod.connect(f"{peer.ip}:80", uid=APP)["ok"]


def test_a_pod_that_the_mesh_would_take_runs_with_the_default(lab, agent):
    pod, peer = lab.pod("new", mesh="istio"), plain_pod(lab, 80)
    start_proxy(pod)
    pod.annotations["weir.io/proxy-down"] = "maybe"
    wait_state(lab, pod.write(dual_stack(pod)), "failed")
    text = "invalid value 'maybe' for annotation 'weir.io/proxy-down': use refuse or direct (the default applies)"
    assert known(lab, pod)["reason"] == text
    wait_until(lambda: listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == OUTBOUND, "the pod to be captured")
    pod.write(dual_stack(pod))
    assert known(lab, pod)["reason"] == text  # its own policy is no former one
    assert len(log_lines(agent, pod, "failed")) == 1


def test_a_warning_has_a_metric(lab, agent):
    pod = lab.pod("linkerd", mesh="linkerd")
    pod.annotations["config.linkerd.io/skip-outbound-ports"] = "25, 26"
    wait_state(lab, pod.write())
    assert metric(agent, "weir_pod_input_warnings", pod) == 1
    assert metric(agent, "weir_pod_input_errors", pod) == 0


# -- proxies and inputs that are not the usual ones -------------------------------------------------------------------------

def test_a_declared_proxy(lab, agent):
    """No mesh: annotations of weir's own say where the proxy listens and who it is."""
    pod, peer = lab.pod("own"), plain_pod(lab, 80, 5432)
    pod.serve("[::]:3128", "[::]:3129", uid=13)
    pod.annotations.update({"weir.io/proxy-outbound-port": "3128", "weir.io/proxy-inbound-port": "3129", "weir.io/proxy-uid": "13",
                            TRAFFIC + "excludeOutboundPorts": "5432"})
    wait_state(lab, pod.write())
    assert known(lab, pod)["mesh"] == "custom"
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", 3128)
    assert listener_port(pod.connect(f"{peer.ip}:5432", uid=APP)) == 5432
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=13)) == 80
    assert_redirected(peer.connect(f"{pod.ip}:8080"), f"{pod.ip}:8080", 3129)


def test_a_pod_with_istio_init_is_left_alone_unless_told(lab, agent):
    pod, peer = lab.pod("init", mesh="istio"), plain_pod(lab, 80)
    start_proxy(pod, ("[::]:15101", "[::]:15106"))
    item = dual_stack(pod)
    item["spec"]["initContainers"] = [{"name": "istio-init", "image": "istio/proxyv2", "args": [
        "istio-iptables", "-p", "15101", "-z", "15106", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"]}]
    wait_state(lab, pod.write(item), "not_captured")
    assert known(lab, pod)["reason"] == "container istio-init programs its own iptables rules"
    assert listener_port(pod.connect(f"{peer.ip}:80", uid=APP)) == 80
    item["metadata"]["annotations"]["weir.io/capture"] = "on"
    wait_state(lab, pod.write(item))
    assert_redirected(pod.connect(f"{peer.ip}:80", uid=APP), f"{peer.ip}:80", 15101)
    assert_redirected(peer.connect(f"{pod.ip}:80"), f"{pod.ip}:80", 15106)
    explained = lab.weir("explain", f"{pod.namespace}/{pod.name}", f"--to={peer.ip}:80", "--uid=1000", "-o", "json")
    assert explained["verdict"] == "redirect" and "istio-init" in explained["because"]

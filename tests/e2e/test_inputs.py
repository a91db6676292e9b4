# SPDX-License-Identifier: Apache-2.0
"""Bad input: the mesh's own words in `weir pods`, once in the log, in a metric; the last good policy stays; who is refused its traffic.

The texts of every annotation are the unit tests' business (tests/unit/test_annotations.c, test_policy*.c).
"""

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

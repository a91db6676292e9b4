# SPDX-License-Identifier: Apache-2.0
"""`weir explain` says what the kernel does: the table of outcomes once more, asked instead of tried; and what it says when asked wrongly."""

import json

import pytest

from lab import Lab
from lab.agent import directories
from lab.command import PROBE, WEIR, run
from support import dual_stack, mesh_pod, plain_pod, start_proxy, wait_state
from test_outcomes import ROWS, World, families


@pytest.fixture(scope="module")
def world():
    with Lab("explain") as lab:
        lab.agent()
        made = World(lab, "weir")
        made.lab = lab
        wait_state(lab, made.pod.write(dual_stack(made.pod)))
        yield made


def explain(lab, pod, *args):
    return lab.weir("explain", f"{pod.namespace}/{pod.name}", *args, "-o", "json")


def question(world: World, row, family):
    """The row's connection as options of `weir explain`."""
    if row.outside:
        return [f"--inbound={row.to.rpartition(':')[2]}", f"--from={world.real('PEER', family).strip('[]')}"]
    options = [f"--to={world.real(row.to, family)}", f"--uid={row.uid}", f"--gid={row.uid if row.gid is None else row.gid}"]
    return options + ([f"--from={world.real(row.bind, family).strip('[]')}"] if row.bind else [])


def outcome(world, row, family):
    """Verdict and place; that nobody listens where a direct connection goes is not weir's decision."""
    if row.lands not in ("15001", "15006"):
        return "direct", world.real(row.to, family)
    return "redirect", world.real(f"POD:{row.lands}" if row.outside else row.local, family)


CASES = [pytest.param(row, family, id=f"{row}-ipv{family}") for row in ROWS for family in families(row) if family != "mapped"]


@pytest.mark.parametrize("row,family", CASES)
def test_row(world, row, family):
    answer = explain(world.lab, world.pod, *question(world, row, family))
    assert (answer["verdict"], answer["to"]) == outcome(world, row, family)
    assert answer["reason"] and answer["because"]


def test_it_works_without_an_agent():
    """The pinned maps know; the answers are the same."""
    with Lab("explainalone") as lab:
        agent = lab.agent()
        pod = mesh_pod(lab)
        start_proxy(pod)
        questions = [["--to=192.0.2.1:80"], ["--to=192.0.2.1:80", "--uid=1337"], ["--inbound=8080"], ["--inbound=15020"], ["--to=[2001:db8::1]:80"]]
        before = [explain(lab, pod, *options) for options in questions]
        agent.stop()
        assert [explain(lab, pod, *options) for options in questions] == before
        assert [answer["verdict"] for answer in before] == ["redirect", "direct", "redirect", "direct", "redirect"]


def test_the_proxys_absence_is_part_of_the_answer(world):
    pod = mesh_pod(world.lab)

    def now():
        return [(answer["verdict"], answer["reason"]) for answer in (explain(world.lab, pod, "--to=192.0.2.1:80"), explain(world.lab, pod, "--inbound=80"))]

    assert now() == [("refuse", "before_proxy")] * 2
    proxy = start_proxy(pod)
    assert now() == [("redirect", "all_included")] * 2
    proxy.stop()
    assert now() == [("refuse", "proxy_down")] * 2


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("policy", ["refuse", "direct"])
def test_lookups_without_a_responder(world, policy, proto):
    """Who answers name lookups is looked for where lookups are sent, before it was there, while it is, and afterwards."""
    pod = mesh_pod(world.lab, annotations={"weir.io/before-proxy": policy}, proxy_env={"ISTIO_META_DNS_CAPTURE": "true"})

    def now():
        answer = explain(world.lab, pod, "--to=192.0.2.1:53", f"--proto={proto}")
        return answer["verdict"], answer["to"], answer["reason"]

    assert now() == (policy, "127.0.0.1:15053" if policy == "refuse" else "192.0.2.1:53", "before_proxy")
    responder = pod.serve("127.0.0.1:15053", options=["--udp=127.0.0.1:15053"], uid=1337, container="istio-proxy")
    assert now() == ("redirect", "127.0.0.1:15053", "dns")
    pod.run([PROBE, "batch", "--timeout=5"], stdin="udp 1000 1000 - - 192.0.2.1:53\n")
    responder.stop()
    assert now() == ("refuse", "127.0.0.1:15053", "proxy_down")


ANNOTATIONS = {
    "traffic.sidecar.istio.io/excludeOutboundPorts": ("443", ["--to=192.0.2.1:443"], "direct"),
    "traffic.sidecar.istio.io/includeOutboundPorts": ("443", ["--to=192.0.2.1:443"], "redirect"),
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": ("192.0.2.0/24", ["--to=192.0.2.1:443"], "direct"),
    "traffic.sidecar.istio.io/includeOutboundIPRanges": ("192.0.2.0/24", ["--to=192.0.2.1:443"], "redirect"),
    "traffic.sidecar.istio.io/excludeInboundPorts": ("8080", ["--inbound=8080"], "direct"),
    "traffic.sidecar.istio.io/includeInboundPorts": ("8080", ["--inbound=8080"], "redirect"),
}


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_the_annotation_behind_an_answer_is_named(world, annotation):
    value, options, verdict = ANNOTATIONS[annotation]
    pod = mesh_pod(world.lab, annotations={annotation: value})
    start_proxy(pod)
    answer = explain(world.lab, pod, *options)
    assert answer["verdict"] == verdict
    assert annotation in answer["because"]


def test_what_is_not_captured_is_said(world):
    pod = plain_pod(world.lab)
    wait_state(world.lab, pod.write(), "not_captured")
    for options in (["--to=192.0.2.1:80"], ["--inbound=80"]):
        answer = explain(world.lab, pod, *options)
        assert (answer["verdict"], answer["reason"]) == ("direct", "not_captured")


def test_udp_is_direct(world):
    answer = explain(world.lab, world.pod, "--to=192.0.2.1:53", "--proto=udp")
    assert (answer["verdict"], answer["reason"]) == ("direct", "not_tcp")


def test_the_text_says_the_same_as_the_json(world):
    text = world.lab.weir("explain", f"default/{world.pod.name}", "--to=192.0.2.1:80").stdout
    answer = explain(world.lab, world.pod, "--to=192.0.2.1:80")
    assert answer["to"] in text and answer["reason"] in text and answer["because"] in text


def batch(world, lines, *options, check=True):
    return run(WEIR, "explain", *directories(world.lab), "--batch", *options, stdin="".join(f"{line}\n" for line in lines), check=check)


def test_a_batch_gives_the_same_answers(world):
    """The pod named once or on each line; blank lines are no questions."""
    pod = f"default/{world.pod.name}"
    questions = [["--to=192.0.2.1:80", "--uid=1337"], ["--inbound=8080"], ["--to=[2001:db8::1]:53", "--proto=udp"]]
    single = [explain(world.lab, world.pod, *options) for options in questions]
    for lines, more in (([" ".join(options) for options in questions], [pod]), ([f"  {pod}  {' '.join(options)}\n" for options in questions], [])):
        answers = batch(world, lines, *more, "-o", "json").stdout.splitlines()
        assert [json.loads(line) for line in answers] == single
    text = batch(world, [" ".join(options) for options in questions], pod).stdout.split("\n\n")
    assert [one.strip() for one in text if one] == [world.lab.weir("explain", pod, *options).stdout.strip() for options in questions]


@pytest.mark.parametrize("line,status", [("--to=nowhere", 64), ("--surplus", 64), ("--batch", 64), ("--help", 64), ("", 0), ("default/other", 64)])
def test_a_wrong_line_ends_a_batch(world, line, status):
    """What was answered before stands; the message says which line it was."""
    done = batch(world, ["--to=192.0.2.1:80", line], f"default/{world.pod.name}", "-o", "json", check=False)
    assert done.returncode == status and len(done.stdout.splitlines()) == 1
    assert not status or (done.stderr.startswith("weir explain: line 2: ") and len(done.stderr.splitlines()) == 1)


def test_a_pod_that_is_unknown_ends_a_batch(world):
    done = batch(world, ["default/nobody --inbound=80", f"default/{world.pod.name} --inbound=80"], check=False)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("weir explain: line 1: no pod default/nobody")


def test_which_of_several_addresses_is_dialled(world):
    answer = explain(world.lab, world.pod, f"--inbound=[{world.pod.ipv6}]:8080")
    assert (answer["verdict"], answer["to"]) == ("redirect", f"[{world.pod.ipv6}]:15006")


def test_what_the_pod_forwards_passes(world):
    """From an interface that nobody calls virtual; what is for the pod's own address is inbound."""
    answer = explain(world.lab, world.pod, "--to=192.0.2.1:80", "--interface=tap0")
    assert (answer["verdict"], answer["reason"]) == ("direct", "forwarded")
    answer = explain(world.lab, world.pod, f"--to={world.pod.ip}:8080", "--interface=tap0")
    assert (answer["verdict"], answer["direction"], answer["to"]) == ("redirect", "inbound", f"{world.pod.ip}:15006")


def test_an_unknown_pod_is_an_error(world):
    done = world.lab.weir("explain", "default/nobody", "--to=192.0.2.1:80", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "no pod default/nobody" in done.stderr and len(done.stderr.strip().splitlines()) == 1


WRONG = [[], ["--to=192.0.2.1"], ["--to=192.0.2.1:99999"], ["--to=192.0.2.1:0"], ["--to=example.com:80"], ["--to=192.0.2.1:80", "--inbound=80"],
         ["--inbound=x"], ["--inbound=70000"], ["--inbound=10.0.0.1:0"], ["--inbound=10.0.0.1:80", "--from=::1"], ["--inbound=::1"],
         ["--to=192.0.2.1:80", "--batch"], ["--to=192.0.2.1:80", "--uid=root"], ["--to=192.0.2.1:80", "--gid=-1"], ["--to=192.0.2.1:80", "--proto=sctp"],
         ["--to=192.0.2.1:80", "--from=nowhere"], ["--to=192.0.2.1:80", "--from=::1"], ["--to=192.0.2.1:80", "-o", "yaml"], ["--surplus"]]


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_wrong_options_are_an_error(world, options):
    done = world.lab.weir("explain", f"default/{world.pod.name}", *options, check=False)
    assert done.returncode not in (0, 1) and done.stdout == ""
    assert "weir explain" in done.stderr


@pytest.mark.parametrize("name", ["nobody", "/", "a/b/c", "", "default/"])
def test_a_pod_is_named_by_namespace_and_name(world, name):
    done = world.lab.weir("explain", name, "--to=192.0.2.1:80", check=False)
    assert done.returncode != 0 and "NAMESPACE/POD" in done.stderr


def test_a_place_without_weir_is_an_error(world):
    done = world.lab.weir("explain", "default/x", "--to=192.0.2.1:80", "--bpf-dir=/sys/fs/bpf/nowhere", "--run-dir=/run/nowhere", check=False)
    assert done.returncode == 1 and "/sys/fs/bpf/nowhere" in done.stderr

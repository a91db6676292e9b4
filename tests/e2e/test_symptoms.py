# SPDX-License-Identifier: Apache-2.0
"""What the page of symptoms and the page on migration show is what the programs print: each call is made again where things stand so."""

import re

from lab import cgroup, iptables
from lab.command import ROOT, WEIR, run
from support import start_proxy, wait_state
from test_outcomes import BASIC

ISTIO = "traffic.sidecar.istio.io"
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("TROUBLESHOOTING", "MIGRATION")]
# What stands in a table by itself is not what is told: pods are found by their files in a lab, and have two addresses.
ANY = {"cni", "process", "file"}


def transcripts():
    """{a call of weir: what each of the pages' blocks with it shows}; blocks are indented by four."""
    found = {}
    for page in PAGES:
        for block in re.findall(r"(?:^    .*\n)+", page.read_text(), re.M):
            call = None
            for line in block.splitlines():
                line = line[4:]
                if line.startswith("$ "):
                    call = found.setdefault(line.removeprefix("$ weir "), [])
                    call.append([])
                elif call is not None:
                    call[-1].append(line)
    return found


SHOWN = transcripts()


def words(line):
    """A line as it is compared: columns may be wider, an address has a second one beside it."""
    return [word.split(",fd00")[0] for word in line.split()]


def is_shown(told, line):
    """`...` at the end of what is shown stands for the rest."""
    told, line = words(told), words(line)
    if told and told[-1].endswith("..."):
        told[-1] = told[-1][:-3]
        told = [word for word in told if word]
        line = line[:len(told)]
    return len(told) == len(line) and all(a == b or {a, b} <= ANY for a, b in zip(told, line))


def compare(lab, call, printed):
    """Each line that is shown is printed, in that order; paths of the lab read as on a node."""
    texts = SHOWN.pop(call)
    for path, said in ((lab.bpf_dir, "/sys/fs/bpf/weir"), (lab.run_dir, "/run/weir"), (lab.work / "net.d", "/etc/cni/net.d")):
        printed = printed.replace(str(path), said)
    lines = printed.splitlines()
    for text in texts:
        at = iter(lines)
        for told in text:
            assert told.strip() == "..." or any(is_shown(told, line) for line in at), f"weir {call} does not print: {told}\n{printed}"


def ask(lab, *calls):
    for call in calls:
        done = lab.weir(*call.split(), check=False)
        compare(lab, call, done.stdout + done.stderr)


def cart(lab):
    pod = lab.pod("cart", namespace="shop", ip="10.244.0.10", mesh="istio", annotations={f"{ISTIO}/excludeOutboundPorts": "3306"})
    return wait_state(lab, pod.write())


def test_explain_shows_what_is_shown(lab, agent):
    pod = cart(lab)
    ask(lab, "explain shop/cart --to=10.96.0.10:80 --uid=1000", "explain shop/none --to=10.96.0.10:80")
    start_proxy(pod)
    ask(lab, "explain shop/cart --to=10.96.0.1:3306", "explain shop/cart --to=10.96.0.10:80 --uid=1337", "explain shop/cart --inbound=8080")


def test_pods_shows_what_is_shown(lab, agent):
    old = lab.pod("old", namespace="shop", ip="10.244.0.12", mesh="istio")
    iptables.load(old, BASIC)
    wait_state(lab, old.write(), "not_captured")
    web = lab.pod("web", namespace="shop", ip="10.244.0.10", mesh="istio", annotations={f"{ISTIO}/excludeInboundPorts": "eighty"})
    wait_state(lab, web.write(), "failed")
    ask(lab, "pods")


def test_without_an_agent(lab, agent):
    cart(lab)
    agent.stop()
    done = lab.weir("check", check=False)
    for line in ("agent", "× the agent is not running", "    start it: known pods stay diverted, new ones wait for it"):
        assert f"    {line}\n" in PAGES[0].read_text() and line in done.stdout.splitlines()
    ask(lab, "status")
    first = lab.weir("cleanup").stdout
    again = lab.weir("cleanup").stdout
    detached, nothing = SHOWN["cleanup"]
    SHOWN["cleanup"] = [detached]
    compare(lab, "cleanup", first)
    SHOWN["cleanup"] = [nothing]
    compare(lab, "cleanup", again)


def test_the_installer_alone(lab):
    folder = lab.work / "net.d"
    folder.mkdir()
    call = "install-cni --check --cni-conf-dir=/etc/cni/net.d"
    done = run(WEIR, *call.replace("/etc/cni/net.d", str(folder)).split(), check=False)
    assert done.returncode != 0
    compare(lab, call, done.stdout + done.stderr)


def cannot_start(lab, tree, bpf_dir):
    """What an agent says on a node with this tree of cgroups."""
    script = 'mount --bind "$0" "$1" && shift && exec "$@"'
    argv = [WEIR, "agent", f"--bpf-dir={bpf_dir}", f"--run-dir={lab.run_dir}", f"--pods-dir={lab.pods_dir}", f"--state-dir={lab.state_dir}"]
    done = run("timeout", 20, "unshare", "--mount", "sh", "-c", script, tree, cgroup.mount_point(), *argv, check=False)
    assert done.returncode == 1, done.stderr
    return re.search("level=error .*", done.stderr)[0].replace(str(bpf_dir), "/sys/fs/bpf/weir")


def test_an_agent_that_cannot_start(lab):
    text = PAGES[0].read_text()
    assert f"    {cannot_start(lab, lab.outside_cgroup, lab.bpf_dir)}\n" in text
    assert f"    {cannot_start(lab, lab.cgroup_root.parent, '/tmp/weir')}\n" in text


def test_every_transcript_is_compared():
    """By its command: one that is added needs its test."""
    source = open(__file__, encoding="utf-8").read()
    for call in transcripts():
        assert f'"{call}"' in source, f"no test makes the call: weir {call}"

# SPDX-License-Identifier: Apache-2.0
"""Tables that an earlier agent left with another size or layout: no figure is lost, or the agent says what stands in the way."""

import json
import signal

import pytest

from books import FIELDS, books, flow, metrics, mirrored, pod_of, settled
from datagrams import TOOLS as DATAGRAM_TOOLS
from datagrams import figures
from datagrams import wanted as datagrams
from lab import Lab
from lab.agent import total
from lab.command import run
from support import BPFTOOL, Shell, compile_bpf, entries

KEY, VALUE, UDP_VALUE = 24, 352, 64  # bytes of struct weir_flow_key, struct weir_flow and struct weir_udp_flow
FLOWS, UDP_FLOWS = 6, 12  # of enum weir_counter: how many the hooks have made, by which they keep to the limit


def scan(client, server, ports):
    return client.connect(*[f"{server.ip}:{port}" for port in ports], options=["--send=100"])


def room(lab):
    return int(total(metrics(lab), "weir_map_max_entries", map="weir_flows"))


def sums(lab):
    """All figures of all workloads that only grow."""
    now = metrics(lab)
    return {name: total(now, name) for field, name in FIELDS.items() if field != "open"}


def raw(lab, name):
    """[(key, value)] as bytes, as the kernel has them."""
    dump = json.loads(run(BPFTOOL, "-j", "map", "dump", "pinned", lab.bpf_dir / name).stdout)
    return [tuple(bytes(int(byte, 16) for byte in item[part]) for part in ("key", "value")) for item in dump]


def counter(lab, index):
    return int.from_bytes(dict(raw(lab, "weir_counters"))[index.to_bytes(4, "little")], "little")


def counted(lab, name="weir_flows"):
    """Those that are there, without each workload's places for what does not fit (WEIR_ID_OTHER)."""
    return sum(int.from_bytes(key[4:8], "little") != 5 for key, _ in raw(lab, name))


def make_flows(lab, name, value_size, rows, entries=65536):
    path = lab.bpf_dir / name
    run(BPFTOOL, "map", "create", path, "type", "hash", "key", KEY, "value", value_size, "entries", entries, "name", name[:15], "flags", 1)
    for key, value in rows:
        run(BPFTOOL, "map", "update", "pinned", path, "key", "hex", *key.hex(" ").split(), "value", "hex", *value[:value_size].hex(" ").split())


def copy_aside(lab, name="weir_flows", value_size=VALUE):
    """As if all that was counted so far had been counted in the table that is set aside as well."""
    make_flows(lab, f"{name}_old", value_size, raw(lab, name))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_table_that_is_to_be_larger_keeps_its_figures(end):
    """--metrics.max-flows is raised, lowered, and left out, with connections that live all the while."""
    with Lab("resized") as lab:
        lab.agent("--metrics.max-flows=40")
        client, server = pod_of(lab, "scanner"), pod_of(lab, "scanned")
        server.serve(*[f"[::]:{port}" for port in range(1000, 1060)])
        server.serve("[::]:2000", mode="sink", options=["--no-greet"])
        answers = scan(client, server, range(1000, 1060))
        assert settled(lab, client, "outbound", 60) == books(answers)
        assert flow(lab, client, "outbound", peer_workload="other")["opened"] > 0
        small, made = room(lab), len(entries(lab, "weir_flows"))
        with Shell(client) as shell:
            shell(f"s = tcp(); s.connect(('{server.ip}', 2000)); s.sendall(b'x' * 70)")
            expected = books(answers, sent=6070, opened=61, open=1)
            assert flow(lab, client, "outbound") == expected
            before = sums(lab)
            lab.agents[-1].stop(end)
            shell("s.sendall(b'x' * 30)")
            lab.agent("--metrics.max-flows=1000")
            expected = {**expected, "sent": 6100}
            assert flow(lab, client, "outbound") == expected
            assert room(lab) == small + 960 and len(entries(lab, "weir_flows")) == made
            assert counter(lab, FLOWS) == counted(lab) == 40
            assert all(value >= before[name] for name, value in sums(lab).items())
            assert not (lab.bpf_dir / "weir_flows_old").exists()
            answers = [*answers, *scan(client, server, range(1000, 1060))]
            assert settled(lab, client, "outbound", 120)["opened"] == 121
            assert flow(lab, client, "outbound", port="1059")["opened"] >= 1  # has room of its own now
            lab.agents[-1].stop(end)
            lab.agent("--metrics.max-flows=50")  # the room that is there stays, and is not used for more
            expected = books(answers, sent=12100, opened=121, open=1)
            assert flow(lab, client, "outbound") == expected and room(lab) == small + 960
            lost = total(metrics(lab), "weir_flow_overflow_total")
            more = pod_of(lab, "more")
            answer = more.connect(f"{server.ip}:1001", options=["--send=5"])
            assert settled(lab, more, "outbound", 1, peer_workload="other", port="other") == books(answer)
            assert total(metrics(lab), "weir_flow_overflow_total") > lost
            lab.agents[-1].stop(end)
            lab.agent()
            assert flow(lab, client, "outbound") == expected and room(lab) == 65536
            shell("s.close()")
            assert settled(lab, client, "outbound", 121) == {**expected, "closed": 121, "open": 0}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_table_of_datagrams_keeps_its_figures(end):
    """The same for datagrams, with a socket that goes on sending while no agent runs; and where both tables have figures of one flow."""
    with Lab("resized-udp") as lab:
        lab.agent("--metrics.udp", "--metrics.max-flows=20")
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        with Shell(client, uid=0) as near, Shell(server, uid=0) as far:
            for shell in (near, far):
                shell(DATAGRAM_TOOLS)
            far("s = udp(AF_INET, 5000)")
            near(f"s, t = udp(), udp(); s.connect(('{server.ip}', 5000)); [s.send(bytes(100)) for _ in range(9)] and None")
            near(f"[t.sendto(bytes(10), ('{server.ip}', port)) for port in range(1000, 1040)] and None")
            far("echo(s, 3)")
            received = (3, 300)
            assert figures(lab, client, "outbound") == datagrams((49, 1300), received)
            assert figures(lab, client, "outbound", peer_workload="other")["sent_datagrams"] > 20
            small = total(metrics(lab), "weir_map_max_entries", map="weir_udp_flows")
            lab.agents[-1].stop(end)
            near("s.send(bytes(100))")
            lab.agent("--metrics.udp", "--metrics.max-flows=1000")
            near("s.send(bytes(100))")
            assert figures(lab, client, "outbound") == datagrams((51, 1500), received)
            assert total(metrics(lab), "weir_map_max_entries", map="weir_udp_flows") == small + 980
            assert counter(lab, UDP_FLOWS) == counted(lab, "weir_udp_flows")
            lab.agents[-1].stop(end)
            copy_aside(lab, "weir_udp_flows", UDP_VALUE)
            near("s.send(bytes(100))")
            lab.agent("--metrics.udp", "--metrics.max-flows=1000")
            assert figures(lab, client, "outbound") == datagrams((103, 3100), (6, 600))
            assert not (lab.bpf_dir / "weir_udp_flows_old").exists()


def test_an_agent_that_was_killed_in_between_is_carried_on_with():
    """The table is set aside and another agent comes: what the hooks went on counting there and what they count in the new one add up."""
    with Lab("torn") as lab:
        lab.agent()
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080")
        answers = [client.connect(f"{server.ip}:8080", options=["--send=100"])]
        settled(lab, client, "outbound", 1)
        lab.agents[-1].stop(signal.SIGKILL)
        (lab.bpf_dir / "weir_flows").rename(lab.bpf_dir / "weir_flows_old")
        answers.append(client.connect(f"{server.ip}:8080", options=["--send=1000"]))
        lab.agent()
        assert settled(lab, client, "outbound", 2) == books(answers)
        assert settled(lab, server, "inbound", 2) == mirrored(books(answers))
        # and where both have figures of the same flow
        lab.agents[-1].stop(signal.SIGKILL)
        assert counter(lab, FLOWS) == counted(lab) == 2
        copy_aside(lab)
        lab.agent()
        assert flow(lab, client, "outbound") == {field: 2 * value for field, value in books(answers).items()}


def test_a_table_whose_entries_were_smaller_keeps_its_figures():
    """A version that counted less: what it had goes on."""
    with Lab("grown") as lab:
        lab.agent()
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080")
        answer = client.connect(f"{server.ip}:8080", options=["--send=100"])
        settled(lab, client, "outbound", 1)
        lab.agents[-1].stop()
        rows = raw(lab, "weir_flows")
        (lab.bpf_dir / "weir_flows").unlink()
        make_flows(lab, "weir_flows", 160, rows)  # all but the histograms
        agent = lab.agent()
        assert flow(lab, client, "outbound") == books(answer)
        late = client.connect(f"{server.ip}:8080", options=["--send=100"])
        assert settled(lab, client, "outbound", 2) == books([answer, late])
        agent.stop()


def test_another_layout_is_refused_and_named():
    """The agent names the table, changes nothing, and leaves what runs as it is."""
    with Lab("foreign") as lab:
        run(BPFTOOL, "map", "create", lab.bpf_dir / "weir_verdicts", "type", "hash", "key", 16, "value", 16, "entries", 100, "name", "weir_verdicts", "flags", 1)
        agent = lab.agent(wait=False)
        assert agent.process.wait(20) != 0
        assert "weir_verdicts is pinned by another version of weir with another layout" in agent.stderr()
        assert "16 and 16 bytes, not 16 and 8" in agent.stderr() and "weir cleanup" in agent.stderr()
        assert [pin.name for pin in lab.bpf_dir.iterdir() if pin.is_file()] == ["weir_verdicts"]


VERDICTS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct key { __u32 workload; %s; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 100); __uint(map_flags, 1); __type(key, struct key); __type(value, __u64); } weir_verdicts SEC(".maps");
SEC("socket") int uses(void *ctx) { struct key key = {}; return bpf_map_lookup_elem(&weir_verdicts, &key) != 0; }
"""


@pytest.mark.parametrize("members,differs", [("__u32 direction, verdict, reason", None), ("__u32 verdict, direction, reason", "verdict")])
def test_another_meaning_of_the_same_size_is_refused_and_named(members, differs):
    """What the kernel keeps of a table's types tells whether two fields have changed places."""
    with Lab("meaning") as lab:
        program = compile_bpf(lab.work, "verdicts", VERDICTS % members)
        run(BPFTOOL, "prog", "load", program, lab.bpf_dir / "uses", "pinmaps", lab.bpf_dir)
        (lab.bpf_dir / "uses").unlink()
        agent = lab.agent(wait=differs is None)
        if not differs:
            return
        assert agent.process.wait(20) != 0
        assert f"weir_verdicts is pinned by another version of weir with another layout ({differs} is not what or where it was)" in agent.stderr()
        assert [pin.name for pin in lab.bpf_dir.iterdir() if pin.is_file()] == ["weir_verdicts"]


def test_other_tables_keep_the_size_that_they_have():
    with Lab("other-sizes") as lab:
        run(BPFTOOL, "map", "create", lab.bpf_dir / "weir_verdicts", "type", "hash", "key", 16, "value", 8, "entries", 100, "name", "weir_verdicts", "flags", 1)
        lab.agent()
        assert total(metrics(lab), "weir_map_max_entries", map="weir_verdicts") == 100

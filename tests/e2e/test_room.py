# SPDX-License-Identifier: Apache-2.0
"""The tables of the metrics are full of what departed workloads have left: it is kept for those who scrape, and freed where nobody does."""

import struct

import pytest

from books import metrics, pod_of, settled
from lab import Lab
from lab.agent import total
from lab.command import BUILD, run, wait_until
from support import BPFTOOL, entries

ROOM = 1 + 8192  # of weir_flows with --metrics.max-flows=1: WEIR_FLOWS_RESERVED
OTHER_PEER, OTHER_PORT = 5, 0x10001  # WEIR_ID_OTHER, WEIR_PORT_OTHER
DEPARTED = range(1000, 1000 + ROOM // 6 + 1)  # ids of workloads; each has six places
PLACES = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 3))  # direction, via


def row(workload, direction, via, port=OTHER_PORT):
    """bpftool's words for a flow with three connections, all ended."""
    key = struct.pack("=6I", workload, OTHER_PEER, 0, port, direction, via)
    value = struct.pack("=4Q", 100, 200, 3, 3).ljust(352, b"\0")
    return f"key hex {key.hex(' ')} value hex {value.hex(' ')}"


def fill(lab):
    """As after months without a scrape; the last row finds no room."""
    rows = [f"map update pinned {lab.bpf_dir / 'weir_flows'} {row(workload, *place)}\n" for workload in DEPARTED for place in PLACES]
    batch = lab.work / "rows"
    batch.write_text("".join(rows))
    run(BPFTOOL, "batch", "file", batch, check=False)
    assert len(entries(lab, "weir_flows")) == ROOM


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """A node whose agent has small tables and a clock that can be put forward."""
    monkeypatch.setenv("LATER", str(tmp_path / "later"))
    monkeypatch.setenv("LD_PRELOAD", str(BUILD / "tests" / "later.so"))
    with Lab("room") as node:
        node.agent("--metrics.max-flows=1", "--map-size=weir_verdicts=16", "--map-size=weir_flow_ports=16")
        monkeypatch.delenv("LD_PRELOAD")
        node.later = tmp_path / "later"
        yield node


@pytest.fixture
def lab(empty):
    fill(empty)
    return empty


def test_kept_for_those_who_may_scrape(lab):
    """Not ten minutes have gone by, nor has anybody got the figures: a new workload has no room, and that is told."""
    server, client = pod_of(lab, "server"), pod_of(lab, "client")
    server.serve("[::]:8080")
    assert client.connect(f"{server.ip}:8080")["ok"]
    assert len(entries(lab, "weir_flows")) == ROOM
    assert total(metrics(lab), "weir_flow_overflow_total") > 0


def test_freed_where_nobody_scrapes(lab):
    """Ten minutes without a scrape, and a new workload needs the room."""
    lab.later.touch()
    server, client = pod_of(lab, "server"), pod_of(lab, "client")
    wait_until(lambda: len(entries(lab, "weir_flows")) < ROOM / 2, "departed workloads to be freed")
    wait_until(lambda: len(entries(lab, "weir_flows")) >= 2 * len(PLACES), "the places of the new ones")
    assert "nobody scrapes" in lab.agents[-1].stderr()
    server.serve("[::]:8080")
    assert client.connect(f"{server.ip}:8080")["ok"]
    assert settled(lab, client, "outbound", 1)["opened"] == settled(lab, server, "inbound", 1)["opened"] == 1
    assert total(metrics(lab), "weir_tcp_connections_opened_total", peer_workload="other", workload="unknown") == 0


def test_verdicts_need_room_as_well(empty):
    """They lie in a table of their own, which may be full before that of the flows."""
    for workload in DEPARTED[:16]:
        key = struct.pack("=4I", workload, 0, 0, 0).hex(" ").split()
        run(BPFTOOL, "map", "update", "pinned", empty.bpf_dir / "weir_verdicts", "key", "hex", *key, "value", "hex", *["01"] * 8)
    assert len(entries(empty, "weir_verdicts")) == 16
    empty.later.touch()
    pod_of(empty, "new", mesh="istio")
    wait_until(lambda: not entries(empty, "weir_verdicts"), "verdicts of departed workloads to be freed")


def test_ports_need_room_as_well(empty):
    """They go with the flows that bear them."""
    batch, pinned = empty.work / "rows", f"map update pinned {empty.bpf_dir}"
    rows = []
    for workload in DEPARTED[:8]:
        rows.append(f"{pinned}/weir_flows {row(workload, 0, 0, port=7777)}\n")
        for key in (struct.pack("=I2H", workload, 0, port) for port in (0, 7777)):  # how many, and which
            rows.append(f"{pinned}/weir_flow_ports key hex {key.hex(' ')} value hex {struct.pack('=Q', 1).hex(' ')}\n")
    batch.write_text("".join(rows))
    run(BPFTOOL, "batch", "file", batch)
    assert len(entries(empty, "weir_flow_ports")) == 16
    empty.later.touch()
    pod_of(empty, "new")
    wait_until(lambda: not entries(empty, "weir_flow_ports"), "ports of departed workloads to be freed")

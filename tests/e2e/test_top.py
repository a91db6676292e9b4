# SPDX-License-Identifier: Apache-2.0
"""weir top: rates compared with what was sent, in batch mode and on a terminal of 80x24 that a test looks at."""

import fcntl
import json
import os
import pty
import re
import secrets
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from books import pod_of
from lab import Lab
from lab.agent import directories, known
from lab.command import WEIR, run, wait_until
from support import Shell, wait_state

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@pytest.fixture(scope="module")
def pair(node):
    """A client that sends to a server all the while, about 200 KB a second, and opens twenty connections a second."""
    client, server = pod_of(node, "client"), pod_of(node, "server")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    code = (f"import socket, time\na = ('{server.ip}', 8080)\ns = socket.create_connection(a)\n"
            "while True:\n s.sendall(b'x' * 10000)\n c = socket.create_connection(a)\n c.close()\n time.sleep(.05)\n")
    process = client.popen(["/usr/bin/python3", "-c", code])
    yield client, server
    process.kill()
    process.wait()


def number(text):
    found = re.fullmatch(r"([\d.]+)([KMG]?)", text)
    return float(found[1]) * SIZES[found[2]]


def rows_of(text):
    """{first word: the other words} of a table under its three lines of head."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()[4:] if line.strip()}


def batch(lab, *argv):
    return lab.weir("top", "-b", "-n", "1", "-d", "1", *argv).stdout


@pytest.mark.parametrize("view", ["workloads", "pods"])
def test_rates_of_workloads_and_pods(node, pair, view):
    text = batch(node, f"--view={view}")
    lines = text.splitlines()
    assert lines[0].startswith("weir top - ") and f" {view} by bytes" in lines[0] and max(map(len, lines)) <= 80
    rows = rows_of(text)
    sent, received, conns, opened = rows["default/client"][:4]
    assert 20e3 < number(sent) < 2e6 and number(received) < 1000 and float(opened) >= 1
    assert 20e3 < number(rows["default/server"][1]) < 2e6
    assert float(conns) > (1 if view == "workloads" else -1)
    assert rows["default/client"][5] != "-"  # a round-trip time


def added_up(lab, view, names, do, want):
    """What the tables from the second on tell of these rows, times their intervals, until it is as much as wanted: (bytes sent, opened, failed)."""
    top = subprocess.Popen([WEIR, "top", *directories(lab), "-o", "json", "-n", "60", "-d", "0.3", f"--view={view}"], stdout=subprocess.PIPE, text=True)
    sums = [0, 0, 0]
    top.stdout.readline()
    do()
    for line in top.stdout:
        table = json.loads(line)
        for row in table["rows"]:
            if row["name"] in names:
                for i, field in enumerate(("sent_bytes", "opened", "failed")):
                    sums[i] += row[f"{field}_per_second"] * table["interval_seconds"]
        if tuple(map(round, sums)) == want:
            break
    top.kill()
    top.wait()
    top.stdout.close()
    return tuple(map(round, sums))


def test_what_lives_between_two_tables(node):
    """Of a workload, of its edges, and of a pod that is its only one here; of pods that share a workload it cannot be told whose it was."""
    server, alone = pod_of(node, "between-server"), pod_of(node, "between")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    short = (f"import socket\nfor i in range(20):\n with socket.create_connection(('{server.ip}', 8080)) as s: s.sendall(b'x' * 10000)\n"
             f"s = socket.socket()\ns.connect_ex(('{server.ip}', 1))\n")

    def dial():
        alone.popen(["/usr/bin/python3", "-c", short]).wait()

    for view in ("workloads", "edges", "pods"):
        assert added_up(node, view, {"default/between"}, dial, (200000, 20, 1)) == (200000, 20, 1)
    second = node.pod("between-2", owner="Deployment/between")
    wait_state(node, second.write(), "not_captured")
    assert added_up(node, "workloads", {"default/between"}, dial, (200000, 20, 1)) == (200000, 20, 1)
    second.delete()
    wait_until(lambda: known(node, second) is None, "the second pod to be let go")
    assert added_up(node, "pods", {"default/between"}, dial, (200000, 20, 1)) == (200000, 20, 1)


def test_rates_of_edges_and_connections(node, pair):
    text = batch(node, "--view=edges")
    edges = {line.split()[1]: line.split() for line in text.splitlines()[4:]}
    for direction, workload, peer in (("out", "client", "server:8080"), ("in", "server", "client:8080")):
        row = edges[direction]
        assert row[0].startswith("def") and row[0].endswith(workload[-2:]) and row[2].startswith("def") and row[2].endswith(peer[-5:])
        assert number(row[3 if direction == "out" else 4]) > 20e3 and row[-1] == "direct"
    text = batch(node, "--view=conn", "--sort=sent", "--filter=default/client")
    line = text.splitlines()[4].split()
    assert line[:2] == ["default/client", "out"] and line[2] == "default/server:8080" and number(line[3]) > 20e3


def test_names_as_long_as_they_are_and_idle_ones_left_out(node, pair):
    idle = pod_of(node, "a-pod-with-a-long-name-of-which-nothing-is-to-be-lost-when-a-script-reads-it")
    with Shell(idle) as shell:
        shell(f"s = tcp(); s.connect(('{pair[1].ip}', 8080))")
        assert "~" in batch(node, "--view=edges", "--filter=a-pod-with")
        assert f"default/{idle.name}   out   default/server:8080" in batch(node, "--view=edges", "--filter=a-pod-with", "-w")
        assert "a-pod-with" not in batch(node, "--view=edges", "-i", "-w") and "default/client" in batch(node, "--view=edges", "-i", "-w")


def test_batch_tables_follow_each_other_and_end(node, pair):
    began = time.monotonic()
    text = node.weir("top", "-b", "-n", "3", "-d", "0.2", "--filter=default/client").stdout
    assert text.count("weir top - ") == 3 and text.count("default/client") >= 3 and "default/server" not in text
    assert time.monotonic() - began > 0.6


def test_for_machines(node, pair):
    """One object a table, one table unless more are asked for; every view, with the members that it has."""
    for view in ("workloads", "pods", "edges", "connections"):
        answer = node.weir("top", "-o", "json", "-d", "1", f"--view={view}", "--sort=sent")
        assert answer["view"] == view and answer["sort"] == "sent" and answer["reverse"] is False and 0.9 < answer["interval_seconds"] < 10
        row = next(row for row in answer["rows"] if row["name"] == "default/client" and row["sent_bytes_per_second"] > 20e3)
        assert row["received_bytes_per_second"] < 1000 and 0 < row["rtt_seconds"] < 1 and row["retransmitted_segments_per_second"] >= 0
        assert ("open" in row) == ("opened_per_second" in row) == (view != "connections")
        if view in ("edges", "connections"):
            assert (row["direction"], row["peer"], row["protocol"], row["via"]) == ("outbound", "default/server:8080", "tcp", "direct")
    lines = node.weir("top", "-n", "3", "-d", "0.2", "-o=json", "--filter=nothing").stdout.splitlines()
    assert [json.loads(line)["rows"] for line in lines] == [[]] * 3


def test_no_agent_is_needed():
    """The pinned iterator folds what live connections have counted."""
    with Lab("top-alone") as lab:
        agent = lab.agent()
        client, server = pod_of(lab, "client"), pod_of(lab, "server")
        server.serve("[::]:8080", mode="sink", options=["--no-greet"])
        agent.stop(signal.SIGKILL)
        with Shell(client) as shell:
            shell(f"s = tcp(); s.connect(('{server.ip}', 8080))")
            top = subprocess.Popen([WEIR, "top", *directories(lab), "-b", "-n", "1", "-d", "2"], stdout=subprocess.PIPE, text=True)
            time.sleep(1)
            shell("s.sendall(b'x' * 1000000)")
            assert number(rows_of(top.communicate(timeout=20)[0])["default/client"][0]) > 200e3


@pytest.mark.parametrize("argv,text", [(["--view=nonsense"], "workloads, pods, edges"), (["--sort=x"], "not a column"), (["-d", "0"], "seconds"),
                                       (["-o", "yaml"], "json"), ([], "give -b")])
def test_wrong_options(argv, text):
    done = run(WEIR, "top", *argv, check=False)
    assert done.returncode and text in done.stderr and len(done.stderr.splitlines()) == 1


# -- on a terminal ---------------------------------------------------------------------------------------------------------

class Terminal:
    """tmux, as a terminal whose screen can be read."""

    def __init__(self, lab, *argv, size=(80, 24)):
        self.socket = f"{lab.prefix}-{secrets.token_hex(3)}"
        command = " ".join(map(str, [WEIR, "top", *directories(lab), *argv]))
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", size[0], "-y", size[1], f"{command}; echo status $?; exec sleep 60")

    def _tmux(self, *argv):
        return run("tmux", "-L", self.socket, *argv)

    def keys(self, *keys):
        self._tmux("send-keys", *keys)

    def screen(self):
        return self._tmux("capture-pane", "-p").stdout.splitlines()

    def wait(self, text, timeout=15):
        wait_until(lambda: any(re.search(text, line) for line in self.screen()), f"{text!r} on the screen of\n{self.screen()}", timeout, 0.1)
        return self.screen()

    def resize(self, columns, lines):
        self._tmux("resize-window", "-x", columns, "-y", lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._tmux("kill-server")


def test_keys(node, pair):
    with Terminal(node, "-d", "0.5") as terminal:
        screen = terminal.wait("default/client .*K")
        assert "workloads by bytes" in screen[0] and screen[3].startswith("WORKLOAD") and max(map(len, screen)) <= 80
        for key, view in (("2", "pods"), ("3", "edges"), ("4", "connections"), ("1", "workloads"), ("Tab", "pods")):
            terminal.keys(key)
            terminal.wait(f"{view} by bytes")
        terminal.keys("1", "N")
        terminal.wait("by name")
        terminal.keys("r")
        screen = terminal.wait("by name reversed")
        terminal.keys(">", ">")
        terminal.wait(r"by sent reversed")
        terminal.keys("r", "/")
        terminal.wait("only names with:")
        terminal.keys("server", "Enter")
        screen = terminal.wait("with server")
        assert not any("default/client" in line for line in screen) and any("default/server" in line for line in screen)
        terminal.keys("/", "Escape")
        terminal.wait("default/client")
        terminal.keys("h")
        terminal.wait("PgUp PgDn")
        terminal.keys("x", "i")
        terminal.wait("active workloads by")
        terminal.keys("/")
        terminal.keys("client", "Enter")
        terminal.wait("with client")
        terminal.keys("=")
        screen = terminal.wait(r"\d workloads by")
        assert "active" not in screen[0] and "with" not in screen[0]
        terminal.keys("p")
        screen = terminal.wait("paused: p goes on")
        time.sleep(1.2)
        assert terminal.screen()[0] == screen[0]  # with its clock
        terminal.keys("Enter")
        wait_until(lambda: terminal.screen()[0] != screen[0], "a look while it pauses")
        terminal.keys("p", "End", "Home", "C-l", "d")
        terminal.wait("seconds:")
        terminal.keys("7", "Enter", "h")
        terminal.wait("every 7.0 s")
        terminal.keys("x", "q")
        terminal.wait("status 0")


def test_another_size(node, pair):
    with Terminal(node, "-d", "0.3") as terminal:
        terminal.wait("default/client")
        for columns, lines in ((120, 40), (60, 10), (80, 24), (20, 3)):
            terminal.resize(columns, lines)
            wait_until(lambda: "weir" in terminal.screen()[0] and max(map(len, terminal.screen())) <= columns, f"{columns}x{lines}", 10, 0.1)
        terminal.resize(80, 24)
        terminal.wait("default/client .*K")
        terminal.keys("q")
        terminal.wait("status 0")


def test_names_that_terminals_would_obey(node):
    """Wide letters take two columns each and are not cut in the middle; escapes are not obeyed."""
    server = pod_of(node, "plain")
    server.serve("[::]:8080", mode="sink", options=["--no-greet"])
    names = "\u540d\u524d" * 12, "evil\x1b[31m\x07red", "\u00e9t\u00e9-" * 16
    pods = [wait_state(node, node.pod(f"odd-{i}", owner=f"Deployment/{name}").write(), "not_captured") for i, name in enumerate(names)]
    shells = [Shell(pod) for pod in pods]
    try:
        for shell in shells:
            shell(f"s = tcp(); s.connect(('{server.ip}', 8080)); s.sendall(b'x' * 1000)")
        with Terminal(node, "-d", "0.3", "--view=edges", "--filter=plain") as terminal:
            screen = [line for line in terminal.wait("out .*ain:8080") if ":8080" in line]
            assert any("[31m?red out" in line for line in screen) and any("\u540d" in line for line in screen)
            assert len(screen) == 6 and all(line.rstrip().endswith(" direct") for line in screen)
        text = batch(node, "--view=edges", "--filter=plain") + node.weir("conns").stdout
        assert "\x1b" not in text and "\x07" not in text and "~" in text
        rows = node.weir("conns", "-o", "json", "--pod=odd-*", "--sort=pod")["connections"]
        assert [row["workload"] for row in rows] == list(names)
    finally:
        for shell in shells:
            shell.close()


@pytest.mark.parametrize("how", ["q", signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back(node, how):
    """Its settings and its screen, whatever ends it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(slave)
    process = subprocess.Popen([WEIR, "top", *map(str, directories(node))], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"},
                               start_new_session=True)
    output = b""

    def read_until(what):
        nonlocal output
        deadline = time.monotonic() + 20
        while what not in output and time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                output += os.read(master, 65536)
        assert what in output, output[-500:]

    try:
        read_until(b"weir top")
        assert termios.tcgetattr(slave) != before
        if how == "q":
            os.write(master, b"q")
        else:
            process.send_signal(how)
        read_until(b"\x1b[?1049l")
        assert process.wait(10) == (0 if how in ("q", signal.SIGINT) else -how)
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_an_unknown_terminal_is_an_error(node):
    master, slave = pty.openpty()
    done = subprocess.run([WEIR, "top", *map(str, directories(node))], stdin=slave, stdout=slave, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "TERM": "nonsense"}, timeout=20, check=False)
    os.close(master)
    os.close(slave)
    assert done.returncode == 1 and "TERM" in done.stderr

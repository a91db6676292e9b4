# SPDX-License-Identifier: Apache-2.0
"""weir install-cni where things go wrong: killed at any moment, no room, two at once, a directory replaced under a container; and what is kept of files."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from lab.command import BUILD, run, wait_until
from test_install_cni import AWS, CALICO, FLANNEL, SINGLE, Host, host, rename_into_place, without_ours  # noqa: F401  (a fixture)

NAME = "10-calico.conflist"
HUGE = '{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "a", "n": [%s]}]}' % "12345678901234567890123, 1.10, 1E2, -0, 0.1000000000000000055"
# What no parser and printer would give back as it was.
TEXTS = {
    "numbers": HUGE,
    "spaces": '\n{"name" : "n","cniVersion":"0.4.0",\r\n\t"plugins":[\r\n\t{"type":"a" } ,{"type":"b"}\r\n\t] , "z":{}}\r\n\r\n',
    "one line": json.dumps(CALICO),
    "pretty": json.dumps(AWS, indent=4) + "\n",
    "escapes": '{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"a","c":"\\u00e4\\/ \\u0000 ä","weir-cni":"]"}],"plugin":"weir-cni"}',
    "twice": '{"name":"m","name":"n","cniVersion":"1.0.0","plugins":[],"plugins":[{"type":"a","x":1,"x":2}]}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_not_a_byte_of_others_changes(host, text):
    host.put(NAME, text)
    original = (host.conf / NAME).read_bytes()
    host.once()
    chained = (host.conf / NAME).read_bytes()
    begin = next(i for i, (a, b) in enumerate(zip(chained, original)) if a != b)
    added = len(chained) - len(original)
    assert chained[:begin] + chained[begin + added:] == original and host.types(NAME)[-1] == "weir-cni"
    run(*host.argv("--uninstall"))
    assert (host.conf / NAME).read_bytes() == original


def test_owner_mode_and_label_stay(host):
    host.put(NAME, CALICO)
    file = host.conf / NAME
    os.chown(file, 997, 998)
    os.chmod(file, 0o640)
    os.setxattr(file, "security.selinux", b"system_u:object_r:cni_conf_t:s0\0")
    for action in ("--once", "--uninstall"):
        run(*host.argv(action))
        stat = file.stat()
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (997, 998, 0o640)
        assert os.getxattr(file, "security.selinux") == b"system_u:object_r:cni_conf_t:s0\0"


def test_a_list_without_plugins_is_told(host):
    """No runtime takes it, whatever stands in it."""
    host.put("10-x.conflist", SINGLE)
    done = host.once(check=False)
    assert done.returncode == 1 and "10-x.conflist: it has no plugins" in done.stderr
    assert host.files() == ["10-x.conflist"]


def test_a_plugin_that_was_changed_in_the_chain_stays_so(host):
    """The former file says otherwise: it does not come back."""
    host.put("10-mynet.conf", SINGLE)
    host.once()
    changed = host.read("10-mynet.conflist")
    changed["plugins"][0]["bridge"] = "cni1"
    host.put("10-mynet.conflist", changed)
    run(*host.argv("--uninstall"))
    assert host.files() == ["10-mynet.conflist"] and host.read("10-mynet.conflist") == without_ours(changed)


def test_killed_at_any_moment(host):
    """At each of them the runtime finds a whole file, and the next run leaves nothing lying about."""
    numbers = random.Random(1)
    for i in range(60):
        conf = {**CALICO, "revision": i}
        rename_into_place(host.conf / NAME, json.dumps(conf)) if host.conf.exists() else host.put(NAME, conf)
        (host.bin / "weir-cni").unlink(missing_ok=True)
        process = subprocess.Popen(host.argv("--once"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(numbers.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert without_ours(host.read(NAME)) == conf
        assert "weir-cni" not in host.types(NAME) or (host.bin / "weir-cni").exists()
    host.once()
    assert host.types(NAME)[-1] == "weir-cni" and host.files() == [NAME]
    run(*host.argv("--uninstall"))
    assert list(host.bin.iterdir()) == []


def test_two_at_once(host):
    """Two releases, or an old pod that lingers: what the primary plugin writes is never lost, and the file is whole."""
    host.put(NAME, CALICO)
    with host.watching("--timeout-seconds=3") as one, host.watching("--timeout-seconds=4"):
        for i in range(100):
            rename_into_place(host.conf / NAME, json.dumps({**CALICO, "revision": i}))
            wait_until(lambda: "weir-cni" in host.types(NAME), "one of them")
            assert without_ours(host.read(NAME)) == {**CALICO, "revision": i}
        one.terminate()
        assert one.wait(10) == 0
        wait_until(lambda: '"timeoutSeconds": 4' in (host.conf / NAME).read_text(), "the one that is left")
    assert host.files() == [NAME] and host.types(NAME).count("weir-cni") == 1


MOUNTED = """
mount -t tmpfs -o size=%s none "$DIR" && cp "$FROM" "$DIR/10-x.conflist" && before=$(cat "$DIR/10-x.conflist")
%s
"$@"; status=$?
[ "$before" = "$(cat "$DIR/10-x.conflist")" ] || echo changed
ls "$DIR"; exit $status
"""


@pytest.mark.parametrize("size, trouble, said", [
    ("16k", 'dd if=/dev/zero of="$DIR/fill" bs=1k 2>/dev/null', "No space left on device"),
    ("1m", 'mount -o remount,ro "$DIR"', "Read-only file system"),
], ids=["full", "read-only"])
def test_where_nothing_can_be_written(host, tmp_path, size, trouble, said):
    """The file stays as it is, and the error says which and why."""
    source, folder = tmp_path / "from", tmp_path / "net.d"
    source.write_text(json.dumps(FLANNEL))
    folder.mkdir()
    done = subprocess.run(["unshare", "--mount", "sh", "-c", MOUNTED % (size, trouble), "sh", *host.argv("--once")], capture_output=True, text=True,
                          timeout=30, env={**os.environ, "DIR": str(folder), "FROM": str(source)})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("weir install-cni: cannot write") and said in done.stderr
    assert set(done.stdout.split()) <= {"10-x.conflist", "fill"}, done.stdout


NOEXEC = """
mkdir "$BIN" && mount -t tmpfs -o noexec none "$BIN"
exec "$@"
"""


@pytest.mark.parametrize("how", ["noexec", "no program"])
def test_a_binary_that_cannot_run_is_not_chained(host, tmp_path, how):
    """No pod of the node would start."""
    host.put(NAME, CALICO)
    argv = host.argv("--once")
    if how == "noexec":
        argv = ["unshare", "--mount", "sh", "-euc", NOEXEC, "sh", *argv]
    else:
        (tmp_path / "other").write_bytes(b"\x7fELF of another machine")
        argv.append(f"--binary={tmp_path / 'other'}")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env={**os.environ, "BIN": str(host.bin)})
    assert done.returncode == 1 and "cannot run" in done.stderr and "not put into the chain" in done.stderr
    assert host.read(NAME) == CALICO


CONTAINER = """
mkdir -p "$ROOT/bin" "$ROOT/net.d"
mount --bind "$CONF" "$ROOT/net.d" && mount --bind "$BIN" "$ROOT/bin"
exec "$@"
"""


@pytest.mark.parametrize("how", ["removed", "moved away"])
def test_a_container_ends_when_its_directory_was_replaced(tmp_path, how):
    """kubeadm reset, an administrator: its mount shows the old directory for ever. Started again it has the new one."""
    node, inside = Host(tmp_path / "node"), Host(tmp_path / "container")
    node.put(NAME, CALICO)
    node.bin.mkdir()
    process = subprocess.Popen(["unshare", "--mount", "sh", "-euc", CONTAINER, "sh", *inside.argv()], stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "ROOT": str(tmp_path / "container"), "CONF": str(node.conf), "BIN": str(node.bin)})
    try:
        node.wait_chained(NAME)
        if how == "removed":
            (node.conf / NAME).unlink()
            node.conf.rmdir()
        else:
            node.conf.rename(node.conf.with_name("old"))
        node.put(NAME, CALICO)
        assert process.wait(10) == 1
        assert "has been replaced on the node" in process.stderr.read().splitlines()[-1]
    finally:
        process.kill()
        process.wait()


def test_no_inotify_instance_is_left(host, monkeypatch):
    """Other programs of the node have taken all that a user may have."""
    monkeypatch.setenv("LD_PRELOAD", str(BUILD / "tests" / "deaf.so"))
    host.put(NAME, CALICO)
    with host.watching():
        host.wait_chained(NAME)
    assert "fs.inotify.max_user_instances" in host.log.read_text()

# SPDX-License-Identifier: Apache-2.0
"""weir install-cni, in directories that the installers of real CNI plugins write in their several ways."""

import contextlib
import json
import os
import subprocess
import threading
import time

import pytest

from lab.command import BUILD, WEIR, run, wait_until
from support import as_container

CALICO = {
    "name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [
        {"type": "calico", "log_level": "info", "datastore_type": "kubernetes", "nodename": "node-a", "mtu": 0, "ipam": {"type": "calico-ipam"},
         "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}},
        {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}}]}
FLANNEL = {
    "name": "cbr0", "cniVersion": "0.3.1", "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}}]}
CILIUM = {
    "cniVersion": "0.3.1", "name": "cilium", "plugins": [
        {"type": "cilium-cni", "enable-debug": False, "log-file": "/var/run/cilium/cilium-cni.log"}]}
AWS = {
    "cniVersion": "0.4.0", "name": "aws-cni", "disableCheck": True, "plugins": [
        {"name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "podSGEnforcingMode": "strict"},
        {"type": "egress-cni", "mtu": "9001", "enabled": "false", "ipam": {"type": "host-local", "ranges": [[{"subnet": "fd00::ac:00/118"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]}
KINDNET = {
    "cniVersion": "0.3.1", "name": "kindnet", "plugins": [
        {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": []}},
        {"type": "portmap", "capabilities": {"portMappings": True}}]}
SINGLE = {
    "cniVersion": "0.3.1", "name": "mynet", "type": "bridge", "bridge": "cni0", "isGateway": True, "x-unknown": [1, {"deep": None}],
    "ipam": {"type": "host-local", "subnet": "10.22.0.0/16"}}
MULTUS = {
    "cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig",
    "delegates": [CALICO]}
SHIM = {"cniVersion": "0.3.1", "name": "multus-cni-network", "plugins": [{"type": "multus-shim", "socketDir": "/run/multus"}]}
INSTALLERS = {"10-calico.conflist": CALICO, "10-flannel.conflist": FLANNEL, "05-cilium.conflist": CILIUM, "10-aws.conflist": AWS,
              "10-kindnet.conflist": KINDNET}


class Host:
    """A node's directories."""

    def __init__(self, folder):
        self.bin, self.conf, self.state = folder / "bin", folder / "net.d", folder / "state"
        self.log = folder / "log"

    def argv(self, *more):
        return [str(WEIR), "install-cni", f"--cni-bin-dir={self.bin}", f"--cni-conf-dir={self.conf}", f"--state-dir={self.state}",
                "--run-dir=/run/weir-x", *more]

    def once(self, *more, check=True):
        return run(*self.argv("--once", *more), check=check)

    @contextlib.contextmanager
    def watching(self, *more):
        with open(self.log, "a", encoding="utf-8") as log:
            process = subprocess.Popen(self.argv(*more), stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(10) == 0

    def put(self, name, conf):
        self.conf.mkdir(parents=True, exist_ok=True)
        (self.conf / name).write_text(conf if isinstance(conf, str) else json.dumps(conf, indent=2))

    def read(self, name):
        return json.loads((self.conf / name).read_text())

    def types(self, name):
        """The plugins of a chain, [] while it cannot be read."""
        try:
            return [plugin["type"] for plugin in self.read(name).get("plugins", [])]
        except (OSError, ValueError):
            return []

    def files(self):
        return sorted(path.name for path in self.conf.iterdir()) if self.conf.exists() else []

    def wait_chained(self, name, timeout=10):
        wait_until(lambda: self.types(name)[-1:] == ["weir-cni"], f"weir-cni in {name}: {self.files()}", timeout)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def without_ours(conf):
    return {**conf, "plugins": [plugin for plugin in conf["plugins"] if plugin["type"] != "weir-cni"]}


# -- one run ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", INSTALLERS)
def test_the_chain_keeps_what_it_was(host, name):
    host.put(name, INSTALLERS[name])
    host.once("--exempt-namespace=kube-system", "--exempt-namespace=weir-system", "--agent-away=refuse", "--timeout-seconds=3")
    conf = host.read(name)
    assert without_ours(conf) == INSTALLERS[name]
    assert list(conf) == list(INSTALLERS[name])  # order
    assert conf["plugins"][-1] == {
        "type": "weir-cni", "runDir": "/run/weir-x", "stateDir": str(host.state), "exemptNamespaces": ["kube-system", "weir-system"],
        "agentAway": "refuse", "timeoutSeconds": 3}
    assert (host.bin / "weir-cni").read_bytes() == (BUILD / "weir-cni").read_bytes()
    assert (host.bin / "weir-cni").stat().st_mode & 0o7777 == 0o755
    assert host.files() == [name]  # nothing left over


def test_a_second_run_changes_nothing(host):
    host.put("10-calico.conflist", CALICO)
    host.once()
    files = [host.conf / "10-calico.conflist", host.bin / "weir-cni"]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
    host.once()
    run(*host.argv("--check"))
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == before


def test_other_settings_replace_the_entry_where_it_stands(host):
    host.put("10-calico.conflist", CALICO)
    host.once()
    conf = host.read("10-calico.conflist")
    conf["plugins"].append({"type": "another"})
    conf["plugins"].append({"type": "weir-cni", "old": True})
    host.put("10-calico.conflist", conf)
    host.once("--agent-away=allow")
    assert host.types("10-calico.conflist") == ["calico", "portmap", "bandwidth", "weir-cni", "another"]
    assert host.read("10-calico.conflist")["plugins"][3]["agentAway"] == "allow"


def test_the_mode_of_the_file_stays(host):
    host.put("10-calico.conflist", CALICO)
    os.chmod(host.conf / "10-calico.conflist", 0o600)
    host.once()
    assert (host.conf / "10-calico.conflist").stat().st_mode & 0o7777 == 0o600


def test_the_first_file_is_the_one(host):
    """As libcni sorts: by bytes; directories and other names do not count."""
    for name in ("20-b.conflist", "10-A.conflist", "10-a.conflist", "00-note.txt", "05-x.conflist.bak"):
        host.put(name, CALICO)
    (host.conf / "01-folder.conf").mkdir()
    host.once()
    chained = [name for name in host.files() if "weir-cni" in host.types(name)] if not host.once().returncode else []
    assert chained == ["10-A.conflist"]


def test_a_name_may_be_given(host):
    host.put("10-a.conflist", CALICO)
    host.put("20-b.conflist", FLANNEL)
    host.once("--cni-conf-name=20-b.conflist")
    assert "weir-cni" in host.types("20-b.conflist") and "weir-cni" not in host.types("10-a.conflist")


@pytest.mark.parametrize("multus", [("00-multus.conf", MULTUS), ("00-multus.conflist", SHIM)])
def test_multus_is_left_alone(host, multus):
    """It calls the chain of the next file; its own is made by its own installer."""
    host.put(*multus)
    host.put("10-calico.conflist", CALICO)
    host.once()
    assert host.read(multus[0]) == multus[1]
    host.wait_chained("10-calico.conflist")
    done = host.once(f"--cni-conf-name={multus[0]}", check=False)
    assert done.returncode == 1 and "multus" in done.stderr


def test_a_single_plugin_becomes_a_chain_and_back(host):
    host.put("10-mynet.conf", SINGLE)
    original = (host.conf / "10-mynet.conf").read_bytes()
    host.once()
    chain = host.read("10-mynet.conflist")
    assert (chain["name"], chain["cniVersion"], chain["plugins"][0]) == ("mynet", "0.3.1", SINGLE)
    assert chain["plugins"][1]["type"] == "weir-cni"
    assert [name for name in host.files() if name.endswith((".conf", ".conflist", ".json"))] == ["10-mynet.conflist"]
    host.put("10-mynet.conf", {**SINGLE, "bridge": "cni1"})  # its installer runs again
    host.once()
    assert host.read("10-mynet.conflist")["plugins"][0]["bridge"] == "cni1"
    host.put("10-mynet.conf", original.decode())
    host.once()
    run(*host.argv("--uninstall"))
    assert host.files() == ["10-mynet.conf"]
    assert (host.conf / "10-mynet.conf").read_bytes() == original


def test_a_chain_of_the_same_name_is_not_overwritten(host):
    host.put("10-mynet.conf", SINGLE)
    host.put("10-mynet.conflist", CALICO)
    done = host.once(check=False)
    assert done.returncode == 1 and "10-mynet.conf" in done.stderr
    assert host.read("10-mynet.conflist") == CALICO and host.read("10-mynet.conf") == SINGLE


@pytest.mark.parametrize("text, said", [
    ("", "JSON"), ("{", "line 1"), ('{"name": "x", "plugins": []}', "plugins"), ('{"name": "x", "plugins": [{}]}', "type"),
    ('{"plugins": [{"type": "x"}]}', "name"), ("[]", "name"), ('{"name": "x"}', "type"),
    ('{"name": "x", "cniVersion": "0.2.0", "plugins": [{"type": "x"}]}', "0.2.0"), ('{"name": "x", "plugins": [{"type": "x"}]}', "0.1.0"),
])
def test_what_is_broken_is_left_as_it_is(host, text, said):
    """Half a file: its writer goes on in a moment. Another one is not taken in its place, for the runtime does not either."""
    host.put("10-a.conflist", text)
    host.put("20-b.conflist", CALICO)
    done = host.once(check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 or "weir-cni is installed" in done.stderr
    assert "10-a.conflist" in done.stderr and said in done.stderr
    assert (host.conf / "10-a.conflist").read_text() == text and host.read("20-b.conflist") == CALICO


def test_an_empty_directory(host):
    done = host.once(check=False)
    assert done.returncode == 1 and "no network configuration" in done.stderr
    assert run(*host.argv("--check"), check=False).returncode == 1


def test_the_binary_comes_before_the_entry(host):
    """A chain that names a plugin which is not there starts no pods."""
    host.put("10-calico.conflist", CALICO)
    host.bin.write_text("not a directory")
    done = host.once(check=False)
    assert done.returncode == 1 and str(host.bin) in done.stderr
    assert host.read("10-calico.conflist") == CALICO


def test_directories_that_belong_to_another_user(host):
    """kubespray's: root without its capabilities could not write there."""
    host.put("10-calico.conflist", CALICO)
    host.bin.mkdir()
    for path in (host.bin, host.conf, host.conf / "10-calico.conflist"):
        os.chown(path, 997, 0)
    os.chmod(host.conf / "10-calico.conflist", 0o600)
    run(*as_container("install-cni"), *host.argv("--once"))
    host.wait_chained("10-calico.conflist")
    assert (host.bin / "weir-cni").exists()


def test_a_binary_that_runs_is_replaced(host):
    """Text file busy: whoever runs it has the old one."""
    host.put("10-calico.conflist", CALICO)
    host.bin.mkdir()
    (host.bin / "weir-cni").write_bytes(open("/bin/sleep", "rb").read())
    os.chmod(host.bin / "weir-cni", 0o755)
    old = subprocess.Popen([str(host.bin / "weir-cni"), "30"])
    host.once()
    assert (host.bin / "weir-cni").read_bytes() == (BUILD / "weir-cni").read_bytes()
    old.kill()
    old.wait()


# -- uninstall -------------------------------------------------------------------------------------------------------------

def test_uninstall_removes_its_own_and_nothing_else(host):
    for name, conf in INSTALLERS.items():
        host.put(name, conf)
        host.once(f"--cni-conf-name={name}")
    before = {name: host.read(name) for name in INSTALLERS}
    (host.bin / "portmap").write_text("another's")
    host.state.mkdir()
    (host.state / "captured.json").write_text("{}")
    run(*host.argv("--uninstall"))
    for name, conf in INSTALLERS.items():
        assert before[name] != conf and host.read(name) == conf
    assert [path.name for path in host.bin.iterdir()] == ["portmap"]
    assert not host.state.exists()
    assert host.files() == sorted(INSTALLERS)
    run(*host.argv("--uninstall"))  # what is gone is gone


def test_uninstall_where_a_chain_holds_nothing_else(host):
    host.put("10-x.conflist", {"name": "x", "cniVersion": "1.0.0", "plugins": [{"type": "weir-cni"}]})
    run(*host.argv("--uninstall"))
    assert host.files() == []


def test_sigterm_leaves_all_in_place(host):
    """An upgrade ends the old one first."""
    host.put("10-calico.conflist", CALICO)
    with host.watching():
        host.wait_chained("10-calico.conflist")
    host.wait_chained("10-calico.conflist")
    assert (host.bin / "weir-cni").exists()


# -- others write the files ------------------------------------------------------------------------------------------------

def rename_into_place(path, text):
    """Calico, Cilium."""
    part = path.with_name("." + path.name + ".part")
    part.write_text(text)
    part.rename(path)


def truncate_and_write(path, text):
    """AWS, flannel's cp: half a file for a moment."""
    with open(path, "w", encoding="utf-8") as out:
        out.write(text[:len(text) // 2])
        out.flush()
        time.sleep(0.3)
        out.write(text[len(text) // 2:])


def delete_and_create(path, text):
    """kindnet, and scripts."""
    path.unlink(missing_ok=True)
    time.sleep(0.05)
    path.write_text(text)


@pytest.mark.parametrize("write", [rename_into_place, truncate_and_write, delete_and_create])
@pytest.mark.parametrize("name", ["10-calico.conflist", "10-aws.conflist"])
def test_the_primary_plugin_rewrites_its_file(host, write, name):
    host.put(name, INSTALLERS[name])
    with host.watching():
        host.wait_chained(name)
        for i in range(3):
            conf = {**INSTALLERS[name], "revision": i}
            write(host.conf / name, json.dumps(conf))
            wait_until(lambda: "weir-cni" in host.types(name) and without_ours(host.read(name)) == conf, "the new one to be chained")
    assert host.files() == [name]


def test_another_plugin_appends_itself(host):
    """As istio-cni and linkerd-cni do; both stay."""
    host.put("10-calico.conflist", CALICO)
    with host.watching():
        host.wait_chained("10-calico.conflist")
        conf = host.read("10-calico.conflist")
        conf["plugins"].append({"type": "istio-cni"})
        rename_into_place(host.conf / "10-calico.conflist", json.dumps(conf))
        time.sleep(0.5)
        assert host.types("10-calico.conflist") == ["calico", "portmap", "bandwidth", "weir-cni", "istio-cni"]


def test_nothing_is_lost_when_both_write_at_once(host):
    """Somebody replaces the file again and again while weir puts itself in: his newest version must be what stands there."""
    host.put("10-calico.conflist", CALICO)
    with host.watching():
        for i in range(300):
            rename_into_place(host.conf / "10-calico.conflist", json.dumps({**CALICO, "revision": i}))
            time.sleep(0.002 * (i % 7))
        wait_until(lambda: "weir-cni" in host.types("10-calico.conflist"), "the last one to be chained")
        assert host.read("10-calico.conflist")["revision"] == 299


def test_an_empty_directory_at_boot_and_files_that_come_later(host):
    with host.watching():
        wait_until(host.conf.exists, "the directory")
        time.sleep(0.2)
        rename_into_place(host.conf / "10-calico.conflist", json.dumps(CALICO))
        host.wait_chained("10-calico.conflist")
        rename_into_place(host.conf / "05-cilium.conflist", json.dumps(CILIUM))  # now this is the one
        host.wait_chained("05-cilium.conflist")
        (host.conf / "05-cilium.conflist").rename(host.conf / "03-cilium.conflist")
        host.wait_chained("03-cilium.conflist")
        (host.conf / "03-cilium.conflist").unlink()
        host.wait_chained("10-calico.conflist")


def test_the_directory_is_made_anew(host):
    host.put("10-calico.conflist", CALICO)
    with host.watching():
        host.wait_chained("10-calico.conflist")
        host.conf.rename(host.conf.with_name("old"))
        host.put("10-flannel.conflist", FLANNEL)
        host.wait_chained("10-flannel.conflist")


def test_the_binary_is_removed_or_replaced(host):
    """Installers of plugins wipe the directory."""
    host.put("10-calico.conflist", CALICO)
    ours = (BUILD / "weir-cni").read_bytes()
    with host.watching():
        host.wait_chained("10-calico.conflist")
        (host.bin / "weir-cni").unlink()
        wait_until(lambda: (host.bin / "weir-cni").exists(), "the binary")
        rename_into_place(host.bin / "weir-cni", "#!/bin/false")
        wait_until(lambda: (host.bin / "weir-cni").read_bytes() == ours, "the right binary")


def test_an_upgrade_never_leaves_the_chain_without_weir(host):
    """The old one ends, the new one comes with another binary."""
    host.put("10-calico.conflist", CALICO)
    gaps, done = [], threading.Event()

    def look():
        while not done.is_set():
            if "weir-cni" not in host.types("10-calico.conflist") or not (host.bin / "weir-cni").exists():
                gaps.append(host.types("10-calico.conflist"))

    with host.watching():
        host.wait_chained("10-calico.conflist")
        looker = threading.Thread(target=look)
        looker.start()
    for setting in ("--timeout-seconds=3", "--timeout-seconds=4"):
        with host.watching(setting):
            wait_until(lambda: f'"timeoutSeconds": {setting[-1]}' in (host.conf / "10-calico.conflist").read_text(), "the new settings")
    done.set()
    looker.join()
    assert not gaps


def test_sigterm_of_an_uninstallation_removes_it(tmp_path):
    """The agent has seen that its DaemonSet is deleted, and says so by a file."""
    host = Host(tmp_path)
    host.put("10-calico.conflist", CALICO)
    with host.watching(f"--run-dir={tmp_path}"):
        host.wait_chained("10-calico.conflist")
        (tmp_path / "uninstalled").touch()
    assert without_ours(host.read("10-calico.conflist")) == host.read("10-calico.conflist")
    assert not (host.bin / "weir-cni").exists() and not (tmp_path / "uninstalled").exists()

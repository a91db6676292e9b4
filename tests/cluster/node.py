# SPDX-License-Identifier: Apache-2.0
"""The node: a QEMU guest with Debian's kernel and pure cgroup v2, containerd, runc, kubelet and kube-proxy.

Only for a network namespace whose one interface is lo: QEMU's user network forwards whatever the guest sends to where this process
could send it.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

from lab.command import BUILD, ROOT, LabError, run, wait_until

from .control import NODE_ADDRESS

HERE = pathlib.Path(__file__).parent / "node"
SHELL_PORT, KUBELET_PORT, METRICS_PORT = 7777, 10250, 9464
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4", "9p", "9pnet_virtio")
MEMORY = 4096
# Without what emulation makes slower instead of faster: string instructions byte by byte, wide registers, more to check.
CPU = "max,la57=off,smap=off,smep=off,pcid=off,erms=off,fsrm=off,avx=off,avx2=off"
# How a kernel says that something went wrong although it goes on.
COMPLAINTS = ("cut here", "BUG:", "Oops", "Call Trace:", "general protection fault", "Kernel panic", "invoked oom-killer")
CONTAINERD = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.6"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = {systemd}
"""
PRIMARY_CNI = {
    "cniVersion": "1.0.0", "name": "test", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}}]}


def kubelet_configuration(driver):
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "cgroupDriver": driver,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock", "failSwapOn": False, "resolvConf": "",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": "/share/ca.crt"}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"}, "address": "0.0.0.0", "port": KUBELET_PORT,
        # What watches a busy node costs half of an emulated CPU: none of it is asked for here.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        "localStorageCapacityIsolation": False, "volumeStatsAggPeriod": "-1s", "nodeStatusUpdateFrequency": "1m", "containerLogMonitorInterval": "10m",
        "imageMinimumGCAge": "24h", "runtimeRequestTimeout": "10m"}


class Node:
    def __init__(self, folder, kernel, driver):
        self.folder, self.driver = folder, driver
        self.share = folder / "share"
        (self.share / "log").mkdir(parents=True)
        self.console = folder / "console.log"
        self.kernel = pathlib.Path(run(ROOT / "scripts" / "vm", "--unpack", kernel, timeout=600).stdout.strip())
        self.release = next((self.kernel / "lib" / "modules").iterdir()).name
        self.disk = run(HERE / "make-disk", BUILD / "kube", timeout=900).stdout.strip()
        self.store = None  # the disk with containerd's images
        self.process = None
        self._fill_share()

    def _fill_share(self):
        for name in ("init", "start", "shell", "weir-node.service"):
            shutil.copy(HERE / name, self.share / name)
        (self.share / "driver").write_text(self.driver)
        (self.share / "containerd.toml").write_text(CONTAINERD.format(systemd=str(self.driver == "systemd").lower()))
        (self.share / "10-bridge.conflist").write_text(json.dumps(PRIMARY_CNI, indent=2))
        (self.share / "kubelet.json").write_text(json.dumps(kubelet_configuration(self.driver), indent=2))

    # -- the machine ---------------------------------------------------------------------------------------------------

    def _make_initrd(self):
        root = self.folder / "initrd"
        for name in ("bin", "dev", "modules", "new", "proc"):
            (root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
        (root / "bin" / "sh").symlink_to("busybox")
        listed = run("modprobe", "-d", self.kernel, "-S", self.release, "--show-depends", "-a", *BOOT_MODULES).stdout
        files = dict.fromkeys(line.split()[1] for line in listed.splitlines() if line.startswith("insmod "))
        for number, module in enumerate(files, 100):  # in this order they can be loaded
            content = subprocess.run(["xz", "-dcf", module], capture_output=True, check=True).stdout
            (root / "modules" / f"{number}.ko").write_bytes(content)
        shutil.copy(HERE / "initrd-init", root / "init")
        image = self.folder / "initrd.cpio"
        with open(image, "wb") as out:
            names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names, stdout=out, check=True)
        return image

    def _options(self):
        # The kernel's watchdogs are off: when the host is busy, emulated CPUs stand still for seconds through no fault of theirs.
        # Their TSC is calibrated while that may happen, so that the guest's time would run at another rate: hence the HPET.
        append = ("console=ttyS0 panic=-1 oops=panic quiet cgroup_no_v1=all nosoftlockup rcupdate.rcu_cpu_stall_suppress=1 mitigations=off nokaslr "
                  "clocksource=hpet tsc=unstable clearcpuid=rep_good random.trust_cpu=on net.ifnames=0 systemd.show_status=0")
        forward = ",".join(f"hostfwd=tcp:{NODE_ADDRESS}:{port}-{NODE_ADDRESS}:{port}" for port in (SHELL_PORT, KUBELET_PORT, METRICS_PORT))
        boot = self.kernel / "boot"
        folders = {"share": self.share, "kube": BUILD.resolve() / "kube" / "bin", "modules": self.kernel / "lib" / "modules" / self.release}
        options = [
            "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", CPU, "-smp", "2", "-m", str(MEMORY),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{self.console}",
            "-kernel", boot / f"vmlinuz-{self.release}", "-initrd", self._make_initrd(), "-append", append,
            # What the guest writes goes to a file that has no name, and dies with it.
            "-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe,snapshot=on",
            "-drive", f"file={self.store},format=raw,if=virtio,cache=unsafe",
            "-netdev", f"user,id=net,{forward}", "-device", "virtio-net-pci,netdev=net"]
        for tag, path in folders.items():
            readonly = "" if tag == "share" else ",readonly=on"
            options += ["-virtfs", f"local,path={path.resolve()},mount_tag={tag},security_model=none,multidevs=remap{readonly}"]
        return [str(option) for option in options]

    def boot(self):
        # QEMU binds the node's address here, so that the API server finds the kubelet where the Node object says. From
        # another source than a loopback address QEMU would keep it, and the guest see a packet from itself.
        run("ip", "route", "replace", "local", f"{NODE_ADDRESS}/32", "dev", "lo", "src", "127.0.0.1", "table", "local")
        with open(self.folder / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(["qemu-system-x86_64", *self._options()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, "TMPDIR": str(self.folder)})
        wait_until(self._answers, "the guest's shell", 300, 0.5)

    def _answers(self):
        if self.process.poll() is not None:
            raise LabError(f"QEMU ended:\n{(self.folder / 'qemu.log').read_text()[-2000:]}{self.console.read_text(errors='replace')[-2000:]}")
        try:
            return self.run("true", check=False, timeout=10)[0] == 0
        except (OSError, LabError):
            return False

    def complaints(self):
        """What the kernel complained of."""
        lines = self.console.read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in COMPLAINTS)]

    def power_off(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    # -- its shell -----------------------------------------------------------------------------------------------------

    def run(self, script, check=True, timeout=120):
        """Runs a shell script on the node; (exit status, output)."""
        deadline = time.monotonic() + timeout
        received = b""
        with socket.create_connection((NODE_ADDRESS, SHELL_PORT), timeout=timeout) as conn:
            conn.sendall(f"{script}\n#end\n".encode())
            while True:
                conn.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    part = conn.recv(65536)
                except TimeoutError:
                    raise LabError(f"on the node: {script}: still running after {timeout} s") from None
                if not part:
                    break
                received += part
        output, _, status = received.decode(errors="replace").rstrip("\n").rpartition("\n")
        if not status.isdigit():
            raise LabError(f"on the node: {script}: no answer")
        if check and int(status):
            raise LabError(f"on the node: {script}: exit status {status}\n{output[-2000:]}")
        return int(status), output.removesuffix("\n")

    def out(self, script, timeout=120):
        return self.run(script, timeout=timeout)[1]

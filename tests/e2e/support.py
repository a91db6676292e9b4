# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: pods under weir or under real iptables, proxies, sockets held in a pod, weir's maps."""

import itertools
import json
import pathlib
import re
import subprocess

import yaml

from diff.inputs import options_of
from diff.rules import build
from lab import LabError, iptables, net
from lab.agent import ask, known  # noqa: F401  (tests take both from here)
from lab.command import PROBE, ROOT, run, wait_until
from test_outcomes import BASIC

PROXY, APP = 1337, 1000
OUTBOUND, INBOUND = 15001, 15006
BPFTOOL = "/usr/sbin/bpftool"
PYTHON = "/usr/bin/python3"
KINDS = ("iptables", "weir")
INTERCEPTION = "sidecar.istio.io/interceptionMode"
COUNTER = itertools.count(1)


# -- pods ------------------------------------------------------------------------------------------------------------------

def dual_stack(pod):
    """The pod's object; Istio has rules for both families only when its proxy's environment says so."""
    item = pod.object()
    for container in item["spec"]["containers"]:
        if container["name"] == "istio-proxy":
            container.setdefault("env", []).append({"name": "ISTIO_DUAL_STACK", "value": "true"})
    return item


def wait_state(lab, pod, state="captured", timeout=10):
    """Waits until the agent has brought the kernel in step with a pod file."""
    wait_until(lambda: (known(lab, pod) or {}).get("state") == state, f"{pod.name}: state {state}", timeout)
    return pod


def mesh_pod(lab, kind="weir", **options):
    """A new pod with Istio's redirection, by weir or by Istio's own rules, and no proxy in it yet."""
    pod = lab.pod(f"{kind}-{next(COUNTER)}", mesh="istio", **options)
    if kind == "iptables":
        iptables.load(pod, BASIC)
        return pod
    pod.write(dual_stack(pod))
    return wait_state(lab, pod)


def load_rules(pod, item):
    """What the mesh's own tools would make of a Pod object, loaded by the real iptables-restore: both families, and what goes with the rules."""
    options = options_of(item)
    rules = build(options)
    for tool, family in (("iptables-restore", 4), ("ip6tables-restore", 6)):
        net.in_netns(pod.netns, tool, stdin=rules.text(family))
    net.ip_batch(pod.netns, "addr add ::6/128 dev lo")
    if getattr(options, "inbound_interception_mode", "") == "TPROXY":
        for family in ("-4", "-6"):
            net.in_netns(pod.netns, "ip", family, "rule", "add", "fwmark", options.inbound_t_proxy_mark, "lookup", options.inbound_t_proxy_route_table)
            net.in_netns(pod.netns, "ip", family, "route", "add", "local", "default", "dev", "lo", "table", options.inbound_t_proxy_route_table)


def tproxy_pod(lab, kind):
    """A new pod in Istio's TPROXY mode, both families, and no proxy in it yet."""
    pod = lab.pod(f"tproxy-{kind}-{next(COUNTER)}", mesh="istio", annotations={INTERCEPTION: "TPROXY"})
    if kind == "iptables":
        load_rules(pod, dual_stack(pod))
        return pod
    return wait_state(lab, pod.write(dual_stack(pod)))


def plain_pod(lab, *ports):
    """A pod without a mesh, that weir does not know, with servers on these ports."""
    pod = lab.pod(f"plain-{next(COUNTER)}")
    if ports:
        pod.serve(*[f"[::]:{port}" for port in ports])
    return pod


def start_proxy(pod, addresses=(f"[::]:{OUTBOUND}", f"[::]:{INBOUND}"), **options):
    """The probe in the proxy's place: it answers with what SO_ORIGINAL_DST told it."""
    return pod.serve(*addresses, uid=PROXY, container="istio-proxy", **options)


def plain(endpoint):
    """[::ffff:1.2.3.4]:80 -> 1.2.3.4:80"""
    return re.sub(r"\[::ffff:([\d.]+)\]", r"\1", endpoint or "")


def listener_port(answer):
    """Which listener took the connection; None when none did."""
    return int(answer["acceptor"]["listener"].rpartition(":")[2]) if answer["acceptor"] else None


def assert_redirected(answer, dialled, port=OUTBOUND):
    """The proxy took it and knows what was dialled; the client sees nothing of it."""
    assert answer["ok"], answer
    assert listener_port(answer) == port
    acceptor = answer["acceptor"]
    assert plain(acceptor["odst_ipv6" if dialled.startswith("[") else "odst_ip"]) == dialled
    assert plain(answer["peername"]) == dialled


# What a container runtime shows a container that is not privileged.
READ_ONLY = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'


def as_container(name, *more):
    """The command that runs another one with no more than the manifests, and more capabilities, give to this container of the DaemonSet."""
    items = yaml.safe_load_all((ROOT / "deploy/manifests/weir.yaml").read_text())
    daemonset, = (item for item in items if item and item["kind"] == "DaemonSet")
    container, = (c for c in daemonset["spec"]["template"]["spec"]["containers"] if c["name"] == name)
    given = (*container["securityContext"]["capabilities"].get("add", ()), *more)
    capabilities = ",".join(["-all", *(f"+{capability.lower()}" for capability in given)])
    return ("unshare", "--mount", "--propagation=slave", "sh", "-c", READ_ONLY, "sh", "setpriv", f"--bounding-set={capabilities}", "--no-new-privs")


# -- sockets that a test holds ---------------------------------------------------------------------------------------------

SHELL = r'''
import ctypes, errno, json, os, select, socket, struct, sys, time
from socket import *

def tcp(family=AF_INET, protocol=0):
    """A blocking socket; the kernel itself gives up, for settimeout() would make it a non-blocking one."""
    s = socket(family, SOCK_STREAM, protocol)
    for option in (SO_SNDTIMEO, SO_RCVTIMEO):
        s.setsockopt(SOL_SOCKET, option, struct.pack("ll", 5, 0))
    return s

def greeting(s):
    """The line that the acceptor says first."""
    text = b""
    while not text.endswith(b"\n"):
        more = s.recv(4096)
        if not more:
            raise EOFError(text)
        text += more
    return json.loads(text)

def raw_getsockopt(s, level, option, size):
    """[errno's name or None, returned length, bytes in hexadecimal]; the buffer is filled with 0xaa before."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer, length = ctypes.create_string_buffer(b"\xaa" * (size + 8), size + 8), ctypes.c_uint(size)
    failed = libc.getsockopt(s.fileno(), level, option, buffer, ctypes.byref(length))
    return [errno.errorcode[ctypes.get_errno()] if failed else None, length.value, buffer.raw[:64].hex()]

def run(code):
    try:
        try:
            code = compile(code, "test", "eval")
        except SyntaxError:
            exec(code, globals())
            return {}
        return {"value": eval(code, globals())}
    except OSError as error:
        return {"errno": errno.errorcode.get(error.errno, "TIMEOUT")}
    except Exception as error:
        return {"error": repr(error)}

for line in sys.stdin:
    print(json.dumps(run(json.loads(line)), default=str), flush=True)
'''


class Shell:
    """A Python in a pod that runs what the test says, so that sockets live on between two steps."""

    def __init__(self, pod, uid=APP, **place):
        self.process = pod.popen([PYTHON, "-c", SHELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, uid=uid, **place)

    def _ask(self, code):
        self.process.stdin.write(json.dumps(code).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise LabError(f"{code}: {answer['error']}")
        return answer

    def __call__(self, code):
        """Runs code; its value. An errno is an error here."""
        answer = self._ask(code)
        if "errno" in answer:
            raise LabError(f"{code}: {answer['errno']}")
        return answer.get("value")

    def errno(self, code):
        """Runs code; the name of the errno it failed with, None when it did not."""
        return self._ask(code).get("errno")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class NodesShell(Shell):
    """The same as a process of the node that has entered the pod's network namespace: not of its cgroup."""

    def __init__(self, pod):
        place = ["--netns", net.netns_path(pod.netns), "--cgroup", pod.lab.outside_cgroup, "--pdeathsig"]
        self.process = subprocess.Popen([PROBE, "exec", *place, "--", PYTHON, "-c", SHELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


# -- traffic that goes on -------------------------------------------------------------------------------------------------

TRAFFIC = """
import json, select, socket, sys
address, listener, count, wrong = (sys.argv[1], int(sys.argv[2])), sys.argv[3], 0, []
while not select.select([sys.stdin], [], [], 0)[0]:
    count += 1
    try:
        with socket.create_connection(address, timeout=5) as s:
            line = s.makefile().readline()
        if json.loads(line)["listener"] != listener or json.loads(line)["odst_ip"].replace("[::ffff:", "").replace("]", "") != "%s:%d" % address:
            wrong.append(line)
    except Exception as error:
        wrong.append(repr(error))
print(json.dumps([count, wrong[:5], len(wrong)]))
"""


class Traffic:
    """Connects without a pause until it is asked how it went."""

    def __init__(self, pod, ip, port, listener, **place):
        argv = [PYTHON, "-c", TRAFFIC, ip, port, f"[::]:{listener}"]
        self.process = pod.popen(argv, stdin=-1, stdout=-1, **place)

    def end(self):
        """(connections, some that went wrong, how many did)"""
        return json.loads(self.process.communicate(b"\n", timeout=20)[0])


def assert_unhurt(streams):
    for stream in streams:
        count, wrong, number = stream.end()
        assert count > 100
        assert number == 0, (count, number, wrong)


# -- the kernel ------------------------------------------------------------------------------------------------------------

def bpftool(*argv):
    return json.loads(run(BPFTOOL, "-j", *argv).stdout)


def entries(lab, name):
    """All entries of one of weir's maps."""
    return bpftool("map", "dump", "pinned", lab.bpf_dir / name)


def cookies_in(lab, name):
    """The network namespaces that a map has entries of."""
    found = json.dumps(entries(lab, name))
    return {int(number) for number in re.findall(r'"(?:netns_)?cookie": (\d+)', found)}


def link_ids(lab):
    """The ids of all pinned links by their place below BPFDIR."""
    pins = [path for folder in ("links", "netns") for path in sorted((lab.bpf_dir / folder).iterdir())]
    return {str(path.relative_to(lab.bpf_dir)): bpftool("link", "show", "pinned", path)["id"] for path in pins}


def program_count(lab):
    """Programs in the kernel that use this lab's maps."""
    pods_map = bpftool("map", "show", "pinned", lab.bpf_dir / "weir_pods")["id"]
    return sum(pods_map in program.get("map_ids", []) for program in bpftool("prog", "show"))


def compile_bpf(folder, name, source):
    """An object file from a few lines of BPF C."""
    folder = pathlib.Path(folder)
    (folder / f"{name}.bpf.c").write_text(source)
    run("clang", "-g", "-O2", "-target", "bpf", f"-I/usr/include/{multiarch()}", "-c", folder / f"{name}.bpf.c", "-o", folder / f"{name}.bpf.o")
    return folder / f"{name}.bpf.o"


def multiarch():
    return run("cc", "-dumpmachine").stdout.strip()


ITERATOR = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; } __attribute__((preserve_access_index));
struct bpf_iter__bpf_sk_storage_map { struct bpf_iter_meta *meta; void *sk; void *value; } __attribute__((preserve_access_index));
SEC("iter/bpf_sk_storage_map")
int each(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	char x = 'x';
	if (ctx->sk && ctx->value)
		bpf_seq_write(ctx->meta->seq, &x, 1);
	return 0;
}
char gpl[] SEC("license") = "GPL";
"""


def stored_sockets(lab):
    """How many sockets have storage in weir_conns; bpftool cannot dump such a map, a BPF iterator can."""
    pin = lab.bpf_dir.parent / "each_socket"
    if not pin.exists():
        run(BPFTOOL, "iter", "pin", compile_bpf(lab.work, "each", ITERATOR), pin, "map", "pinned", lab.bpf_dir / "weir_conns")
    return len(pin.read_bytes())

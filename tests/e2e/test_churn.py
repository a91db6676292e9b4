# SPDX-License-Identifier: Apache-2.0
"""A thousand pods come and go through the CNI plugin and the API, while the agent and the API server are killed and come back."""

import collections
import concurrent.futures
import json
import os
import signal

from lab import kube, net
from lab.apiserver import ApiServer
from lab.cni import weir_cni
from lab.command import LabError, run, wait_until
from support import (APP, OUTBOUND, PYTHON, Traffic, ask, assert_unhurt, bpftool, cookies_in, entries, plain_pod, program_count, start_proxy,
                     wait_state)

WAVES, WAVE, LIVES = 40, 25, 2  # a pod lives for as many waves
AGENT_DIES, API_DIES, API_BACK, BOTH_DIE, BOTH_BACK, AGENT_DIES_ALONE = 6, 12, 14, 22, 25, 34
TRIES = 60  # of the kubelet, for one ADD
# Of five pods one is Linkerd's and one has no sidecar: state, mode and ports that each must have.
KINDS = ("istio", "istio", "istio", "linkerd", None)
RIGHT = {"istio": ("captured", "WEIR_MODE_CAPTURE", 15001, 15006), "linkerd": ("captured", "WEIR_MODE_CAPTURE", 4140, 4143),
         None: ("not_captured", "WEIR_MODE_OBSERVE", 0, 0)}

# Connects out of each network namespace that it is told of, round and round: refused is right, as no proxy listens; an answer of the
# network's (there is no route) means that a connection passed weir by.
PATROL = """
import collections, ctypes, errno, fcntl, os, select, socket, struct, sys
libc, fds, seen, text = ctypes.CDLL(None, use_errno=True), {}, collections.Counter(), b""
def enter(name):
    if libc.setns(fds[name], 0x40000000):
        raise OSError(ctypes.get_errno(), name)
    return socket.socket()
def bring_up_lo(name):
    with enter(name) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
def visit(name):
    with enter(name) as s:
        s.settimeout(5)
        code = s.connect_ex(("198.51.100.1", 80))
        seen[errno.errorcode.get(code, str(code))] += 1
        if code != errno.ECONNREFUSED:
            print(name, errno.errorcode.get(code, code), file=sys.stderr, flush=True)
def obey(line):
    if line[0] == "+":
        fds[line[1:]] = os.open("/run/netns/" + line[1:], os.O_RDONLY)
        bring_up_lo(line[1:])
    elif line[0] == "-":
        os.close(fds.pop(line[1:]))
    else:
        print(dict(seen))
    print(line, flush=True)
while True:
    for name in list(fds) or [None]:
        while select.select([0], [], [], 0.001 if fds else None)[0]:
            more = os.read(0, 65536)
            if not more:
                sys.exit()
            *lines, text = (text + more).split(b"\\n")
            for line in lines:
                obey(line.decode())
        if name in fds:
            visit(name)
"""


class Patrol:
    """Runs in a cgroup below kubepods; whose network namespace it is in decides what becomes of its connections."""

    def __init__(self, pod):
        self.log = pod.lab.log_path("patrol")
        with open(self.log, "w", encoding="utf-8") as out:
            self.process = pod.popen([PYTHON, "-c", PATROL], stdin=-1, stdout=-1, stderr=out)

    def tell(self, *lines):
        """Returns when all have been heeded; what was printed meanwhile."""
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()
        said = []
        while not said or said[-1] != lines[-1]:
            said.append(self.process.stdout.readline().decode().rstrip("\n"))
            assert said[-1], self.log.read_text()[-2000:]
        return said[:-1]

    def end(self):
        counts = self.tell("?")[-1]
        self.process.communicate(timeout=10)
        return counts, self.log.read_text()


class Member:
    """One pod of a wave: a network namespace and an object, and nothing else that a test would need."""

    def __init__(self, lab, wave, number):
        self.name, self.netns = f"churn-{wave}-{number}", f"{lab.prefix}-churn-{wave}-{number}"
        self.mesh = KINDS[number % len(KINDS)]
        self.uid = f"{wave:08}-0000-4000-8000-{number:012}"
        labels, ip = {"app": f"churn-{number}", "pod-template-hash": "7d9f8c6b5d"}, f"10.244.{wave + 1}.{number + 1}"
        self.object = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "namespace": "default", "uid": self.uid, "labels": labels,
                         "annotations": {} if self.mesh else {"sidecar.istio.io/inject": "false"},
                         **kube.owner_metadata(f"Deployment/churn-{number}", labels, self.name)},
            "spec": {"nodeName": "node-a", "initContainers": [], "containers": [kube.container("app", "example/app", (8080,))]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}}
        if self.mesh:
            kube.INJECTORS[self.mesh](self.object, {"istio": 1337, "linkerd": 2102}[self.mesh], {})


class Churn:
    """The kubelet, the container runtime and the API server of it, in waves."""

    def __init__(self, lab, api, patrol):
        self.lab, self.api, self.patrol = lab, api, patrol
        self.pool = concurrent.futures.ThreadPoolExecutor(WAVE)
        self.alive = collections.deque()  # waves, the oldest first

    def _plugin(self, command, pod):
        text = {"cniVersion": "1.0.0", "name": "pods", "type": "weir-cni", "prevResult": {"cniVersion": "1.0.0", "ips": []},
                "runDir": str(self.lab.run_dir), "stateDir": str(self.lab.state_dir), "timeoutSeconds": 2}
        env = {"CNI_CONTAINERID": f"box-{pod.uid}", "CNI_NETNS": net.netns_path(pod.netns),
               "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod.name};K8S_POD_UID={pod.uid}"}
        return weir_cni(command, text, env)

    def _add(self, pod):
        """The kubelet tries again."""
        for _ in range(TRIES):
            status, answer = self._plugin("ADD", pod)
            if status == 0:
                return
            assert answer["code"] == 11, answer  # no agent, which is no lasting error
        raise LabError(f"{pod.name}: {answer}")

    def _batch(self, verb, pods):
        run("ip", "-batch", "-", stdin="".join(f"netns {verb} {pod.netns}\n" for pod in pods))

    def _watch(self, sign, pods):
        self.patrol.tell(*[f"{sign}{pod.netns}" for pod in pods if pod.mesh])

    def come(self, wave):
        pods = [Member(self.lab, wave, number) for number in range(WAVE)]
        self._batch("add", pods)
        for pod in pods:
            self.api.put(pod.object)
        list(self.pool.map(self._add, pods))
        self._watch("+", pods)
        self.alive.append(pods)

    def go(self):
        pods = self.alive.popleft()
        self._watch("-", pods)
        for status, answer in self.pool.map(lambda pod: self._plugin("DEL", pod), pods):
            assert status == 0, answer
        self._batch("del", pods)
        for pod in pods:
            self.api.delete(pod.object)

    def living(self):
        return [pod for pods in self.alive for pod in pods]


def in_force(lab):
    """By network namespace: mode and the proxy's ports, as the hooks read them."""
    def values(row):
        value = row["formatted"]["value"]
        return value["mode"], value["outbound_port"], value["inbound_port"]
    return {row["formatted"]["key"]["cookie"]: values(row) for row in entries(lab, "weir_pods")}


def assert_right(lab, living):
    """Every pod that is there is right, and there is no trace of others."""
    pods = {pod["name"]: pod for pod in ask(lab, "pods")["pods"]}
    assert pods.keys() == living.keys()
    policies = in_force(lab)
    for name, mesh in living.items():
        assert (pods[name]["state"], *policies[pods[name]["netns_cookie"]]) == RIGHT[mesh], name
    cookies = {pod["netns_cookie"] for pod in pods.values()}
    assert len(cookies) == len(living)
    for table in ("weir_pods", "weir_pod_names", "weir_pending"):
        assert cookies_in(lab, table) == cookies, table
    for table in ("weir_ports", "weir_cidrs", "weir_ids", "weir_local", "weir_seen", "weir_links", "weir_routes"):
        assert cookies_in(lab, table) <= cookies, table
    captured = {pods[name]["netns_cookie"] for name, mesh in living.items() if mesh}
    links = {int(path.name): bpftool("link", "show", "pinned", path) for path in (lab.bpf_dir / "netns").iterdir()}
    assert links.keys() == captured
    assert all(link["netns_ino"] for link in links.values())  # none of a network namespace that has ended


def holdings(lab, agent):
    """What would grow if anything were left behind: descriptors by kind, programs, attachments."""
    folder = f"/proc/{agent.process.pid}/fd"
    targets = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    kinds = collections.Counter("file" if target.startswith("/") else target.split(":")[0] for target in targets)
    kinds.pop("socket", None)  # connections to the API: as many as there are requests
    shown = bpftool("cgroup", "show", lab.cgroup_root)
    return kinds, program_count(lab), collections.Counter(program["attach_type"] for program in shown)


def files(lab):
    remembered = json.loads((lab.state_dir / "captured.json").read_text())["pods"]
    return {path.name for path in (lab.run_dir / "sandboxes").iterdir()}, set(remembered)


def wait_settled(lab, living):
    def is_in_step():
        pods = ask(lab, "pods")["pods"]
        return {pod["name"]: pod["state"] for pod in pods} == {name: RIGHT[mesh][0] for name, mesh in living.items()}
    wait_until(is_in_step, "the living pods, and no others, to be right", 60, 0.2)
    wait_until(lambda: len(files(lab)[1]) == len(living), "captured.json", 10)


def wait_only_living(lab, churn):
    """No source has told of any of them, and all came when none could: each is refused its connections, and no other pod has hooks."""
    living = churn.living()
    wait_until(lambda: len(list((lab.bpf_dir / "netns").iterdir())) == len(living) + 1, "hooks of pods that ended to go", 20, 0.2)
    states = {pod["name"]: pod["state"] for pod in ask(lab, "pods")["pods"]}
    assert {states[pod.name] for pod in living} == {"pending"}


def test_a_thousand_pods(lab):
    with ApiServer(lab.work / "api") as api:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"istio-injection": "enabled"}}})
        options = [f"--kubeconfig={api.kubeconfig()}"]
        agent, peer = lab.agent(*options), plain_pod(lab, 80)
        steady = wait_state(lab, lab.pod("steady", mesh="istio").write())
        start_proxy(steady)
        wait_settled(lab, {"steady": "istio"})
        held = holdings(lab, agent)
        traffic, patrol = Traffic(steady, peer.ip, 80, OUTBOUND, uid=APP), Patrol(steady)
        churn = Churn(lab, api, patrol)
        for wave in range(WAVES):
            if wave in (AGENT_DIES, BOTH_DIE, AGENT_DIES_ALONE):
                agent.stop(signal.SIGKILL)
            if wave in (API_DIES, BOTH_DIE):
                api.stop()
            if wave in (AGENT_DIES, BOTH_DIE, AGENT_DIES_ALONE):
                agent = lab.agent(*options, wait=False)
            if wave == BOTH_BACK:
                wait_only_living(lab, churn)
            if wave in (API_BACK, BOTH_BACK):
                api.start()
            churn.come(wave)
            if wave >= LIVES:
                churn.go()
        agent.wait_ready(60)
        living = {"steady": "istio", **{pod.name: pod.mesh for pod in churn.living()}}
        wait_settled(lab, living)
        assert_right(lab, living)
        sandboxes, remembered = files(lab)
        assert len(sandboxes) == len(living) - 1  # a file told of the steady one
        assert remembered == {steady.uid} | {pod.uid for pod in churn.living()}
        while churn.alive:
            churn.go()
        wait_settled(lab, {"steady": "istio"})
        assert_right(lab, {"steady": "istio"})
        assert files(lab) == (set(), {steady.uid})
        assert holdings(lab, agent) == held
        counts, strays = patrol.end()
        assert strays == "", (counts, strays[:2000])
        assert_unhurt([traffic])

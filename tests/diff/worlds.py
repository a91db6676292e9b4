# SPDX-License-Identifier: Apache-2.0
"""Two nodes with equal addresses, a pod on each: one pod has rules loaded by the real iptables-restore, the other is weir's.

Each node's own network namespace is the rest of the world: it accepts connections to any address, and has any address as a source.
"""

import json
import subprocess

from lab import Lab, kube, net
from lab.agent import known
from lab.command import PROBE, run, wait_until

from .inputs import options_of
from .rules import IstioOptions, build

APP = 1000
STRANGER = 2500  # the user or the group of a proxy that is known by the other one alone
FIRST = 300000  # what the node calls root of a pod with a user namespace of its own
SECOND4, SECOND6 = "10.245.0.10", "fd00:10:245::10"  # of the pod's other interface
GATEWAY4, GATEWAY6 = "10.245.0.1", "fd00:10:245::1"
BEHIND_SECOND4, BEHIND_SECOND6 = "198.51.100.7", "2001:db8:51::7"  # what the route leads to over it
# A virtual machine in the pod, behind an interface of its own; the pod forwards what it sends.
TAP4, TAP6 = "10.0.2.1", "fd00:10:2::1"
MACHINE4, MACHINE6 = "10.0.2.2", "fd00:10:2::2"
POD, OUTSIDE, MACHINE = "pod", "outside", "machine"  # where a probe starts
FORWARDING = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
SYSCTLS = [f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", "default")] + ["net.ipv4.ip_nonlocal_bind=1", "net.ipv6.ip_nonlocal_bind=1"]
# Ports that configurations and probes are made of: someone listens on each, in the pod and outside, but for 15002.
PORTS = (22, 53, 80, 81, 443, 444, 1111, 1112, 2222, 3306, 3333, 4000, 4444, 5000, 5555, 6000, 6666, 7000, 7070, 8080, 8081, 9090, 9091,
         31000, 32000)
UDP_PORTS = (53, 123, 5555)
ISTIO_PORTS = (15001, 15006, 15008, 15020, 15021, 15053, 15090)
LINKERD_PORTS = (4140, 4143, 4190, 4191)


def ids_of(options):
    """The proxy's first uid and gid."""
    if isinstance(options, IstioOptions):
        uid, gid = options.proxy_uid.split(",")[0], options.proxy_gid.split(",")[0]
        return int(uid or STRANGER), int(gid or STRANGER)
    return options.uid, options.gid or options.uid


class World:
    """A lab with one pod; the kind says who redirects in it."""

    def __init__(self, lab, mesh, userns):
        self.lab, self.mesh = lab, mesh
        self.userns = net.UserNamespace(FIRST) if userns else None
        self.pod = lab.pod("pod", mesh=mesh, userns=self.userns)
        self.proxy, self.running = [], None
        self._open_the_world()
        self._add_machine()

    def _add_machine(self):
        node, pod = self.lab.node.name, self.pod.netns
        self.machine = f"{pod}-vm"
        run("ip", "netns", "add", self.machine)
        net.in_netns(pod, "sysctl", "-qw", *FORWARDING)
        net.in_netns(self.machine, "sysctl", "-qw", *net.COMMON_SYSCTLS)
        net.ip_batch(pod, f"link add tap0 type veth peer name eth0 netns {self.machine}", "link set tap0 up", f"addr add {TAP4}/24 dev tap0",
                     f"addr add {TAP6}/64 dev tap0 nodad")
        net.ip_batch(self.machine, "link set lo up", "link set eth0 up", f"addr add {MACHINE4}/24 dev eth0", f"addr add {MACHINE6}/64 dev eth0 nodad",
                     f"route add default via {TAP4}", f"route add default via {TAP6} dev eth0")
        net.ip_batch(node, f"route add {MACHINE4}/32 via {self.pod.ip} dev pod0 onlink table local",
                     f"route add {MACHINE6}/128 via {self.pod.ipv6} dev pod0 onlink table local")

    def _open_the_world(self):
        """The node accepts everything that is not the pod's; its second link is the pod's other interface."""
        node, pod = self.lab.node.name, self.pod.netns
        for name in (node, pod):
            net.in_netns(name, "sysctl", "-qw", *SYSCTLS)
        net.ip_batch(node, f"link add second type veth peer name eth1 netns {pod}", "link set second up",
                     f"route add {self.pod.ip}/32 dev pod0 table local", f"route add {SECOND4}/32 dev second table local",
                     f"route add {self.pod.ipv6}/128 dev pod0 table local", f"route add {SECOND6}/128 dev second table local",
                     "route add local default dev lo table local", "route add local ::/0 dev lo table local",
                     f"addr add {GATEWAY4}/32 dev second", f"addr add {GATEWAY6}/128 dev second nodad")
        net.ip_batch(pod, "link set eth1 up", f"addr add {SECOND4}/32 dev eth1", f"addr add {SECOND6}/128 dev eth1 nodad",
                     f"route add {GATEWAY4}/32 dev eth1", f"route add {GATEWAY6}/128 dev eth1",
                     f"route add {BEHIND_SECOND4}/32 via {GATEWAY4} dev eth1 src {SECOND4}",
                     f"route add {BEHIND_SECOND6}/128 via {GATEWAY6} dev eth1 src {SECOND6}", "addr add ::6/128 dev lo")
        self._serve_node()
        self._serve_app()

    def _serve_node(self):
        """Servers of everybody else; ports of the proxies too, for they are somebody's there as well."""
        ports = PORTS + ISTIO_PORTS + LINKERD_PORTS
        argv = ["serve", "--tag=remote", *[f"--listen=[::]:{port}" for port in ports], *[f"--udp=[::]:{port}" for port in UDP_PORTS]]
        self._start("node", [PROBE, "exec", "--netns", net.netns_path(self.lab.node.name), "--cgroup", self.lab.outside_cgroup, "--pdeathsig",
                             "--", PROBE, *argv], None)

    def _serve_app(self):
        """The application, on its ports and on those of the mesh's that are not in use here."""
        ports = PORTS + (ISTIO_PORTS if self.mesh == "linkerd" else LINKERD_PORTS)
        argv = [PROBE, "serve", "--tag=app", *[f"--listen=[::]:{port}" for port in ports], *[f"--udp=[::]:{port}" for port in UDP_PORTS]]
        self._start("app", argv, {"uid": self.ids(APP)})

    def _start(self, name, argv, place):
        """A server that says when it is ready; place: in the pod."""
        log = self.lab.log_path(f"diff_{name}")
        with open(log, "w", encoding="utf-8") as out:
            if place is None:
                process = subprocess.Popen([str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            else:
                process = self.pod.popen(argv, stdout=out, stderr=out, **place)
        wait_until(lambda: log.read_text().startswith("ready") or process.poll() is not None, f"server {name}", interval=0.002)
        assert process.poll() is None, log.read_text()
        return process

    def serve(self, options):
        """The proxy as its own user, as this configuration has it; nothing when it runs already."""
        istio = isinstance(options, IstioOptions)
        tproxy = istio and options.inbound_interception_mode == "TPROXY"
        uid, gid = ids_of(options)
        uid = 0 if tproxy else self.ids(uid)  # Envoy needs CAP_NET_ADMIN then; the rules know it by its group
        gid = self.ids(gid)
        if self.running == (istio, tproxy, uid, gid):
            return
        self.stop_proxy()
        own = ISTIO_PORTS if istio else LINKERD_PORTS
        apart = (15006,) if tproxy else ()  # Envoy's inbound listener alone is transparent
        proxy = [f"--listen=[::]:{port}" for port in own if port not in apart] + (["--udp=[::]:15053"] if istio else [])
        place = {"uid": uid, "gid": gid, "container": kube.PROXY_CONTAINER.get(self.mesh, "app")}
        self.proxy = [self._start("proxy", [PROBE, "serve", "--tag=proxy", *proxy], place)]
        if apart:
            argv = [PROBE, "serve", "--tag=proxy", "--transparent", *[f"--listen=[::]:{port}" for port in apart]]
            self.proxy.append(self._start("tproxy", argv, place))
        self.running = (istio, tproxy, uid, gid)

    def close(self):
        if self.userns:
            self.userns.close()

    def stop_proxy(self):
        for process in self.proxy:
            process.kill()
            process.wait()
        self.proxy, self.running = [], None

    def ids(self, number):
        """What the node calls a user of the pod's."""
        return FIRST + number if self.userns and number < self.userns.count else number

    def ask(self, probes, timeout):
        """The answers to all probes: those from outside run on the node, the others in the pod."""
        answers = {}
        for at in (POD, OUTSIDE, MACHINE):
            wanted = [probe for probe in probes if probe.at == at]
            if not wanted:
                continue
            text = "\n".join(probe.line(self.ids) for probe in wanted) + "\n"
            batch = [PROBE, "batch", f"--timeout={timeout}"]
            if at == POD:
                done = self.pod.run(batch, stdin=text)
            else:
                done = net.in_netns(self.lab.node.name if at == OUTSIDE else self.machine, *batch, stdin=text)
            answers.update(zip(wanted, map(json.loads, done.stdout.splitlines())))
        return answers


class IptablesWorld(World):
    """Rules are replaced as a whole; connections of former rules are forgotten."""

    def __init__(self, lab, mesh, userns):
        super().__init__(lab, mesh, userns)
        self.routed = ()  # families with TPROXY's routing

    def apply(self, pod):
        options = options_of(pod)
        self.serve(options)
        rules = build(options)
        for tool, family in (("iptables-restore", 4), ("ip6tables-restore", 6)):
            if self.userns:  # the kernel takes no owner from anybody else
                self.userns.run("env", "XTABLES_LOCKFILE=/dev/null", tool, stdin=rules.text(family))
            else:
                net.in_netns(self.pod.netns, tool, stdin=rules.text(family))
        self._policy_routing(isinstance(options, IstioOptions) and options.inbound_interception_mode == "TPROXY", options)
        net.in_netns(self.pod.netns, "conntrack", "-F", check=False)

    def _policy_routing(self, on, options):
        families = ("-4", "-6") if on and options.enable_ipv6 else ("-4",) if on else ()
        for verb, changed in (("del", set(self.routed) - set(families)), ("add", set(families) - set(self.routed))):
            for family in changed:
                run("ip", "-n", self.pod.netns, family, "rule", verb, "fwmark", "1337", "lookup", "133")
                run("ip", "-n", self.pod.netns, family, "route", verb, "local", "default", "dev", "lo", "table", "133")
        self.routed = families


class WeirWorld(World):
    """The pod's file is rewritten; the workload's name tells when the agent has applied it."""

    def __init__(self, lab, mesh, userns):
        super().__init__(lab, mesh, userns)
        self.agent = lab.agent()
        self.turn, self.workload = 0, None

    def apply(self, pod):
        self.serve(options_of(pod))
        return self.write(pod)

    def write(self, pod):
        """Tells the agent, and waits until it has heard; what `weir pods` says then."""
        self.turn = 1 - self.turn
        self.workload = f"turn-{self.turn}"
        item = json.loads(json.dumps(pod))
        item["metadata"]["labels"]["service.istio.io/workload-name"] = self.workload
        self.pod.write(item)
        return wait_until(self._state, "the agent to apply a configuration", interval=0.005)

    def _state(self):
        """What `weir pods` says once it speaks of this object."""
        try:
            item = known(self.lab, self.pod)
        except (BrokenPipeError, ConnectionResetError):
            return None  # this process got no processor for the second that the agent gives a client to ask
        return item if item and item["workload"] == self.workload else None


class Worlds:
    """Both kinds for one mesh (None: a proxy that none injected), in labs of their own; close() removes them."""

    def __init__(self, mesh, userns=False):
        self.labs = [Lab(f"diff-{mesh}-{kind}") for kind in ("iptables", "weir")]
        self.both = []
        try:
            for lab in self.labs:
                lab.__enter__()
            for lab, kind in zip(self.labs, (IptablesWorld, WeirWorld)):
                self.both.append(kind(lab, mesh, userns))
            self.iptables, self.weir = self.both
        except BaseException:
            self.close()
            raise

    def close(self):
        for world in self.both:
            world.close()
        for lab in self.labs:
            lab.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def apply(self, pod):
        """Puts a configuration in force in both; what `weir pods` says of it."""
        self.iptables.apply(pod)
        return self.weir.apply(pod)

    def pod_object(self):
        """A fresh object to edit: of the weir pod."""
        pod = self.weir.pod.object()
        if self.weir.userns:
            pod["spec"]["hostUsers"] = False
        return pod

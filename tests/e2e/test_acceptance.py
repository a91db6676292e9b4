# SPDX-License-Identifier: Apache-2.0
"""The meshes' own acceptance tests, rebuilt: what Istio and Linkerd start a pod with, and what Linkerd's laboratory tries.

Each runs behind the meshes' own iptables rules and behind weir; what a mesh refuses without redirection is tried without it, too.
"""

import pytest

from diff.inputs import with_linkerd_init
from diff.rules import LinkerdOptions
from lab import Lab
from support import APP, KINDS, PYTHON, dual_stack, listener_port, load_rules, plain, wait_state

LINKERD, NOBODY = 2102, 65534
STUB_PORT = 8080  # of the proxy, both ways, in proxy-init's laboratory
OTHER_PORTS = (8088, 8888, 8988, 9090, 9099, 7070)


@pytest.fixture(scope="module")
def lab():
    with Lab("acceptance") as made:
        made.agent()
        made.count = 0
        yield made


def redirected(lab, kind, mesh, item=None, **options):
    """A new pod, redirected by rules of the mesh's own or by weir; kind None: by nobody. item edits its object."""
    lab.count += 1
    pod = lab.pod(f"{mesh}-{lab.count}", mesh=mesh, **options)
    described = item(pod.object()) if item else pod.object()
    if kind == "iptables":
        load_rules(pod, described)
    elif kind == "weir":
        wait_state(lab, pod.write(described))
    return pod


def set_env(container, **values):
    """An edit of a pod object: environment of one of its containers."""
    def edit(item):
        for spec in item["spec"]["containers"] + item["spec"]["initContainers"]:
            if spec["name"] == container:
                spec["env"] = [entry for entry in spec["env"] if entry["name"] not in values]
                spec["env"] += [{"name": key, "value": value} for key, value in values.items()]
        return item

    return edit


# -- istio-validation ------------------------------------------------------------------------------------------------------

# Listens in the proxy's place, dials the proxy's mark from loopback each second; a connection whose original port is 15002 passes.
ISTIO_VALIDATION = """
import socket, struct, sys, threading, time
six = sys.argv[1] == "6"
family, level = (socket.AF_INET6, 41) if six else (socket.AF_INET, 0)
loopback, mark = ("::1", "::6") if six else ("127.0.0.1", "127.0.0.6")
done = threading.Event()

def serve(port):
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((loopback, port))
    listener.listen()
    while True:
        conn, _ = listener.accept()
        original = conn.getsockopt(level, 80, 32)
        if struct.unpack_from("!H", original, 2)[0] == 15002:
            done.set()

for port in (15001, 15006):
    threading.Thread(target=serve, args=(port,), daemon=True).start()
deadline = time.monotonic() + 5
while not done.is_set() and time.monotonic() < deadline:
    client = socket.socket(family)
    client.settimeout(2)
    try:
        client.bind((loopback, 0))
        client.connect((mark, 15002))
    except OSError:
        pass
    done.wait(1)
    client.close()
sys.exit(0 if done.is_set() else 126)
"""


def validate(pod, family, uid=1337, gid=1337):
    return pod.run([PYTHON, "-c", ISTIO_VALIDATION, family], check=False, uid=uid, gid=gid, container="istio-proxy").returncode


@pytest.mark.parametrize("family", ["4", "6"])
@pytest.mark.parametrize("kind", KINDS)
def test_istio_validation(lab, kind, family):
    assert validate(redirected(lab, kind, "istio", set_env("istio-proxy", ISTIO_DUAL_STACK="true")), family) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_istio_validation_as_another_user(lab, kind):
    """OpenShift: the ids are those of the proxy's container."""
    def custom(item):
        for spec in item["spec"]["containers"]:
            if spec["name"] == "istio-proxy":
                spec["securityContext"].update(runAsUser=1000670000, runAsGroup=1000670001)
        return item

    pod = redirected(lab, kind, "istio", custom)
    assert validate(pod, "4", 1000670000, 1000670001) == 0


def test_istio_validation_fails_where_nobody_redirects(lab):
    assert validate(redirected(lab, None, "istio"), "4") == 126


def test_istio_validation_passes_as_soon_as_weir_knows_the_pod(lab):
    """The validation container may be there first: it tries once a second, for five."""
    pod = redirected(lab, None, "istio")
    process = pod.popen([PYTHON, "-c", ISTIO_VALIDATION, "4"], uid=1337, gid=1337, container="istio-proxy")
    pod.wait_listen(15001, 15006)
    pod.write(dual_stack(pod))
    assert process.wait(10) == 0


# -- linkerd-network-validator ---------------------------------------------------------------------------------------------

# Listens where the proxy will, dials what nobody is; it must be itself that answers.
NETWORK_VALIDATOR = """
import secrets, socket, string, sys, threading
six = sys.argv[1] == "6"
family = socket.AF_INET6 if six else socket.AF_INET
text = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(63)) + "\\n"
listener = socket.socket(family)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("::" if six else "0.0.0.0", 4140))
listener.listen()

def serve():
    conn, _ = listener.accept()
    conn.sendall(text.encode())
    conn.close()

threading.Thread(target=serve, daemon=True).start()
try:
    client = socket.create_connection(("fd00::1" if six else "1.1.1.1", 20001), timeout=float(sys.argv[2]))
    heard = client.makefile().read()
except OSError:
    sys.exit(95)
sys.exit(0 if heard == text else 95)
"""
DUAL_STACK_LINKERD = set_env("linkerd-proxy", LINKERD2_PROXY_INBOUND_LISTEN_ADDR="[::]:4143")


def validate_network(pod, family, timeout=10):
    argv = [PYTHON, "-c", NETWORK_VALIDATOR, family, timeout]
    return pod.run(argv, check=False, uid=NOBODY).returncode  # a container of its own: neither the proxy's nor its user


@pytest.mark.parametrize("family", ["4", "6"])
@pytest.mark.parametrize("kind", KINDS)
def test_linkerd_network_validator(lab, kind, family):
    """The first init container: no proxy has ever run."""
    assert validate_network(redirected(lab, kind, "linkerd", DUAL_STACK_LINKERD), family) == 0


def test_linkerd_network_validator_fails_where_nobody_redirects(lab):
    assert validate_network(redirected(lab, None, "linkerd"), "4", timeout=1) == 95


# -- what comes after them -------------------------------------------------------------------------------------------------

VALIDATORS = {"istio": lambda pod: validate(pod, "4"), "linkerd": lambda pod: validate_network(pod, "4")}
ISTIO_PORTS, LINKERD_PORTS = ("0.0.0.0:15001", "0.0.0.0:15006"), ("127.0.0.1:4140", "0.0.0.0:4143")
PROXIES = {"istio": (1337, ISTIO_PORTS), "linkerd": (LINKERD, LINKERD_PORTS)}


@pytest.mark.parametrize("mesh", VALIDATORS)
@pytest.mark.parametrize("before,down", [("direct", "refuse"), ("refuse", "direct")])
def test_an_init_container_behind_the_validation(lab, mesh, before, down):
    """The validation has listened in the proxy's place and is gone; the proxy has never been there."""
    pod = redirected(lab, "weir", mesh, annotations={"weir.io/before-proxy": before, "weir.io/proxy-down": down})
    peer = lab.pod(f"peer-{pod.name}")
    peer.serve("0.0.0.0:9000")
    pod.serve("0.0.0.0:8080", uid=1000)

    def dial(verdict):
        """The init container's call and one from outside."""
        ends = [listener_port(pod.connect(f"{peer.ip}:9000", uid=1000)), listener_port(peer.connect(f"{pod.ip}:8080"))]
        explained = [lab.weir("explain", f"default/{pod.name}", *options, "-o", "json") for options in ([f"--to={peer.ip}:9000", "--uid=1000"], ["--inbound=8080"])]
        assert [answer["verdict"] for answer in explained] == [verdict] * 2, explained
        return ends, [answer["reason"] for answer in explained]

    ends = {"direct": [9000, 8080], "refuse": [None, None]}
    assert VALIDATORS[mesh](pod) == 0
    assert dial(before) == (ends[before], ["before_proxy"] * 2)
    uid, addresses = PROXIES[mesh]
    proxy = pod.serve(*addresses, uid=uid, container=f"{mesh}-proxy")
    assert dial("redirect")[0] == [int(address.rpartition(":")[2]) for address in addresses]
    proxy.stop()
    assert dial(down) == (ends[down], ["proxy_down"] * 2)


# -- proxy-init's laboratory -----------------------------------------------------------------------------------------------

STUB = set_env("linkerd-proxy", LINKERD2_PROXY_INBOUND_LISTEN_ADDR=f"0.0.0.0:{STUB_PORT}",
               LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS=f"127.0.0.1:{STUB_PORT}")


def stub_pod(lab, kind, **annotations):
    """A stub proxy for both directions on 8080, and an application on other ports; ids 2102:2102."""
    settings = {f"config.linkerd.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    pod = redirected(lab, kind, "linkerd", STUB, annotations=settings)
    pod.serve(f"[::]:{STUB_PORT}", uid=LINKERD, container="linkerd-proxy", options=["--tag=proxy"])
    return with_app(pod)


def with_app(pod, ports=OTHER_PORTS):
    pod.serve(*[f"0.0.0.0:{port}" for port in ports], uid=APP, options=["--tag=app"])
    return pod


def asked(client, pod, port, ip=None, **place):
    """Who answers: the tag of its server, or the errno."""
    answer = client.connect(f"{ip or pod.ip}:{port}", options=["--timeout=5"], **{"uid": APP, **place})
    return answer["acceptor"]["tag"] if answer["acceptor"] else answer["errno"]


@pytest.fixture(scope="module")
def tester(lab):
    """A pod without a mesh that asks the others."""
    return lab.pod("tester")


def test_pod_with_no_rules(lab, tester):
    pod = redirected(lab, None, "linkerd")
    pod.serve(f"0.0.0.0:{STUB_PORT}", uid=LINKERD, container="linkerd-proxy", options=["--tag=proxy"])
    assert [asked(tester, pod, port) for port in (8080, 8088, 8888, 8988)] == ["proxy"] + ["ECONNREFUSED"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_pod_redirects_all_ports(lab, tester, kind):
    """The application's ports are closed to the outside; ports on which nobody listens lead to the proxy as well."""
    pod = stub_pod(lab, kind)
    assert [asked(tester, pod, port) for port in (8080, 8088, 8888, 8988, 6000)] == ["proxy"] * 5


def test_pod_with_existing_rules(lab, tester):
    """The same pod told twice."""
    pod = stub_pod(lab, "weir")
    wait_state(lab, pod.write(STUB(pod.object())))
    assert [asked(tester, pod, port) for port in (8080, 8088)] == ["proxy"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_pod_redirects_all_but_some(lab, tester, kind):
    """pod-doesnt-redirect-blacklisted: 6000 to 8000 are the application's own."""
    pod = stub_pod(lab, kind, skip_inbound_ports="6000-8000")
    other = with_app(lab.pod(f"other-{kind}-{lab.count}"))
    assert [asked(tester, pod, port) for port in (8080, 9090, 9099, 7070)] == ["proxy", "proxy", "proxy", "app"]
    assert asked(pod, other, 7070) == "proxy"  # the application's own call goes through the proxy
    assert asked(pod, other, 9090, uid=LINKERD, container="linkerd-proxy") == "app"  # the proxy's does not
    assert asked(pod, pod, 9090, ip="127.0.0.1") == "app"
    assert asked(pod, pod, 9090) == "app"  # nor what stays in the pod


@pytest.mark.parametrize("kind", KINDS)
def test_pod_redirects_some(lab, tester, kind):
    """pod-redirects-whitelisted: -r 9090 -r 9099, which only the arguments of linkerd-init can say."""
    def told(item):
        options = LinkerdOptions(incoming_port=STUB_PORT, outgoing_port=STUB_PORT, uid=LINKERD, gid=LINKERD, redirect_ports=["9090", "9099"])
        return with_linkerd_init(item, options)

    pod = redirected(lab, kind, "linkerd", told)
    pod.serve(f"[::]:{STUB_PORT}", uid=LINKERD, container="linkerd-proxy", options=["--tag=proxy"])
    assert [asked(tester, pod, port) for port in (8080, 9090, 9099)] == ["proxy"] * 3
    assert [asked(tester, pod, port) for port in (8088, 8888, 8988)] == ["ECONNREFUSED"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_pod_ignores_subnets(lab, tester, kind):
    pod = stub_pod(lab, kind, skip_subnets="0.0.0.0/0")
    assert [asked(tester, pod, port) for port in (9090, 8080)] == ["app", "proxy"]


# -- Linkerd's integration tests -------------------------------------------------------------------------------------------

def linkerd_pod(lab, kind, app="0.0.0.0:8080", **annotations):
    """A pod with its proxy on Linkerd's ports and an application."""
    pod = redirected(lab, kind, "linkerd", annotations={f"config.linkerd.io/{key.replace('_', '-')}": value for key, value in annotations.items()})
    pod.serve("127.0.0.1:4140", "0.0.0.0:4143", "0.0.0.0:4190", "0.0.0.0:4191", uid=LINKERD, container="linkerd-proxy", options=["--tag=proxy"])
    pod.serve(app, uid=APP, options=["--tag=app"])
    return pod


def taken(client, pod, port, **place):
    """(the listener's port, what SO_ORIGINAL_DST told it)"""
    answer = client.connect(f"{pod.ip}:{port}", options=["--timeout=5"], **{"uid": APP, **place})
    return (listener_port(answer), plain(answer["acceptor"]["odst_ip"])) if answer["acceptor"] else answer["errno"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_relay(lab, tester, kind):
    """From outside the outbound port is no way in: the inbound side takes it, and knows that 4140 was dialled."""
    pod = linkerd_pod(lab, kind)
    assert taken(tester, pod, 4140) == (4143, f"{pod.ip}:4140")


@pytest.mark.parametrize("kind", KINDS)
def test_direct_connections(lab, tester, kind):
    """A meshed peer dials 4143 itself: the proxy sees its own port. 4190 and 4191 are reached as they are."""
    pod = linkerd_pod(lab, kind)
    assert [taken(tester, pod, port) for port in (4143, 4190, 4191)] == [(port, f"{pod.ip}:{port}") for port in (4143, 4190, 4191)]


@pytest.mark.parametrize("kind", KINDS)
def test_localhost(lab, tester, kind):
    """A server bound to 127.0.0.1 stays out of reach: the proxy dials the pod's own address, and nobody answers there."""
    pod = linkerd_pod(lab, kind, app="127.0.0.1:8080")
    assert taken(tester, pod, 8080) == (4143, f"{pod.ip}:8080")
    assert taken(pod, pod, 8080, uid=LINKERD, container="linkerd-proxy") == "ECONNREFUSED"


@pytest.mark.parametrize("kind", KINDS)
def test_skip_ports(lab, tester, kind):
    """skip-inbound-ports: the peer talks to the application itself."""
    pod = linkerd_pod(lab, kind, skip_inbound_ports="8080")
    assert taken(tester, pod, 8080)[0] == 8080
    assert taken(tester, pod, 8081)[0] == 4143


@pytest.mark.parametrize("kind", KINDS)
def test_applications_call_their_own_pod_plainly(lab, kind):
    """app to 127.0.0.1 and to its own address: neither end's proxy sees it."""
    pod = linkerd_pod(lab, kind)
    assert taken(pod, pod, 8080)[0] == 8080
    assert asked(pod, pod, 8080, ip="127.0.0.1") == "app"

# SPDX-License-Identifier: Apache-2.0
"""Who the agent is at the API server, and how it knows the server: every kind of kubeconfig, in cluster, and what is rotated."""

import json
import os
import pathlib
import select
import shutil
import socket
import threading
import time

import pytest

from lab.agent import total
from lab.apiserver import ApiServer, Certificates
from lab.command import wait_until, write_atomically
from test_kube import NAMESPACE, RESOURCES, api, pod_of, wait_objects, why  # noqa: F401  (api is a fixture)


def connected(agent):
    return total(agent.metrics(), "weir_kubernetes_up") == len(RESOURCES)


def begin(lab, api, user=None, cluster=None, wait=True, **more):
    return lab.agent(f"--kubeconfig={api.kubeconfig(user=user, cluster=cluster)}", wait=wait, **more)


def plugin(api, text):
    """An exec plugin; $count is how often it has run."""
    path = api.folder / "plugin"
    path.write_text(f"#!/bin/sh\necho >> {api.folder}/runs\ncount=$(wc -l < {api.folder}/runs)\n{text}\n")
    path.chmod(0o755)
    return path


def credential(status):
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})


def exec_user(command, **more):
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(command), "interactiveMode": "Never", **more}}


def runs(api):
    return len((api.folder / "runs").read_text().splitlines())


# -- proxies ---------------------------------------------------------------------------------------------------------------

class Proxy:
    """An HTTP proxy that knows CONNECT alone; who was asked for is in `asked`."""

    scheme = "http"

    def __init__(self, host="127.0.0.1"):
        self.asked, self.listener = [], socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _greet(self, client):
        """Whither; the client may send from then on."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        method, target, _ = head.decode().split(" ", 2)
        self.asked.append(f"{method} {target}")
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        host, port = target.rsplit(":", 1)
        return host, int(port)

    def _serve(self, client):
        with client, socket.create_connection(self._greet(client)) as server:
            other = {client: server, server: client}
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)


class Socks(Proxy):
    """SOCKS 5 (RFC 1928) without a password; every name is this machine."""

    scheme = "socks5"

    def _greet(self, client):
        _, methods = client.recv(2)
        client.recv(methods)
        client.sendall(b"\5\0")
        _, _, _, kind = client.recv(4)
        name = client.recv(client.recv(1)[0]).decode() if kind == 3 else socket.inet_ntoa(client.recv(4))
        port = int.from_bytes(client.recv(2), "big")
        self.asked.append(f"{name}:{port}")
        client.sendall(b"\5\0\0\1\0\0\0\0\0\0")
        return "127.0.0.1", port


class Forward(Proxy):
    """Not asked for anything: whoever connects to ::1 reaches the API server."""

    def __init__(self, api):
        super().__init__("::1")
        self.api = api

    def _greet(self, client):
        return "127.0.0.1", self.api.port


def test_proxy_of_the_kubeconfig(lab, api, monkeypatch):
    """It counts more than the environment's."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with Proxy() as proxy:
        begin(lab, api, cluster={"proxy-url": proxy.url})
        assert set(proxy.asked) == {f"CONNECT 127.0.0.1:{api.port}"}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_proxy_of_the_environment(lab, api, monkeypatch, name):
    with Proxy() as proxy:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # for http:// alone
        begin(lab, api)
        assert set(proxy.asked) == {f"CONNECT 127.0.0.1:{api.port}"}


def test_no_proxy(lab, api, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,127.0.0.1")
    begin(lab, api)


def test_no_proxy_is_not_about_the_kubeconfigs(lab, api, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,*")
    with Proxy() as proxy:
        begin(lab, api, cluster={"proxy-url": proxy.url})
        assert proxy.asked


def test_socks_proxy(lab, api):
    """It is given the server's name, which this machine cannot resolve."""
    api.certificates.issue("server", "subjectAltName=DNS:api.cluster.invalid")
    api.stop()
    api.start()
    with Socks() as proxy:
        begin(lab, api, cluster={"proxy-url": proxy.url, "server": f"https://api.cluster.invalid:{api.port}"})
        assert set(proxy.asked) == {f"api.cluster.invalid:{api.port}"}


def test_proxy_that_is_away(lab, api):
    agent = begin(lab, api, cluster={"proxy-url": "http://127.0.0.1:1"}, wait=False)
    wait_until(lambda: "127.0.0.1 port 1 " in why(agent), "the proxy in /readyz")


# -- certificates and tokens -----------------------------------------------------------------------------------------------

def test_client_certificate_inline(lab, api):
    begin(lab, api, {"client-certificate-data": api.certificates.base64("client.crt"), "client-key-data": api.certificates.base64("client.key")})
    assert {request.user for request in api.log} == {"client"}


def test_client_certificate_files(lab, api):
    """Relative to the kubeconfig."""
    begin(lab, api, {"client-certificate": "client.crt", "client-key": "client.key"})
    assert {request.user for request in api.log} == {"client"}


def test_yaml(lab, api):
    path = api.folder / "config.yaml"
    path.write_text(f"""# as people write it
apiVersion: v1
kind: Config
current-context: it
contexts:
- name: other
  context: {{cluster: none, user: none}}
- name: it
  context:
    cluster: stand-in
    user: agent
clusters:
- name: stand-in
  cluster:
    server: https://127.0.0.1:{api.port}/
    certificate-authority: ca.crt
users:
- name: agent
  user:
    token: "good-token"
""")
    lab.agent(f"--kubeconfig={path}")


def test_rotated_token_file(lab, api):
    """A 401 makes the agent read the token again at once: nothing waits, nothing fails."""
    token = api.folder / "token"
    token.write_text("first\n")
    api.tokens = {"first"}
    agent = begin(lab, api, {"tokenFile": "token"})
    wait_until(lambda: connected(agent), "all watches")
    before = len(api.log)
    api.tokens = {"second"}

    def rotate(_):
        write_atomically(token, "second")
        return False  # answered as any other: what came with the first token gets a 401

    api.fault = rotate
    api.drop_connections()
    api.put(pod_of("there"))
    wait_objects(agent, "peer_pods", 1)
    wait_until(lambda: connected(agent), "all watches")
    after = [request.user for request in api.log[before:]]
    assert set(after) <= {None, "second"} and after.count(None) <= len(RESOURCES)
    assert total(agent.metrics(), "weir_kubernetes_errors_total") == len(RESOURCES), "the connections that were cut, and no 401"


def test_wrong_token(lab, api):
    agent = begin(lab, api, {"token": "bad"}, wait=False)
    wait_until(lambda: "does not accept these credentials" in why(agent), "the reason in /readyz")
    api.kubeconfig()  # written anew: no restart is needed
    agent.wait_ready(60)


def test_wrong_authority(lab, api):
    other = Certificates(api.folder / "other")
    agent = begin(lab, api, cluster={"certificate-authority-data": other.base64("ca.crt")}, wait=False)
    wait_until(lambda: "certificate" in why(agent), "the reason in /readyz")
    assert not api.log, "no request, and no token, is sent to a server that is not the cluster's"


def test_rotated_authority(lab, api):
    """The authority's file is read for each connection."""
    shutil.copy(api.certificates.path("ca.crt"), api.folder / "bundle.crt")
    agent = begin(lab, api, cluster={"certificate-authority-data": "", "certificate-authority": "bundle.crt"})
    wait_until(lambda: connected(agent), "all watches")
    api.stop()
    api.certificates = Certificates(api.folder / "new")
    shutil.copy(api.certificates.path("ca.crt"), api.folder / "bundle.crt")
    api.start()
    api.put(pod_of("there"))
    wait_objects(agent, "peer_pods", 1, 40)


def test_rotated_client_certificate(lab, api):
    """Both files are read for each connection; the server's own certificate is another one as well by then."""
    for name in ("crt", "key"):
        shutil.copy(api.certificates.path(f"client.{name}"), api.folder / f"agent.{name}")
    agent = begin(lab, api, {"client-certificate": "agent.crt", "client-key": "agent.key"})
    wait_until(lambda: connected(agent), "all watches")
    api.stop()
    api.certificates.issue("server", "subjectAltName=IP:127.0.0.1")
    api.certificates.issue("client", "extendedKeyUsage=clientAuth", subject="another")
    api.client_names = {"another"}
    api.start()
    wait_until(lambda: api.requests() and api.requests()[-1].user is None, "a 401", 40)
    for name in ("crt", "key"):
        write_atomically(api.folder / f"agent.{name}", api.certificates.text(f"client.{name}"))
    api.put(pod_of("there"))
    wait_objects(agent, "peer_pods", 1, 60)
    assert api.requests()[-1].user == "another"


def test_server_name(lab):
    with ApiServer(lab.work / "api", certificates=Certificates(lab.work / "api", "kubernetes.default.svc")) as api:
        api.certificates.issue("server", "subjectAltName=DNS:kubernetes.default.svc")
        api.stop()
        api.start()
        api.put(NAMESPACE)
        begin(lab, api, cluster={"tls-server-name": "kubernetes.default.svc"})
        assert api.log[0].handler.headers["Host"] == f"127.0.0.1:{api.port}"


@pytest.mark.parametrize("server_name", [None, "kubernetes.default.svc"])
def test_ipv6(lab, api, server_name):
    """The server by an IPv6 address, with a path behind it or not, by its own name or another."""
    api.certificates.issue("server", f"subjectAltName={'DNS:' + server_name if server_name else 'IP:::1'}")
    api.stop()
    api.start()
    with Forward(api) as forward:
        agent = begin(lab, api, cluster={"server": f"https://[::1]:{forward.port}", **({"tls-server-name": server_name} if server_name else {})})
        assert {request.handler.headers["Host"] for request in api.log} == {f"[::1]:{forward.port}"}
        assert agent.weir("status", "-o", "json") and f"[::1]:{forward.port}" in agent.weir("status").stdout


def test_a_server_behind_a_path(lab, api):
    """As Rancher and others have it: https://host/k8s/clusters/c-1."""
    plain = api.answer

    def answer(handler):
        assert handler.path.startswith("/k8s/clusters/c-1/")
        handler.path = handler.path.removeprefix("/k8s/clusters/c-1")
        plain(handler)

    api.answer = answer
    begin(lab, api, cluster={"server": f"https://127.0.0.1:{api.port}/k8s/clusters/c-1/"})


def test_insecure(lab, api):
    other = Certificates(api.folder / "other")
    begin(lab, api, cluster={"certificate-authority-data": other.base64("ca.crt"), "insecure-skip-tls-verify": True})


# -- exec plugins ----------------------------------------------------------------------------------------------------------

def test_plugin(lab, api):
    """Its arguments and environment, what it is told of the cluster; one run for all requests that wait."""
    command = plugin(api, f"""echo "$KUBERNETES_EXEC_INFO" > {api.folder}/info; echo "$1 $COLOUR" > {api.folder}/said
        echo '{credential({"token": "good-token"})}'""")
    begin(lab, api, exec_user("./plugin", args=["get"], env=[{"name": "COLOUR", "value": "red"}], provideClusterInfo=True),
          {"certificate-authority-data": "", "certificate-authority": "ca.crt"})
    assert command.exists() and (api.folder / "said").read_text() == "get red\n" and runs(api) == 1
    info = json.loads((api.folder / "info").read_text())
    assert info["apiVersion"] == "client.authentication.k8s.io/v1" and info["kind"] == "ExecCredential"
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"]["server"] == f"https://127.0.0.1:{api.port}"
    assert info["spec"]["cluster"]["certificate-authority-data"] == api.certificates.base64("ca.crt")


def test_plugin_with_certificate(lab, api):
    status = {"clientCertificateData": api.certificates.text("client.crt"), "clientKeyData": api.certificates.text("client.key")}
    (api.folder / "answer").write_text(credential(status))
    begin(lab, api, exec_user(plugin(api, f"cat {api.folder}/answer")))
    assert {request.user for request in api.log} == {"client"}


def test_plugin_runs_again_after_401(lab, api):
    agent = begin(lab, api, exec_user(plugin(api, "[ $count = 1 ] && t=good-token || t=newer\n"
                                                  f"echo '{credential({'token': '@'})}' | sed s/@/$t/")))
    wait_until(lambda: connected(agent), "all watches")
    api.tokens = {"newer"}
    api.drop_connections()
    api.put(pod_of("there"))
    wait_objects(agent, "peer_pods", 1)
    assert runs(api) == 2


def test_plugin_runs_again_before_expiry(lab, api):
    answer = credential({"token": "good-token", "expirationTimestamp": "2020-01-01T00:00:00Z"})
    agent = begin(lab, api, exec_user(plugin(api, f"echo '{answer}'")))
    before = runs(api)
    wait_until(lambda: connected(agent), "all watches")
    api.drop_connections()
    wait_until(lambda: runs(api) > before, "another run")


BAD_PLUGINS = {
    "exit 3": "its exit status is 3",
    "echo hello": "it printed no JSON",
    "echo '{}'": "it printed no ExecCredential",
    f"echo '{credential({})}'": "neither a token nor a client certificate",
    "kill -9 $$": "signal 9 ended it",
}


@pytest.mark.parametrize("text", BAD_PLUGINS)
def test_bad_plugin(lab, api, text):
    """The reason is said; the next attempt may be better."""
    command = plugin(api, text)
    agent = begin(lab, api, exec_user(command), wait=False)
    wait_until(lambda: BAD_PLUGINS[text] in why(agent), "the reason in /readyz")
    plugin(api, f"echo '{credential({'token': 'good-token'})}'")
    agent.wait_ready(60)


def test_plugin_is_missing(lab, api):
    agent = begin(lab, api, exec_user("no-such-plugin", installHint="get it from the shop"), wait=False)
    wait_until(lambda: "get it from the shop" in why(agent), "the hint in /readyz")


def test_slow_plugin_blocks_nothing(lab, api):
    """It is ended after half a minute, with all that it started."""
    agent = begin(lab, api, exec_user(plugin(api, "sleep 100 & wait")), wait=False)
    wait_until(lambda: (api.folder / "runs").exists(), "the plugin's run")
    began = time.monotonic()
    assert agent.get("/metrics")[0] == 200 and time.monotonic() - began < 5
    wait_until(lambda: "it ran for more than 30 s" in why(agent), "the reason in /readyz", 45)


# -- wrong kubeconfigs: an error at the start ------------------------------------------------------------------------------

@pytest.mark.parametrize("text, error", [
    ("a: [", "line 2"), ("[]", "no kubeconfig"), ("kind: Config", "current-context is missing"),
    ("current-context: x", "there is no context named 'x'"), ("{current-context: x, contexts: [{name: x, context: {cluster: c}}]}", "'c'"),
    ("{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: [{name: c, cluster: {server: 'ftp://x'}}]}", "no URL")])
def test_wrong_kubeconfig(lab, text, error):
    path = lab.work / "kubeconfig"
    path.write_text(text)
    agent = lab.agent(f"--kubeconfig={path}", wait=False)
    wait_until(lambda: agent.process.poll() is not None, "the agent's end")
    assert agent.process.returncode == 1 and error in agent.stderr() and str(path) in agent.stderr()


# -- in cluster ------------------------------------------------------------------------------------------------------------

def test_in_cluster(lab, api, monkeypatch):
    """What the kubelet puts into a pod: environment, token and authority, each of them rotated."""
    secrets, folder = lab.work / "secrets", lab.work / "secrets/kubernetes.io/serviceaccount"
    folder.mkdir(parents=True)
    (folder / "token").write_text("good-token")
    shutil.copy(api.certificates.path("ca.crt"), folder / "ca.crt")
    made = not pathlib.Path("/run/secrets").exists()
    pathlib.Path("/run/secrets").mkdir(exist_ok=True)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
    try:
        agent = lab.agent("--kubeconfig=in-cluster", mounts={secrets: "/run/secrets"})
        wait_until(lambda: connected(agent), "all watches")
        api.tokens = {"rotated"}
        (folder / "token.new").write_text("rotated")
        os.rename(folder / "token.new", folder / "token")
        api.drop_connections()
        api.put(pod_of("there"))
        wait_objects(agent, "peer_pods", 1)
    finally:
        agent.stop()
        if made:
            pathlib.Path("/run/secrets").rmdir()


# -- several kubeconfigs, and another name -----------------------------------------------------------------------------------

def test_kubeconfig_of_the_environment_may_be_several_files(lab, api, monkeypatch):
    """The first that says something counts; one is missing, and one is written anew."""
    whole = json.loads(api.kubeconfig("whole", user={"token": "bad-token"}).read_text())
    first, second = api.folder / "first", api.folder / "second"
    write_atomically(first, json.dumps({"users": [{"name": "agent", "user": {"token": "good-token"}}]}))
    write_atomically(second, json.dumps(whole))
    monkeypatch.setenv("KUBECONFIG", f"{first}:/nonexistent:{second}")
    agent = lab.agent(without=("--pods-dir",))
    assert connected(agent) and {request.user for request in api.log} == {"good-token"}
    api.tokens = {"new-token"}
    write_atomically(first, json.dumps({"users": [{"name": "agent", "user": {"token": "new-token"}}]}))
    api.drop_connections()
    wait_until(lambda: connected(agent), "the watches", 30)


def test_impersonation(lab, api):
    begin(lab, api, {"token": "good-token", "as": "system:serviceaccount:weir-system:weir", "as-groups": ["a", "b"]})
    for request in api.log:
        headers = request.handler.headers
        assert headers["Impersonate-User"] == "system:serviceaccount:weir-system:weir"
        assert headers.get_all("Impersonate-Group") == ["a", "b"]

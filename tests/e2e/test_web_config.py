# SPDX-License-Identifier: Apache-2.0
"""--web.config.file: TLS, client certificates and passwords, asked with curl and openssl as real clients."""

import json
import os
import re
import socket
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
import warnings

import pytest

from lab import Lab
from lab.agent import free_port
from lab.command import run, wait_until

SECRET = "$2b$04$YKIpdZpNETIuYLMCYv15CeYUSxk5iUAMKDPAycr316JEKYn5HYUFy"  # "secret"
SLOW = "$2y$12$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"  # of nothing that anybody knows


def certificate(folder, name, issuer=None, san="DNS:localhost,IP:127.0.0.1", use="serverAuth"):
    """A key and a certificate, signed by the issuer or by itself: paths of both."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", key, "-out", cert,
            "-subj", f"/CN={name}"]
    argv += ["-CA", folder / f"{issuer}.crt", "-CAkey", folder / f"{issuer}.key", "-addext", f"subjectAltName={san}", "-addext", f"extendedKeyUsage={use}",
             "-addext", "basicConstraints=critical,CA:FALSE"] if issuer else []
    run(*argv)
    return cert, key


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An authority with certificates of a server and clients, and a stranger's."""
    path = tmp_path_factory.mktemp("web")
    for authority in ("ca", "stranger"):
        certificate(path, authority)
    certificate(path, "server", "ca")
    certificate(path, "client", "ca", "DNS:prometheus.monitoring.svc,IP:10.1.2.3", "clientAuth")
    certificate(path, "other", "ca", "DNS:other", "clientAuth")
    certificate(path, "not-a-client", "ca", "DNS:prometheus.monitoring.svc")
    certificate(path, "thief", "stranger", "DNS:prometheus.monitoring.svc", "clientAuth")
    return path


class Server:
    """An agent with this configuration, and curl."""

    def __init__(self, lab, folder, config):
        self.folder, self.path = folder, folder / "web.yml"
        self.write(config)
        self.agent = lab.agent(f"--web.config.file={self.path}", wait=False)
        self.base = f"{'https' if 'tls_server_config' in config else 'http'}://localhost:{self.agent.port}"
        wait_until(lambda: "ready" in self.agent.stderr(), "the agent", 30)

    def write(self, config):
        beside = self.path.with_suffix(".new")
        beside.write_text(config)
        os.rename(beside, self.path)

    def curl(self, *argv, path="/metrics"):
        """Status (0: no answer), head and body."""
        done = run("curl", "-sS", "-i", "--max-time", "20", "--cacert", self.folder / "ca.crt", "--resolve", f"localhost:{self.agent.port}:127.0.0.1", *argv,
                   f"{self.base}{path}", check=False)
        status = re.match(r"HTTP/[\d.]+ (\d+)", done.stdout)
        return int(status[1]) if status else 0, done.stdout

    def as_client(self, name):
        return self.curl("--cert", self.folder / f"{name}.crt", "--key", self.folder / f"{name}.key")[0]

    def stop(self):
        self.agent.stop()


TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
USERS = f"basic_auth_users:\n  alice: {SECRET}\n"


@pytest.fixture(scope="module")
def lab():
    with Lab("web") as one:
        yield one


@pytest.fixture
def serve(lab, folder):
    """A function that starts an agent with a configuration."""
    servers = []

    def start(config):
        servers.append(Server(lab, folder, config))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_tls_and_a_password(serve):
    server = serve(TLS + USERS + "http_server_config:\n  headers:\n    X-Frame-Options: deny\n")
    status, text = server.curl("-u", "alice:secret")
    assert status == 200 and "weir_build_info" in text and "X-Frame-Options: deny" in text
    for argv in ((), ("-u", "alice:Secret"), ("-u", "bob:secret"), ("-u", ":"), ("-H", "Authorization: Bearer x"), ("-H", "Authorization: Basic !")):
        status, text = server.curl(*argv)
        assert status == 401 and "WWW-Authenticate: Basic" in text and "weir_build_info" not in text, argv
    for path in ("/", "/nothing", "/metrics?x=y"):
        assert server.curl(path=path)[0] == 401
    for path in ("/healthz", "/readyz"):
        assert server.curl(path=path)[0] == 200
    assert server.curl("-I", "-u", "alice:secret")[0] == 200
    assert run("curl", "-sS", "--max-time", "5", server.base.replace("https", "http") + "/metrics", check=False).returncode  # not in plain
    assert run("curl", "-sS", "--max-time", "5", server.base + "/metrics", check=False).returncode == 60  # an authority that curl does not know


@pytest.mark.parametrize("config,refused,granted", [
    ("", {ssl.TLSVersion.TLSv1_1}, {ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3}),
    ("  min_version: TLS13\n", {ssl.TLSVersion.TLSv1_2}, {ssl.TLSVersion.TLSv1_3}),
    ("  max_version: TLS12\n  curve_preferences: [CurveP256]\n", {ssl.TLSVersion.TLSv1_3}, {ssl.TLSVersion.TLSv1_2})])
def test_versions(serve, folder, config, refused, granted):
    server = serve(TLS + config)

    def speaks(version):
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the old one is to be refused
            context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", server.agent.port), timeout=10) as sock:
            try:
                return context.wrap_socket(sock, server_hostname="localhost").version() is not None
            except OSError:
                return False

    assert {version for version in refused | granted if speaks(version)} == granted


@pytest.mark.parametrize("policy,granted", [
    ("NoClientCert", {"", "client", "other", "not-a-client", "thief"}), ("RequestClientCert", {"", "client", "other", "not-a-client", "thief"}),
    ("RequireAnyClientCert", {"client", "other", "not-a-client", "thief"}), ("VerifyClientCertIfGiven", {"", "client", "other"}),
    ("RequireAndVerifyClientCert", {"client", "other"}), ("sans", {"client"})])
def test_client_certificates(serve, policy, granted):
    more = "" if policy == "NoClientCert" else "  client_ca_file: ca.crt\n"
    more += "  client_allowed_sans: [nobody, prometheus.monitoring.svc]\n" if policy == "sans" else ""
    server = serve(f"{TLS}  client_auth_type: {'RequireAndVerifyClientCert' if policy == 'sans' else policy}\n{more}")
    found = {name for name in ("client", "other", "not-a-client", "thief") if server.as_client(name) == 200}
    assert found | ({""} if server.curl()[0] == 200 else set()) == granted


def test_what_changes_is_read_again(serve, folder):
    """Another certificate, other users; what is wrong leaves everything as it was, and is told."""
    server = serve(TLS + USERS)

    def serial():
        return run("openssl", "s_client", "-connect", f"127.0.0.1:{server.agent.port}", stdin="").stdout

    before = serial()
    certificate(folder, "server", "ca")
    wait_until(lambda: serial() != before, "the new certificate", 10)
    assert server.curl("-u", "alice:secret")[0] == 200
    server.write(TLS + USERS.replace("alice", "bob"))
    wait_until(lambda: server.curl("-u", "bob:secret")[0] == 200, "the new user")
    wait_until(lambda: server.curl("-u", "alice:secret")[0] == 401, "the old user to be unknown")
    server.write(TLS + "nonsense: 1\n")
    assert server.curl("-u", "bob:secret")[0] == 200
    assert "unknown field nonsense" in server.agent.stderr()
    server.write(USERS)  # without TLS: not while it runs
    time.sleep(2.1)
    assert server.curl("-u", "bob:secret")[0] == 200
    server.write(TLS)
    wait_until(lambda: server.curl()[0] == 200, "nobody to be asked", 10)


def test_guessing_does_not_keep_others_out(serve):
    """Hashing takes long; who was known before is let in at once, the agent goes on, and guesses have to wait."""
    server = serve(f"basic_auth_users:\n  alice: {SECRET}\n  slow: {SLOW}\n")
    assert server.curl("-u", "alice:secret")[0] == 200
    answers = []
    while answers.count(503) < 3:
        answers.append(server.curl("-u", f"slow:{len(answers)}")[0])
        assert len(answers) < 50
        assert server.curl("-u", "alice:secret")[0] == 200
        assert server.curl(path="/readyz")[0] == 200
    assert set(answers) == {401, 503}


def test_prometheus_scrapes_it(serve, folder, tmp_path):
    """A real one, with a certificate and a password."""
    server = serve(TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n" + USERS)
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [{
        "job_name": "weir", "scrape_interval": "500ms", "scrape_timeout": "500ms", "scheme": "https", "basic_auth": {"username": "alice", "password": "secret"},
        "tls_config": {"ca_file": f"{folder}/ca.crt", "cert_file": f"{folder}/client.crt", "key_file": f"{folder}/client.key", "server_name": "localhost"},
        "static_configs": [{"targets": [f"127.0.0.1:{server.agent.port}"]}]}]}))
    with open(tmp_path / "prometheus.log", "wb") as log:
        process = subprocess.Popen(["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
                                    f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def value(query):
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return None  # it is still starting
        return result and result[0]["value"][1]

    try:
        wait_until(lambda: value("up") == "1", "Prometheus to scrape weir", 30, 0.2)
        assert value("weir_hook_attached{hook='sockops'}") == "1"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("config,text", [(TLS.replace("server.key", "ca.key"), "certificate and key"), (TLS.replace("server.crt", "none.crt"), "none.crt: No such file"),
                                         ("basic_auth_users: {alice: secret}\n", "bcrypt")])
def test_what_is_wrong_is_told_at_the_start(lab, folder, config, text):
    path = folder / "wrong.yml"
    path.write_text(config)
    agent = lab.agent(f"--web.config.file={path}", wait=False)
    assert agent.process.wait(30) == 1
    assert text in agent.stderr() and len(agent.stderr().splitlines()) == 1


def test_nothing_asked_for(serve):
    assert serve("").curl()[0] == 200

# SPDX-License-Identifier: Apache-2.0
"""The control plane: etcd, API server, controller manager and scheduler, on loopback in the network namespace that this runs in.

The guest reaches the API server as 10.0.2.2, which QEMU's user network turns into 127.0.0.1 here.
"""

import secrets
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request

from lab.command import LabError, run, wait_until

from .images import BIN

ETCD_PORT, ETCD_PEER_PORT, API_PORT = 12379, 12380, 16443
HOST_SEEN_BY_GUEST = "10.0.2.2"
NODE_NAME, NODE_ADDRESS = "node", "10.0.2.15"
SERVICES = "10.96.0.0/16"
# Who may come with a token: name, user, groups.
TOKENS = (("admin", "admin", "system:masters"), ("node", f"system:node:{NODE_NAME}", "system:nodes"), ("kube-proxy", "system:kube-proxy", ""))
AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["system:serviceaccount:weir-system:weir"]}
  - {level: None}
"""
KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "https://{host}:{port}", certificate-authority: {ca}}}}}]
users: [{{name: user, user: {{token: {token}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: user}}}}]
current-context: test
"""


class Program:
    """A server that can be killed and started again; each start appends to the same log."""

    def __init__(self, folder, name, *args):
        self.name, self.args, self.log, self.process = name, args, folder / f"{name}.log", None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BIN / self.name, *self.args], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self):
        """The abrupt end: no connection is drained."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def check(self):
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise LabError(f"{self.name} ended with status {self.process.returncode}:\n{tail}")


def openssl(*args):
    run("openssl", *args, timeout=120)


class ControlPlane:
    def __init__(self, folder):
        self.folder = folder
        self.secrets = folder / "secrets"
        self.secrets.mkdir(mode=0o700)
        self.tokens = {name: secrets.token_hex(16) for name, _, _ in TOKENS}
        self._make_certificates()
        self._make_tokens()
        # What weir's agent asks; nobody else is written down.
        self.audit_log = folder / "audit.log"
        (self.secrets / "audit.yaml").write_text(AUDIT_POLICY)
        self.kubeconfig = self.write_kubeconfig("admin", "127.0.0.1", self.secrets / "ca.crt")
        self.etcd, self.api, self.others = self._programs()

    def _make_certificates(self):
        here = self.secrets
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test-ca", "-keyout", here / "ca.key", "-out", here / "ca.crt")
        openssl("genrsa", "-out", here / "accounts.key", "2048")
        alternatives = f"subjectAltName=IP:127.0.0.1,IP:10.96.0.1,IP:{HOST_SEEN_BY_GUEST},DNS:kubernetes.default.svc"
        self._sign("server", "/CN=kube-apiserver", alternatives)
        # With it the API server asks the kubelet, for `kubectl exec` and `kubectl logs`.
        self._sign("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", "extendedKeyUsage=clientAuth")

    def _sign(self, name, subject, extension):
        here = self.secrets
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", here / f"{name}.key", "-out", here / f"{name}.csr")
        (here / f"{name}.ext").write_text(extension)
        openssl("x509", "-req", "-in", here / f"{name}.csr", "-CA", here / "ca.crt", "-CAkey", here / "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", here / f"{name}.ext", "-out", here / f"{name}.crt")

    def _make_tokens(self):
        rows = (f'{self.tokens[name]},{user},{user},"{groups}"\n' for name, user, groups in TOKENS)
        (self.secrets / "tokens.csv").write_text("".join(rows))

    def write_kubeconfig(self, who, host, ca, path=None):
        path = path or self.secrets / f"{who}.kubeconfig"
        path.write_text(KUBECONFIG.format(host=host, port=API_PORT, ca=ca, token=self.tokens[who]))
        return path

    def give_to_node(self, share):
        """The node's kubeconfigs and the authority, in the folder that the guest has as /share."""
        shutil.copy(self.secrets / "ca.crt", share / "ca.crt")
        for who in ("node", "kube-proxy"):
            self.write_kubeconfig(who, HOST_SEEN_BY_GUEST, "/share/ca.crt", share / f"{who}.kubeconfig")

    def _programs(self):
        here, etcd = self.secrets, f"http://127.0.0.1:{ETCD_PORT}"
        peer = f"http://127.0.0.1:{ETCD_PEER_PORT}"
        accounts = here / "accounts.key"
        client = ["--kubeconfig", self.kubeconfig, "--authentication-kubeconfig", self.kubeconfig, "--authorization-kubeconfig", self.kubeconfig,
                  "--bind-address=127.0.0.1", "--leader-elect=false"]
        return (
            Program(self.folder, "etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync", "--listen-client-urls", etcd,
                    "--advertise-client-urls", etcd, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                    "--initial-cluster", f"default={peer}"),
            Program(self.folder, "kube-apiserver", f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--advertise-address={HOST_SEEN_BY_GUEST}",
                    f"--secure-port={API_PORT}", "--endpoint-reconciler-type=lease", "--kubelet-preferred-address-types=InternalIP", f"--tls-cert-file={here / 'server.crt'}",
                    f"--tls-private-key-file={here / 'server.key'}", f"--client-ca-file={here / 'ca.crt'}", f"--token-auth-file={here / 'tokens.csv'}",
                    f"--kubelet-client-certificate={here / 'kubelet-client.crt'}", f"--kubelet-client-key={here / 'kubelet-client.key'}",
                    "--authorization-mode=Node,RBAC", "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={accounts}",
                    f"--service-account-signing-key-file={accounts}", f"--service-cluster-ip-range={SERVICES}",
                    f"--audit-policy-file={here / 'audit.yaml'}", f"--audit-log-path={self.audit_log}", "--allow-privileged=true"),
            [Program(self.folder, "kube-controller-manager", *client, f"--service-account-private-key-file={accounts}",
                     f"--root-ca-file={here / 'ca.crt'}", "--use-service-account-credentials=true",
                     # A node that is slow, or cannot reach the API server that was killed, keeps its endpoints: that is not tested.
                     "--node-monitor-grace-period=1h"),
             Program(self.folder, "kube-scheduler", *client)])

    def start(self):
        self.etcd.start()
        self.start_api()
        for program in self.others:
            program.start()

    def start_api(self):
        self.api.start()
        wait_until(self._is_ready, "the API server's /readyz", 120, 0.2)

    def kill_api(self):
        self.api.kill()

    def _is_ready(self):
        self.etcd.check()
        self.api.check()
        request = urllib.request.Request(f"https://127.0.0.1:{API_PORT}/readyz", headers={"Authorization": f"Bearer {self.tokens['admin']}"})
        try:
            with urllib.request.urlopen(request, timeout=5, context=ssl.create_default_context(cafile=self.secrets / "ca.crt")) as answer:
                return answer.status == 200
        except OSError:
            return False

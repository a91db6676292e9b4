# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes API server with its etcd, both from build/kube/bin, on loopback; nothing else of a cluster."""

import json
import pathlib
import shutil
import subprocess
import time

from .agent import free_port
from .apiserver import Certificates
from .command import BUILD, LabError, run, wait_until

BIN = BUILD / "kube" / "bin"
PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
ADMIN = "admin-token"


def missing():
    """Why it cannot be had here; "" if it can."""
    absent = [name for name in PROGRAMS if not (BIN / name).exists()]
    return f"{BIN / absent[0]} is missing: make check-cluster builds it" if absent else ""


class Kubernetes:
    """Use as a context. Options are more flags of the API server."""

    def __init__(self, folder, *options):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.certificates = Certificates(self.folder / "pki")
        self.options, self.processes = options, {}
        self.port, self.etcd_port, self.peer_port = free_port(), free_port(), free_port()
        run("openssl", "genrsa", "-out", self.folder / "sa.key", "2048")
        (self.folder / "tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n')
        self.admin = self.kubeconfig("admin", ADMIN)

    def __enter__(self):
        try:
            self._start_storage()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _spawn(self, name, *argv):
        with open(self.folder / f"{name}.log", "a", encoding="utf-8") as log:
            self.processes[name] = subprocess.Popen([str(arg) for arg in (BIN / name, *argv)], stdin=subprocess.DEVNULL, stdout=log,
                                                    stderr=log)

    def _start_storage(self):
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.peer_port}"
        self._spawn("etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync", "--listen-client-urls", client,
                    "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                    "--initial-cluster", f"default={peer}")

    def backup(self):
        """What the storage holds is kept; everything goes on."""
        self.kill()
        self._end("etcd")
        shutil.copytree(self.folder / "etcd", self.folder / "backup")
        self._start_storage()
        self.start()

    def restore(self):
        """The storage holds what it held when backup() was called; versions go on from there."""
        self.kill()
        self._end("etcd")
        shutil.rmtree(self.folder / "etcd")
        shutil.copytree(self.folder / "backup", self.folder / "etcd")
        self._start_storage()
        self.start()

    def start(self):
        """The API server; again after kill()."""
        self._spawn("kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1", f"--secure-port={self.port}", "--endpoint-reconciler-type=none",
                    f"--tls-cert-file={self.certificates.path('server.crt')}",
                    f"--tls-private-key-file={self.certificates.path('server.key')}",
                    f"--client-ca-file={self.certificates.path('ca.crt')}", f"--token-auth-file={self.folder / 'tokens.csv'}",
                    "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-key-file={self.folder / 'sa.key'}", f"--service-account-signing-key-file={self.folder / 'sa.key'}",
                    "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true", "--etcd-compaction-interval=0", *self.options)
        wait_until(lambda: self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok", "the API server's /readyz", 60, 0.2)

    def kill(self):
        """Abrupt: a server that is asked to end waits for its watches."""
        self._end("kube-apiserver")

    def _end(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def kubeconfig(self, name, token):
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                                                    "certificate-authority-data": self.certificates.base64("ca.crt")}}],
            "users": [{"name": "it", "user": {"token": token}}]}))
        return path

    def kubectl(self, *argv, stdin=None, check=True):
        return run(BIN / "kubectl", f"--kubeconfig={self.admin}", f"--cache-dir={self.folder / 'cache'}", *argv, stdin=stdin, check=check)

    def apply(self, *items):
        """Creates objects or changes them; the status of pods as well, which nobody else writes here."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        for item in items:
            if item["kind"] == "Pod" and "status" in item:
                meta = item["metadata"]
                self.kubectl("patch", "pod", "-n", meta["namespace"], meta["name"], "--subresource=status", "--type=merge",
                             "-p", json.dumps({"status": item["status"]}))

    def token(self, account, namespace="default"):
        deadline = time.monotonic() + 20
        while True:
            done = self.kubectl("create", "token", account, "-n", namespace, check=False)
            if not done.returncode:
                return done.stdout.strip()
            if time.monotonic() > deadline:
                raise LabError(done.stderr)
            time.sleep(0.2)

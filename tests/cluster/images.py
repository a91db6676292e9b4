# SPDX-License-Identifier: Apache-2.0
"""Container images without a registry or a builder: a folder becomes the archive that `docker save` would write."""

import hashlib
import io
import json
import os
import pathlib
import tarfile

from lab.command import BUILD, ROOT, run

ASSEMBLE = ROOT / "deploy" / "image" / "assemble"
BIN = BUILD / "kube" / "bin"
LAYER = "layer.tar"


def _same_everywhere(info):
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def _layer(folder):
    """A tar file of the folder, the same whenever the folder is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(folder)), recursive=False, filter=_same_everywhere)
    return out.getvalue()


def archive(folder, name, path, entrypoint=(), user="0"):
    """Writes the image `name` with the folder as its only layer; returns the size of that layer."""
    layer = _layer(folder)
    config = json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "User": user, "WorkingDir": "/", "Env": ["PATH=/usr/sbin:/usr/bin:/usr/local/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [LAYER]}]).encode()
    with tarfile.open(path, "w") as tar:
        for entry, content in ((config_name, config), (LAYER, layer), ("manifest.json", manifest)):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return len(layer)


class Image:
    """What an image is made of: programs (path here to path there), links, the command, the user."""

    def __init__(self, name, programs, links=None, entrypoint=(), user="0"):
        self.name, self.programs, self.links, self.entrypoint, self.user = name, programs, links or {}, entrypoint, user

    def build(self, work, archive_path):
        """Returns the size of the file system in bytes."""
        folder = pathlib.Path(work) / archive_path.stem
        run(ASSEMBLE, folder, *(f"{here}={there}" for here, there in self.programs.items()), timeout=120)
        for link, target in self.links.items():
            path = folder / link.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        return archive(folder, self.name, archive_path, self.entrypoint, self.user)


def weir_image(name):
    return Image(name, {BUILD / "weir": "/usr/sbin/weir", BUILD / "weir-cni": "/usr/sbin/weir-cni"}, entrypoint=["/usr/sbin/weir"])


APP = "/usr/local/bin/app"
PAUSE, APPLICATION, PROXYV2, LINKERD, REDIS = ("registry.k8s.io/pause:3.6", "localhost/app:test", "localhost/istio/proxyv2:test",
                                               "localhost/linkerd/proxy:test", "localhost/redis:test")


def test_images():
    """Everything that the cluster runs besides weir, by the name of its archive."""
    app = {BIN / "app": APP}
    return {
        "pause": Image(PAUSE, app, entrypoint=[APP, "pause"], user="65535"),
        "app": Image(APPLICATION, app, entrypoint=[APP], user="1000"),
        "proxyv2": Image(PROXYV2, {**app, (BUILD / "envoy" / "envoy").resolve(): "/usr/local/bin/envoy"}, entrypoint=[APP], user="1337"),
        "linkerd": Image(LINKERD, app, {"/usr/lib/linkerd/linkerd2-network-validator": APP, "/usr/lib/linkerd/linkerd2-proxy": APP},
                         entrypoint=["/usr/lib/linkerd/linkerd2-proxy"], user="2102"),
        "redis": Image(REDIS, {pathlib.Path("/usr/bin/redis-server").resolve(): "/usr/bin/redis-server"}, entrypoint=["/usr/bin/redis-server"],
                       user="999"),
    }

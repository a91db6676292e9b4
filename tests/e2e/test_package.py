# SPDX-License-Identifier: Apache-2.0
"""The Debian package and the systemd unit: built, looked into, unpacked and run, installed into a folder and taken away."""

import os
import re
import subprocess

import pytest

from lab.command import BUILD, ROOT

# What the package holds, besides folders; and the modes of what is run.
FILES = {
    "./etc/default/weir": "-rw-r--r--",
    "./usr/sbin/weir": "-rwxr-xr-x",
    "./usr/lib/cni/weir-cni": "-rwxr-xr-x",
    "./usr/lib/systemd/system/weir.service": "-rw-r--r--",
    "./usr/share/man/man8/weir.8.gz": "-rw-r--r--",
    "./usr/share/man/man8/weir-cni.8.gz": "-rw-r--r--",
    "./usr/share/doc/weir/copyright": "-rw-r--r--",
    "./usr/share/doc/weir/NEWS.gz": "-rw-r--r--",
    "./usr/share/doc/weir/changelog.gz": "-rw-r--r--",
    "./usr/share/lintian/overrides/weir": "-rw-r--r--",
}


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], cwd=ROOT, capture_output=True, text=True, timeout=300, **more)


def good(*argv, **more):
    done = run(*argv, **more)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def package():
    """The package as `make deb` makes it. The programs are built already, so that this only packs."""
    return ROOT / good("make", "-s", "deb").split()[-1]


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deb")
    good("dpkg-deb", "-x", package, folder)
    return folder


def test_contents(package):
    """Exactly the files that belong there, owned by root, none writable by others."""
    listed = {}
    for line in good("dpkg", "-c", package).splitlines():
        mode, owner, _, _, _, name = line.split(None, 5)
        assert owner == "root/root", line
        if not mode.startswith("d"):
            listed[name] = mode
    assert listed == FILES


def test_lintian(package):
    """Debian's own judge finds nothing; it does not like packages that are built by root."""
    done = run("lintian", "--fail-on", "error,warning", "--allow-root", package)
    assert done.returncode == 0, done.stdout + done.stderr


def test_control(package):
    """The dependencies are the libraries that the programs load, by package; what is configuration is known as such."""
    fields = dict(line.split(": ", 1) for line in good("dpkg-deb", "-f", package).splitlines() if re.match(r"[A-Z][\w-]*: ", line))
    assert fields["Package"] == "weir" and fields["Architecture"] == good("dpkg", "--print-architecture").strip()
    depends = {item.split()[0] for item in fields["Depends"].split(", ")}
    assert {"libbpf1", "libc6", "libcurl4", "libjansson4", "libmicrohttpd12", "libgnutls30", "libcrypt1", "libyajl2", "libyaml-0-2", "libmnl0"} <= depends
    assert good("dpkg-deb", "-I", package, "conffiles").split() == ["/etc/default/weir"]
    for script in ("postinst", "prerm", "postrm"):
        good("sh", "-n", "/dev/stdin", input=good("dpkg-deb", "-I", package, script))


def test_programs_run(unpacked):
    """The stripped programs run, and the plugin depends on no library: it is copied to nodes of any distribution."""
    assert good(unpacked / "usr/sbin/weir", "version").startswith("weir ")
    assert "supportedVersions" in good(unpacked / "usr/lib/cni/weir-cni", env={"CNI_COMMAND": "VERSION"}, input='{"cniVersion":"1.0.0"}')
    loads = run("ldd", unpacked / "usr/lib/cni/weir-cni")
    assert "not a dynamic executable" in loads.stderr or "statically linked" in loads.stdout


def test_same_bytes(package):
    """The same sources give the same package."""
    before = package.read_bytes()
    good("make", "-s", "deb")
    assert package.read_bytes() == before


def test_installed_and_taken_away(package, tmp_path):
    """dpkg into a folder: changed configuration outlives an upgrade and a removal, a purge leaves nothing of weir's."""
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/weir"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()
    (tmp_path / "var/lib/weir/captured.json").write_text("{}")
    # The scripts run outside of the folder and are told of it by DPKG_ROOT: this machine is not theirs.
    dpkg = ("dpkg", f"--root={tmp_path}", "--force-script-chrootless", "--force-depends", "--force-confold", "--log=/dev/null")
    good(*dpkg, "-i", package)
    assert os.access(tmp_path / "usr/sbin/weir", os.X_OK) and (tmp_path / "etc/weir/pods").is_dir()
    enabled = tmp_path / "etc/systemd/system/multi-user.target.wants/weir.service"  # as `systemctl enable` makes it
    enabled.parent.mkdir(parents=True)
    enabled.symlink_to("/usr/lib/systemd/system/weir.service")
    options = tmp_path / "etc/default/weir"
    options.write_text("WEIR_OPTIONS=--log.level=debug\n")
    good(*dpkg, "-i", package)
    assert enabled.is_symlink()
    good(*dpkg, "-r", "weir")
    assert not enabled.is_symlink()
    assert options.read_text() == "WEIR_OPTIONS=--log.level=debug\n" and not (tmp_path / "usr/sbin/weir").exists()
    good(*dpkg, "-P", "weir")
    left = [path for path in tmp_path.rglob("*weir*")]
    assert left == [], left


def test_unit(unpacked, tmp_path):
    """systemd accepts every line of the unit; what the unit is exposed to is no more than what it needs."""
    text = (unpacked / "usr/lib/systemd/system/weir.service").read_text()
    unit = tmp_path / "weir.service"
    unit.write_text(text.replace("/usr/sbin/weir", str(BUILD / "weir")).replace("Documentation=man:weir(8)\n", ""))
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    assert done.returncode == 0 and "weir.service" not in done.stderr, done.stderr
    score = good("systemd-analyze", "security", "--offline=true", "--threshold=60", unit)
    assert "Overall exposure level" in score

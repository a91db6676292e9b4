# SPDX-License-Identifier: Apache-2.0
"""Programs in the languages that applications are written in: HTTP clients, and what looks names up. Built once below build/clients.

Each is a command line that takes addresses (or names) as further arguments; their sources are in clients/.
"""

import functools
import os
import pathlib
import shutil
import tempfile
import zlib

import pytest

from lab.command import BUILD, run
from support import PYTHON

SOURCES = pathlib.Path(__file__).with_name("clients")
FOLDER = BUILD / "clients"
TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin"
PYTHON_HTTP = "import sys, urllib.request\nfor url in sys.argv[1:]: print(urllib.request.urlopen(url, timeout=20).read().decode())"


def tool(name, hint):
    """The path of a program; a test that needs one that is missing is skipped and says so."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{TOOLS}")
    if not found:
        pytest.skip(f"no {name}: {hint}")
    return found


@functools.cache
def build(source, out, *command):
    """What a compiler makes of one source below build/clients; {out} in the command is where it has to go."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = FOLDER / f"{out}-{zlib.crc32((SOURCES / source).read_bytes()):08x}"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as part:  # several runs may build at a time
            run(*[item.replace("{out}", f"{part}/{out}") for item in command], SOURCES / source, timeout=300)
            (pathlib.Path(part) / out).rename(made)
    return made


def build_go(source):
    compiler = tool("go", "put Go 1.20 or later into the PATH")
    return build(source, source.replace(".", "-"), "env", "CGO_ENABLED=0", compiler, "build", "-o", "{out}")


def build_c(source, compiler):
    return build(source, f"{source.replace('.', '-')}-{compiler}", tool(compiler, "run scripts/setup"), "-O2", "-o", "{out}")


def http_java():
    java, compiler = tool("java", "run scripts/setup"), tool("javac", "run scripts/setup")
    folder = build("Http.java", "java", compiler, "-d", "{out}")
    return [java, "-XX:TieredStopAtLevel=1", "-cp", folder, "Http"]


HTTP = {
    "curl": lambda: ["curl", "-sS", "--max-time", "20", "--noproxy", "*", "-w", "\\n"],
    "go": lambda: [build_go("http.go")],
    "java": http_java,
    "node": lambda: [tool("node", "run scripts/setup"), "-e", (SOURCES / "http.js").read_text(), "--"],
    "python": lambda: [PYTHON, "-c", PYTHON_HTTP],
}
RESOLVERS = {
    "glibc": lambda: [build_c("resolve.c", "gcc")],
    "musl": lambda: [build_c("resolve.c", "musl-gcc")],
    "go": lambda: [build_go("resolve.go")],
    "c-ares": lambda: [tool("node", "run scripts/setup"), "-e", (SOURCES / "resolve.js").read_text(), "--"],
}

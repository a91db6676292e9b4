# SPDX-License-Identifier: Apache-2.0
"""What the documents name exists: commands, their options, chart values, scripts, make's targets, and the files that they link to."""

import re
import subprocess

import pytest
import yaml

from lab.command import ROOT, WEIR

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w.-])--([a-z][a-z0-9.-]*[a-z0-9])")

# Options of helm that the pages tell of, and ones that a page says are not there yet.
OTHERS = {"set", "reuse-values", "reset-then-reuse-values", "wait"}


def helps(command):
    return subprocess.run([WEIR, command, "--help"], capture_output=True, text=True, timeout=30).stdout


@pytest.fixture(scope="module")
def options():
    """{command: its options}, by what the command itself says."""
    listed = subprocess.run([WEIR, "help"], capture_output=True, text=True, timeout=30)
    commands = re.findall(r"^\s+([a-z][a-z-]+)\s{2,}", listed.stdout + listed.stderr, re.M)
    assert "agent" in commands and "explain" in commands, listed.stdout
    return {command: set(OPTION.findall(helps(command))) for command in commands}


def code(text):
    """Lines of code blocks, and what stands between back-ticks."""
    return [line.strip() for line in text.splitlines() if line.startswith("    ")] + re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page):
    for target in LINK.findall(page.read_text()):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page, options):
    """Each call of weir in a code block is of a command that is there, with options that it has."""
    for line in code(page.read_text()):
        called = re.match(r"(?:.* -- |\$ |sudo )?weir ([a-z][a-z-]*)((?: .*)?)$", line)
        if not called or line.startswith("weir explain:"):
            continue
        command, rest = called.groups()
        assert command in options, f"{page.name}: {line}"
        for option in OPTION.findall(rest.split("#")[0]):
            assert option in options[command], f"{page.name}: {line}: no --{option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist(page, options):
    """An option that stands alone between back-ticks belongs to some command of weir's."""
    known = set().union(*options.values()) | OTHERS
    for item in re.findall(r"`--([a-z][a-z0-9.-]*[a-z0-9])[^`]*`", page.read_text()):
        assert item in known, f"{page.name}: no command has --{item}"


def test_the_test_finds_what_is_not_there(options):
    assert "to" in options["explain"] and "pods-dir" in options["agent"] and "nonsense" not in options["agent"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_targets_exist(page):
    """Scripts, files of the chart and make's targets."""
    makefile = (ROOT / "Makefile").read_text()
    for item in code(page.read_text()):
        for path in re.findall(r"(?<![\w/.])((?:scripts|deploy)/[\w./-]*\w)", item):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
        called = re.match(r"(?:sudo )?make ([a-z][a-z0-9-]*)", item)
        if called:
            assert re.search(rf"^{called[1]}:", makefile, re.M), f"{page.name}: make {called[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_values_exist(page):
    """What is given to helm with --set is a value of the chart."""
    values = yaml.safe_load((ROOT / "deploy/helm/weir/values.yaml").read_text())
    for line in code(page.read_text()):
        if "helm" not in line and not line.startswith("--set"):
            continue
        for path in re.findall(r"--set (\w[\w.]*)=", line):
            at = values
            for key in path.split("."):
                assert isinstance(at, dict) and (key in at or at == {}), f"{page.name}: --set {path}"
                at = at.get(key, {})


MANUALS = ROOT / "docs" / "man"
NAMES = re.compile(r"\b(?:weir|istio_tcp|istio_requests|process)_[a-z](?:[a-z0-9_]*[a-z0-9])?\b")


def manual_options():
    """{command: the options that its section of weir(8) tells}"""
    found, at = {}, None
    for line in (MANUALS / "weir.8").read_text().splitlines():
        section = re.match(r"\.Ss (?:weir )?(.*)", line)
        if section:
            at = found.setdefault(section[1], set())
        elif line.startswith(".Sh"):
            at = None
        elif line.startswith(".It") and at is not None:
            at |= set(re.findall(r"Fl -([a-z][a-z.-]*)", line))
    return found


def test_the_manual_has_every_option_and_no_other(options):
    manual = manual_options()
    common = manual.pop("Options of all commands but the agent")
    for command, known in options.items():
        told = manual[command]
        assert known - {"version"} <= told | common, f"weir(8) does not tell of weir {command}: {known - told - common}"
        assert told <= known, f"weir(8) tells of what weir {command} has not: {told - known}"


@pytest.fixture(scope="module")
def words():
    """Everything in the sources that has such a name: metrics, maps, functions."""
    found = set()
    for folder in ("agent", "base", "bpf", "cli", "exporter", "maps"):
        for path in (ROOT / folder).iterdir():
            if path.suffix in (".c", ".h", ".def"):
                found |= set(NAMES.findall(path.read_text()))
    return found


@pytest.mark.parametrize("page", [*PAGES, *sorted(MANUALS.iterdir()), *sorted((ROOT / "deploy/helm").rglob("*.*"))], ids=lambda page: page.name)
def test_metrics_and_maps_exist(page, words):
    """weir_udp_* stands for all that begin so."""
    if not page.is_file() or page.suffix == ".tgz":
        return
    for match in NAMES.finditer(page.read_text()):
        name, behind = match[0], page.read_text()[match.end():match.end() + 2]
        plain = re.sub(r"_(bucket|sum|count)$", "", name)
        known = name in words or plain in words or any(word.startswith(name) for word in words) and behind.startswith(("_", "*", "{", "\\"))
        assert known, f"{page.name}: {name}"

# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a lab of its own for each test or each file, named after it; the agent's log and the programs' logs stand in the report of a failure."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab import Lab  # noqa: E402  (the path above makes it importable)
from lab.command import PROBE, WEIR  # noqa: E402

LOG_TAIL = 4000  # characters of each log in a report


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: runs while no other test does")


def pytest_collection_modifyitems(items):
    """All of these make network namespaces and cgroups."""
    if os.geteuid() == 0:
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason="needs root: run `sudo make check`"))


@pytest.fixture(scope="session")
def probe():
    """The path of the sockets tool."""
    if not PROBE.exists():
        pytest.fail(f"{PROBE} is missing: run make tests")
    return PROBE


@pytest.fixture
def lab(request, probe):
    """A lab for one test; make more in the test with lab's own class when it needs several."""
    with Lab(request.node.name) as made:
        yield made


@pytest.fixture(scope="module")
def node(request, probe):
    """A lab for all tests of a file, with an agent that has the file's AGENT_OPTIONS and runs under its AGENT_UNDER."""
    with Lab(request.module.__name__.removeprefix("test_")) as made:
        made.agent(*getattr(request.module, "AGENT_OPTIONS", ()), under=getattr(request.module, "AGENT_UNDER", ()))
        yield made


@pytest.fixture
def agent(lab):
    """A weir agent that runs on the test's lab and knows no pod yet."""
    if not WEIR.exists():
        pytest.fail(f"{WEIR} is missing: run make")
    return lab.agent()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Reads the logs while the lab still exists."""
    outcome = yield
    report = outcome.get_result()
    labs = [value for value in item.funcargs.values() if isinstance(value, Lab) and value.log_dir.exists()]
    for used in labs if report.failed else ():
        for log in sorted(used.log_dir.iterdir()):
            text = log.read_text(errors="replace")[-LOG_TAIL:]
            if text:
                report.sections.append((log.name, text))

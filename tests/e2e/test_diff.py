# SPDX-License-Identifier: Apache-2.0
"""weir against the real iptables (tests/diff): Istio's own rule sets and random configurations, probe by probe.

`make diff CONFIGS=10000` runs more of the random ones; a failure names the seed and the index that bring it back.
"""

import os
import pathlib
import secrets

import pytest

from diff import conformance
from diff.absence import compare_absence
from diff.compare import WANTED
from diff.crew import Crew
from diff.inputs import options_of
from diff.rules import build, parse
from diff.run import Harness
from lab import kube

FIDELITY = pathlib.Path(__file__).resolve().parents[2] / "docs/FIDELITY.md"
SEED = int(os.environ.get("WEIR_DIFF_SEED", secrets.randbelow(1 << 32)))
CONFIGURATIONS, PROBES = 60, 120


@pytest.fixture(scope="module")
def harness():
    with Harness() as made:
        yield made
        print(made.books.summary())


def bare_pod():
    return {"metadata": {"annotations": {}, "labels": {}}, "status": {"podIPs": [{"ip": "10.0.0.1"}]},
            "spec": {"containers": [kube.container("istio-proxy", "istio/proxyv2")]}}


# -- the generator ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,options", conformance.capture_cases().items(), ids=conformance.capture_cases())
def test_rules_are_istios(name, options):
    """The generated rules are those of istio-iptables, chain by chain, in their order."""
    assert build(options).chains() == parse(conformance.golden("capture", name))


@pytest.mark.parametrize("name,options", conformance.capture_cases().items(), ids=conformance.capture_cases())
def test_rules_of_istio_init_are_istios(name, options):
    """The same, by way of an istio-init container's arguments."""
    pod = conformance.capture_pod(options, bare_pod())
    pod["status"]["podIPs"].append({"ip": "fd00::1"})
    assert build(options_of(pod)).chains() == parse(conformance.golden("capture", name).replace("java", conformance.JAVA))


@pytest.mark.parametrize("name", conformance.SIDECARS)
def test_rules_of_a_pod_are_those_of_istio_cni(name):
    """From the pod object to the rules."""
    assert build(options_of(conformance.sidecar_pod(name, bare_pod()))).chains() == parse(conformance.golden("cni-sidecar", name))


# -- the comparison --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("row", sorted({wanted.row for wanted in WANTED}))
def test_wanted_differences_are_documented(row):
    """Every difference that passes here stands in the table that users read."""
    rows = [line.split("|")[1].strip() for line in FIDELITY.read_text().splitlines() if line.startswith("| ")]
    assert row in rows


def check(harness, before):
    """What came up since `before` (differences, contradictions)."""
    books = harness.books
    new = books.differences[before[0]:] + books.contradictions[before[1]:]
    assert not new, f"{books.failures()}\n{books.summary()}"


def marks(harness):
    return len(harness.books.differences), len(harness.books.contradictions)


@pytest.mark.parametrize("case", conformance.pods())
def test_istios_own_cases(harness, case):
    """Every probe of the matrix under every rule set of Istio's."""
    before = marks(harness)
    pod = conformance.pods()[case](harness.of("istio").pod_object())
    harness.full(case, "istio", pod)
    check(harness, before)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("seed", [SEED])
def test_the_proxy_is_not_there(harness, seed, index):
    """weir.io/before-proxy and proxy-down, in a random pod before its proxy listens, while it does, and afterwards."""
    before = marks(harness)
    compare_absence(harness, seed, index, PROBES)
    check(harness, before)


@pytest.mark.parametrize("seed", [SEED])
def test_random_configurations(seed):
    """A new seed each time, named by the test's name; WEIR_DIFF_SEED repeats one."""
    crew = Crew(seed, range(CONFIGURATIONS), PROBES, jobs=2)
    assert crew.work()
    books = crew.books()
    print(f"seed {seed}: {books.summary()}\n{crew.pace()}")
    assert books.clean(), f"seed {seed} (make diff SEED={seed} INDEX=n)\n{books.failures()}"

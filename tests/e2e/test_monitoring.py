# SPDX-License-Identifier: Apache-2.0
"""The alerts and dashboards of the chart: they name what weir has, a real Prometheus understands them, and they show what happens."""

import json
import re
import subprocess

import pytest
import yaml

from books import pod_of
from lab import Lab
from lab.command import ROOT, wait_until
from prometheus import Prometheus
from support import APP, Shell, start_proxy
from test_kube_events import wrong_pod

FILES = ROOT / "deploy" / "helm" / "weir" / "files"
ALERTS = FILES / "alerts.yaml"
BOARDS = {name: json.loads((FILES / f"{name}.json").read_text()) for name in ("workloads", "nodes")}
RULES = {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
# What Prometheus itself adds to a series, and what a histogram's buckets have.
ADDED = {"job", "instance", "le"}


def panels(board):
    """(title, query) of each, with the variables at "All"."""
    values = {"$__rate_interval": "10s", "$namespace": ".*", "$workload": ".*", "$instance": ".*"}
    for panel in BOARDS[board]["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in values.items():
                query = query.replace(name, value)
            assert "$" not in query, query
            yield panel["title"], query, target["legendFormat"]


def families():
    """{metric: its labels}, from the list that the exposition is made of."""
    text = (ROOT / "exporter" / "metrics.def").read_text()
    tables = {name: set(filter(None, labels.split(", "))) for name, labels in re.findall(r'^METRIC_TABLE\((\w+), "([^"]*)"', text, re.M)}
    return {name: tables[table] for table, name in re.findall(r"^METRIC\((\w+), \w+, \w+, (\w+),", text, re.M)}


def named(query):
    """The metrics and the labels that a query names."""
    names = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\b(?:weir|process)_\w+", query)}
    labels = {label for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in listed.split(", ")}
    return names, labels | set(re.findall(r"(\w+)=~?\"", query))


QUERIES = {**{f"alert {name}": (rule["expr"], "") for name, rule in RULES.items()},
           **{f"{board}: {title}, {legend}": (query, legend) for board in BOARDS for title, query, legend in panels(board)}}


@pytest.mark.parametrize("name", QUERIES)
def test_names_what_there_is(name):
    query, legend = QUERIES[name]
    known = families()
    names, labels = named(query)
    assert names and names <= known.keys(), names - known.keys()
    have = set.intersection(*(known[name] for name in names)) if len(names) == 1 else set.union(*(known[name] for name in names))
    assert labels <= have | ADDED, labels - have
    assert set(re.findall(r"{{(\w+)}}", legend)) <= have | ADDED, legend


# -- alerts ----------------------------------------------------------------------------------------------------------------

POD = 'weir_pod_info{namespace="shop", pod="web", state="%s"}'
# alert: a series, its values of each minute when all is well and when not, the labels that the alert then carries
CASES = {
    "WeirDown": ('up{job="weir", instance="a"}', "1x30", "1x10 0x30", {"job": "weir", "instance": "a"}),
    "WeirPodFailed": (POD % "failed", "0x30", "1x30", {"namespace": "shop", "pod": "web", "state": "failed"}),
    "WeirPodPending": (POD % "pending", "1x10 0x30", "1x30", {"namespace": "shop", "pod": "web", "state": "pending"}),
    "WeirMissingSidecar": (POD % "missing_sidecar", "0x30", "1x30", {"namespace": "shop", "pod": "web", "state": "missing_sidecar"}),
    "WeirPodInputErrors": ('weir_pod_input_errors{namespace="shop", pod="web"}', "0x30", "2x30", {"namespace": "shop", "pod": "web"}),
    "WeirProxyAway": ('weir_verdicts_total{namespace="shop", workload="web", verdict="refuse", reason="proxy_down"}', "7x30", "0+6x30",
                      {"namespace": "shop", "workload": "web", "reason": "proxy_down"}),
    "WeirHookMissing": ('weir_hook_attached{hook="connect4", instance="a"}', "1x30", "0x30", {"hook": "connect4", "instance": "a"}),
    "WeirTableNearlyFull": ('weir_map_entries{map="weir_flows", instance="a"}', "80x30", "95x30", {"map": "weir_flows", "instance": "a"}),
    "WeirTableFull": ('weir_map_full_total{map="weir_flows", instance="a"}', "5x30", "0+1x30", {"map": "weir_flows", "instance": "a"}),
    "WeirNotCounted": ('weir_untracked_sockets_total{instance="a"}', "5x30", "0+1x30", {"instance": "a"}),
    "WeirKubernetesStale": ('weir_kubernetes_last_sync_timestamp_seconds{instance="a"}', "0+60x30", "0x30", {"instance": "a"}),
}
BESIDE = [{"series": 'weir_build_info{job="weir", instance="a"}', "values": "1x15"},
          {"series": 'weir_map_max_entries{map="weir_flows", instance="a"}', "values": "100x40"}]


def promtool(*argv):
    done = subprocess.run(["promtool", *map(str, argv)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case():
    assert CASES.keys() == RULES.keys()
    promtool("check", "rules", ALERTS)


@pytest.mark.parametrize("name", CASES)
def test_alert(name, tmp_path):
    """It fires when something is wrong, with words in which every label has its value, and is silent when nothing is."""
    series, well, wrong, labels = CASES[name]
    rule = RULES[name]

    def case(values, alerts):
        return {"interval": "1m", "input_series": [{"series": series, "values": values}, *BESIDE], "alert_rule_test": [
            {"alertname": name, "eval_time": "25m", "exp_alerts": alerts}]}

    def said(text):
        values = {"$value": "2" if name == "WeirPodInputErrors" else None, "$value | humanizePercentage": "95%", "$value | humanizeDuration": "25m 0s",
                  "$value | humanize": "15", **{f"$labels.{key}": value for key, value in labels.items()}}
        return re.sub(r"{{ (.*?) }}", lambda match: values[match[1]], text)

    fired = {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": {key: said(text) for key, text in rule["annotations"].items()}}
    path = tmp_path / "cases.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [case(well, []), case(wrong, [fired])]}))
    promtool("test", "rules", path)


# -- dashboards ------------------------------------------------------------------------------------------------------------

# Shown only where something is wrong that this test does not bring about, and where there is a cluster.
EMPTY = ("Hooks that are not attached", "Age of what is known of the cluster")


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with Lab("monitoring") as lab:
        agent = lab.agent("--metrics.udp", "--metrics.tls")
        with Prometheus(agent, tmp_path_factory.mktemp("prometheus")) as prometheus:
            yield lab, prometheus.ask


def test_dashboards_show_what_happens(watched):
    lab, ask = watched
    web, database, client = pod_of(lab, "web", mesh="istio"), pod_of(lab, "database"), pod_of(lab, "client")
    wrong_pod(lab, "wrong").write()
    start_proxy(web)
    database.serve("[::]:3306")
    queries = {(title, legend): query for board in BOARDS for title, query, legend in panels(board)}
    left = {key: query for key, query in queries.items() if key[0] not in EMPTY}
    assert [ask(query) for key, query in queries.items() if key not in left] == [[], []]
    with Shell(web, uid=APP) as shell:
        shell("u = socket(AF_INET, SOCK_DGRAM)")

        def all_show():
            web.connect(f"{database.ip}:3306", uid=APP, options=["--send=1000"])
            client.connect(f"{web.ip}:8080", f"{database.ip}:1", options=["--send=1000"])
            shell(f"u.sendto(b'12345', ('{database.ip}', 5000))")
            for key in [key for key, query in left.items() if ask(query)]:
                del left[key]
            return not left

        wait_until(all_show, "every panel to show something", 60)

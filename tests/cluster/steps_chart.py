# SPDX-License-Identifier: Apache-2.0
"""The chart itself: every combination of values in use, against a real API server's strict validation; the rights that it grants."""

import json

from lab.command import ROOT, run

from .step import ONE, Step
from .weir import CHART, NAMESPACE, RELEASE

# What documentation and notes for distributions recommend; a name is what a failure is called by.
COMBINATIONS = {
    "defaults": (),
    "one mesh, this node's peers": ("mesh=istio", "peers=node", "log.format=json", "log.level=debug"),
    "without the plugin": ("cni.enabled=false",),
    "the names that linkerd check looks for": ("linkerdCni.enabled=true", "mesh=linkerd"),
    "Prometheus' operator, by pods": ("metrics.podMonitor.enabled=true", "metrics.podMonitor.labels.release=prometheus"),
    "alerts and dashboards": ("metrics.rules.enabled=true", "metrics.rules.labels.release=prometheus", "metrics.dashboards.enabled=true"),
    "Prometheus' operator, by Services": ("metrics.serviceMonitor.enabled=true", "metrics.port=19464"),
    "GKE": ("cni.binDir=/home/kubernetes/bin", "resourceQuota.enabled=true"),
    "kind": ("mountBpffs=true",),
    "k3s": ("cni.binDir=/var/lib/rancher/k3s/data/cni", "cni.confDir=/var/lib/rancher/k3s/agent/etc/cni/net.d"),
    "OpenShift": ("cni.enabled=false", "seLinuxOptions.type=spc_t"),
    "other paths of the node": ("hostPaths.run=/var/run/other", "hostPaths.state=/var/lib/other", "cgroupRoot=/sys/fs/cgroup/kubepods"),
    "an old kernel": ("oldKernel=true",),
    "virtual machines": ("virtualMachines=true",),
    "own account and roles": ("serviceAccount.create=false", "serviceAccount.name=mine", "rbac.create=false"),
    "network policy": ("networkPolicy.enabled=true",),
    "an image by its digest": (f"image.digest=sha256:{'0' * 64}", "imagePullSecrets[0].name=secret"),
    "names": ("fullnameOverride=gauge", "podLabels.team=net", "podAnnotations.note=x", "nodeSelector.pool=a"),
    "on delete": ("updateStrategy.type=OnDelete", "updateStrategy.rollingUpdate=null"),
}
REFUSED = ("mesh=other", "metrics.port=0", "cni.agentAway=perhaps", "image.digest=latest", "unknown=1", "cni.unknown=1", "hostPaths.run=relative")
# Kinds that clusters without Prometheus' operator lack; the strictness is that of the chart's own objects.
MONITOR_KINDS = (("PodMonitor", "podmonitors"), ("ServiceMonitor", "servicemonitors"), ("PrometheusRule", "prometheusrules"))


def monitor_crd(kind, plural):
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.monitoring.coreos.com"},
            "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
                         "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


def chart(cluster, report):
    done = cluster.helm("lint", CHART, "--strict", check=False)
    report.check(done.returncode == 0, "helm lint --strict", done.stdout)
    done = run(ROOT / "scripts" / "render-manifests", "--check", check=False, timeout=300)
    report.check(done.returncode == 0, "deploy/manifests/weir.yaml is what the chart says", done.stdout)
    cluster.apply(*(monitor_crd(*names) for names in MONITOR_KINDS), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chart"}})
    for _, plural in MONITOR_KINDS:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.monitoring.coreos.com", "--timeout=600s")
    for name, values in COMBINATIONS.items():
        rendered = cluster.helm("template", RELEASE, CHART, "-n", "chart", *(arg for value in values for arg in ("--set", value)), check=False)
        done = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-n", "chart", "-f", "-", stdin=rendered.stdout, check=False) \
            if rendered.returncode == 0 else rendered
        report.check(done.returncode == 0, f"chart with {name}: valid", done.stderr)
    for value in REFUSED:
        done = cluster.helm("template", RELEASE, CHART, "--set", value, check=False)
        report.check(done.returncode != 0, f"chart with {value}: refused")
    cluster.kubectl("delete", "namespace", "chart", "--wait=false")


def granted(cluster):
    """(group, resource, verb) of both roles."""
    roles = (cluster.get("clusterrole", RELEASE), cluster.get("role", RELEASE, NAMESPACE))
    return {(group, resource, verb) for role in roles for rule in role["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}


def rights(cluster, report):
    """What the agent asked of the API server, by that one's own audit log, against what the chart grants."""
    asked, refused = set(), set()
    for line in cluster.control.audit_log.read_text().splitlines():
        entry = json.loads(line)
        if "objectRef" in entry:
            what = (entry["objectRef"].get("apiGroup", ""), entry["objectRef"]["resource"], entry["verb"])
            asked.add(what)
            if entry.get("responseStatus", {}).get("code") == 403:
                refused.add(what)
    have = granted(cluster)
    report.check(bool(asked) and asked <= have and not refused, f"all {len(asked)} kinds of calls of the agent are granted", f"not granted: {asked - have} {refused}")
    unused = sorted({(group, resource) for group, resource, _ in have} - {(group, resource) for group, resource, _ in asked})
    report.check(not unused, "and no resource is granted that it does not ask for", unused)


CHART_STEPS = [Step("chart", "the chart's values", chart, drivers=ONE)]
RIGHTS_STEPS = [Step("rights", "what the agent may do, and does", rights, drivers=ONE)]

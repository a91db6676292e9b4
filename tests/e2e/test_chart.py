# SPDX-License-Identifier: Apache-2.0
"""The chart with every combination of values in use: lint, strict validation, the options that it passes, the rights that it asks for."""

import itertools
import json
import os
import shutil
import subprocess
import time

import pytest
import yaml

import schemas
from lab import kubernetes
from lab.apiserver import ApiServer
from lab.command import BUILD, ROOT, WEIR, wait_until
from test_kube_events import add, events_of, wrong_pod

HELM = BUILD / "kube" / "bin" / "helm"
CHART, VALUES = ROOT / "deploy" / "helm" / "weir", ROOT / "deploy" / "helm" / "values"
# Each file alone, each platform with each way of watching metrics, and the oldest Kubernetes.
PLATFORMS = ("gke", "k3s", "openshift", "kind", "linkerd-cni")
OTHERS = sorted(path.stem for path in VALUES.glob("*.yaml") if path.stem not in PLATFORMS)
COMBINATIONS = [(), *((name,) for name in (*PLATFORMS, *OTHERS)), *itertools.product(PLATFORMS, OTHERS)]
# Of Kubernetes, with which each combination is rendered: the oldest and the newest.
KNOWN = schemas.versions() or ["1.25.0", "1.35.0"]
VERSIONS = (KNOWN[0], KNOWN[-1])
# With all that the chart can make.
EVERYTHING = ("--set=linkerdCni.enabled=true,mountBpffs=true,networkPolicy.enabled=true,resourceQuota.enabled=true",
              "--set=metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true,metrics.rules.enabled=true,metrics.dashboards.enabled=true")

pytestmark = pytest.mark.skipif(not HELM.exists(), reason="helm is not built: scripts/kube-build helm (needs Go)")
with_schemas = pytest.mark.skipif(not schemas.versions(), reason="no schemas of Kubernetes: scripts/fetch-schemas (needs Go)")


def helm(*argv, stdin=None):
    done = subprocess.run([HELM, *map(str, argv)], input=stdin, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "HELM_CACHE_HOME": "/nonexistent", "KUBECACHEDIR": str(BUILD / "kube" / "cache")})
    return done.returncode, done.stdout, done.stderr


def files(combination):
    return [f"--values={VALUES / name}.yaml" for name in combination]


class Strict(yaml.CSafeLoader):
    """Refuses a key that comes twice, as kustomize and others do; Helm takes the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key comes twice: {keys}"
        return super().construct_mapping(node, deep)


def render(combination, *more):
    status, out, err = helm("template", "weir", CHART, "--namespace=weir-system", *files(combination), *more)
    assert status == 0, err
    return [item for item in yaml.load_all(out, Loader=Strict) if item]


def invalid(items, version):
    """What is wrong with the objects; nothing is known to be where no schemas are, which the tests of just them say."""
    return [problem for item in items for problem in schemas.problems(item, version)] if schemas.versions() else []


def one(items, kind, name=None):
    found = [item for item in items if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda names: "+".join(names) or "defaults")
def test_renders_and_fits_together(combination):
    """Lint is content; no field is unknown to a version of Kubernetes or of a wrong type; monitors and rules are as the operator's own
    CRDs say; each mount has its volume, the labels select the pods, and every option is one that weir has."""
    status, out, err = helm("lint", "--strict", "--quiet", CHART, *files(combination))
    assert status == 0, out + err
    for version in VERSIONS:
        items = render(combination, f"--kube-version={version}")
        assert not invalid(items, version)
        names = [(item["kind"], item["metadata"]["name"]) for item in items]
        assert len(names) == len(set(names)), names
        daemonset = one(items, "DaemonSet")
        template, spec = daemonset["spec"]["template"], daemonset["spec"]["template"]["spec"]
        assert daemonset["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert spec["serviceAccountName"] == one(items, "ServiceAccount")["metadata"]["name"]
        volumes = [volume["name"] for volume in spec["volumes"]]
        used = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert len(volumes) == len(set(volumes)) and set(volumes) == used
        assert not any(container["securityContext"]["privileged"] for container in spec["containers"])
        for container in spec["containers"] + spec.get("initContainers", []):
            accepts(container["args"])


@with_schemas
@pytest.mark.parametrize("minor", range(25, 36))
def test_every_version_of_kubernetes_in_use(minor):
    """What is rendered for a version is valid for the newest whose fields are known and that is not newer than it."""
    version = [known for known in KNOWN if int(known.split(".")[1]) <= minor][-1]
    items = render((), f"--kube-version=1.{minor}.0", *EVERYTHING)
    assert {"PodMonitor", "ServiceMonitor", "PrometheusRule", "NetworkPolicy", "ResourceQuota", "DaemonSet"} <= {item["kind"] for item in items}
    assert not invalid(items, version)


@with_schemas
def test_the_validation_finds_what_is_wrong():
    items = render((), *EVERYTHING)
    for kind, change, says in (
            ("DaemonSet", lambda it: it["spec"]["template"]["spec"].update(hostNetworks=True), "'hostNetworks' was unexpected"),
            ("DaemonSet", lambda it: it["spec"]["template"]["spec"].update(hostNetwork="true"), "is not of type 'boolean'"),
            ("ClusterRole", lambda it: it["rules"][0].update(verb=["get"]), "'verb' was unexpected"),
            ("PodMonitor", lambda it: it["spec"]["podMetricsEndpoints"][0].update(intervall="30s"), "'intervall' was unexpected"),
            ("PodMonitor", lambda it: it["spec"]["podMetricsEndpoints"][0].update(interval="half a minute"), "does not match"),
            ("ServiceMonitor", lambda it: it["spec"].pop("selector"), "'selector' is a required property"),
            ("PrometheusRule", lambda it: it["spec"]["groups"][0]["rules"][0].update({"for": 5}), "is not of type 'string'")):
        item = json.loads(json.dumps(one(items, kind)))
        change(item)
        assert any(says in problem for problem in schemas.problems(item, KNOWN[-1])), (kind, says, schemas.problems(item, KNOWN[-1]))
    assert invalid(items, KNOWN[0]), "a field that is too new for the oldest version is not found"


def own_keys(at, path=()):
    """Paths of the values that are the chart's own: not those below which Kubernetes or people give names."""
    for key, value in at.items():
        here = path + (key,)
        if isinstance(value, dict) and value and key not in ("resources", "updateStrategy", "labels"):
            yield here, True
            yield from own_keys(value, here)
        else:
            yield here, False


def without(paths):
    values = {}
    for path in paths:
        at = values
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = None
    return json.dumps(values)


def test_what_is_absent_has_its_default():
    """As when a release keeps the values of an older chart, which did not have that key yet: nothing fails, nothing is switched off."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    keys = list(own_keys(values))
    cases = [[path] for path, section in keys if section] + [[path for path, section in keys if not section]]
    default = helm("template", "weir", CHART)[1]
    assert len(cases) > 15 and "kind: DaemonSet" in default
    for paths in cases:
        status, out, err = helm("template", "weir", CHART, "--values=-", stdin=without(paths))
        assert (status, out) == (0, default), (paths, err)


def test_what_people_add_takes_nothing_away():
    """Keys of the chart's own stay as they are, but for an endpoint's."""
    mine = {"app.kubernetes.io/name": "mine", "team": "net"}
    monitor = {"enabled": True, "labels": mine, "endpoint": {"interval": "10s", "scrapeTimeout": "5s"}}
    items = render((), "--set-json", f"podLabels={json.dumps(mine)}", "--set-json", f"metrics.podMonitor={json.dumps(monitor)}",
                   "--set-json", f"metrics.serviceMonitor={json.dumps(monitor)}",
                   "--set-json", 'podAnnotations={"sidecar.istio.io/inject": "true", "kubectl.kubernetes.io/default-container": "x", "note": "y"}')
    template = one(items, "DaemonSet")["spec"]["template"]["metadata"]
    for labels in (template["labels"], one(items, "PodMonitor")["metadata"]["labels"], one(items, "ServiceMonitor")["metadata"]["labels"]):
        assert labels["app.kubernetes.io/name"] == "weir" and labels["team"] == "net"
    assert template["annotations"]["sidecar.istio.io/inject"] == "false" and template["annotations"]["note"] == "y"
    for endpoint in one(items, "PodMonitor")["spec"]["podMetricsEndpoints"] + one(items, "ServiceMonitor")["spec"]["endpoints"]:
        assert endpoint == {"port": "metrics", "honorLabels": True, "interval": "10s", "scrapeTimeout": "5s"}


def test_null_removes_what_is_kubernetes_own():
    """A limit, an update strategy's details, a label."""
    items = render((), "--set=resources.limits=null,updateStrategy.type=OnDelete,updateStrategy.rollingUpdate=null",
                   "--set=metrics.dashboards.enabled=true,metrics.dashboards.labels.grafana_dashboard=null")
    spec = one(items, "DaemonSet")["spec"]
    assert spec["updateStrategy"] == {"type": "OnDelete"} and "limits" not in spec["template"]["spec"]["containers"][0]["resources"]
    assert "grafana_dashboard" not in one(items, "ConfigMap")["metadata"]["labels"]


def accepts(args):
    """argp reads options in their order, so --help at the end is reached only if all before it are known and well-formed."""
    done = subprocess.run([WEIR, *args, "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "Usage:" in done.stdout, f"weir {' '.join(args)}: {done.stderr}"


WRONG = {
    "a mesh that there is not": 'mesh="both"', "a misspelt key": 'image.tags="x"', "a key of another chart": "replicas=2",
    "a misspelt key of Kubernetes'": 'resources={"limit": {"memory": "1Gi"}}', "no port": "metrics.port=0", "a port too large": "metrics.port=65536",
    "a number as text": 'metrics.port="9464"', "text that is no number": 'cni.timeoutSeconds="soon"', "no time": "cni.timeoutSeconds=0",
    "a switch as text": 'linkerdCni.enabled="yes"', "a number for a switch": "mountBpffs=1", "a label that is a number": 'podLabels={"team": 1}',
    "a word of no list": 'cni.agentAway="maybe"', "a relative path": 'hostPaths.bpf="relative"', "a path that is YAML": 'cni.binDir="/opt, name: x"',
    "a cgroup that is relative": 'cgroupRoot="kubepods"', "a command for an option": 'extraArgs=["agent"]', "one for a list": 'tolerations="all"',
    "a tag for a digest": 'image.digest="latest"', "no image": 'image.repository=""', "a scrape each now and then": 'metrics.podMonitor.interval="often"',
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_values_are_refused(wrong):
    status, _, err = helm("template", "weir", CHART, "--set-json", WRONG[wrong])
    assert status != 0 and "values don't meet the specifications" in err and WRONG[wrong].partition("=")[0].split(".")[0] in err, err


@pytest.mark.parametrize("name,value,says", [
    ("cgroupRoot", r"/sys/fs/cgroup/kube\x2dlet.slice/kubepods: #1", "--cgroup-root={}"), ("cni.confName", "10-net: #1.conflist", "--cni-conf-name={}"),
    ("clusterName", "east: #1", "--cluster-name={}"), ("networkName", "{net}", "--network-name={}"), ("nameOverride", "gauge", "{}")])
def test_text_is_taken_as_it_is(name, value, says):
    """What YAML would read otherwise."""
    items = render((), "--set=metrics.istio=true", "--set-json", f"{name}={json.dumps(value)}")
    spec = one(items, "DaemonSet")["spec"]["template"]
    texts = [arg for container in spec["spec"]["containers"] for arg in container["args"]] + list(spec["metadata"]["labels"].values())
    assert says.format(value) in texts


@pytest.mark.parametrize("release,values,name", [
    ("weir", (), "weir"), ("gauge", (), "gauge-weir"), ("my-weir", (), "my-weir"), ("x", ("fullnameOverride=other",), "other"),
    ("x", ("nameOverride=other",), "x-other"), ("a" * 53, (), "a" * 53 + "-weir"), ("123", (), "123-weir")])
def test_names(release, values, name):
    """All objects of a release bear its name, in its namespace; the agent watches its own DaemonSet."""
    status, out, err = helm("template", release, CHART, "--namespace=net", *(f"--set={value}" for value in values))
    assert status == 0, err
    items = [item for item in yaml.safe_load_all(out) if item]
    assert {item["metadata"]["name"] for item in items} == {name}
    assert {item["metadata"]["labels"]["app.kubernetes.io/instance"] for item in items} == {release}
    assert {item["metadata"].get("namespace", "net") for item in items} == {"net"}
    assert f"--daemonset=net/{name}" in one(items, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--exempt-namespace=net" in one(items, "DaemonSet")["spec"]["template"]["spec"]["containers"][1]["args"]


def test_every_value_has_a_schema():
    """additionalProperties is false everywhere that the chart has keys of its own, so a misspelt one is refused."""
    schema, values = json.loads((CHART / "values.schema.json").read_text()), yaml.safe_load((CHART / "values.yaml").read_text())

    def walk(at, node, path):
        for key, value in at.items():
            assert key in node["properties"], f"{path}{key} is in no schema"
            below = node["properties"][key]
            if isinstance(value, dict) and value and "properties" in below:
                assert below.get("additionalProperties") is False, f"{path}{key}"
                walk(value, below, f"{path}{key}.")

    walk(values, schema, "")


def test_tls_and_passwords_for_the_metrics():
    """The Secret is mounted where the option says, probes and monitors speak TLS, and operators' fields go through."""
    endpoint = '{"tlsConfig": {"insecureSkipVerify": true}, "basicAuth": {"username": {"name": "web", "key": "user"}}}'
    items = render(["prometheus-operator"], "--set=metrics.webConfig.secret=web,metrics.webConfig.tls=true", f"--set-json=metrics.podMonitor.endpoint={endpoint}")
    spec = one(items, "DaemonSet")["spec"]["template"]["spec"]
    weir = spec["containers"][0]
    mount = next(mount for mount in weir["volumeMounts"] if mount["name"] == "web-config")
    assert f"--web.config.file={mount['mountPath']}/web.yml" in weir["args"] and mount["readOnly"]
    assert next(volume for volume in spec["volumes"] if volume["name"] == "web-config")["secret"] == {"secretName": "web"}
    assert {weir[probe]["httpGet"].get("scheme") for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {"HTTPS"}
    scrape = one(items, "PodMonitor")["spec"]["podMetricsEndpoints"][0]
    assert scrape["scheme"] == "https" and scrape["tlsConfig"]["insecureSkipVerify"] and scrape["honorLabels"]
    plain = one(render([]), "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    assert "scheme" not in plain["readinessProbe"]["httpGet"] and not any("web.config" in arg for arg in plain["args"])


def test_manifests_are_the_charts():
    done = subprocess.run(["scripts/render-manifests", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"run scripts/render-manifests: {done.stdout}{done.stderr}"


def test_linkerds_names():
    """What `linkerd check --linkerd-cni-enabled` looks for."""
    items = render(("linkerd-cni",), "--namespace=linkerd-cni")
    one(items, "ConfigMap", "linkerd-cni-config")
    for kind in ("ClusterRole", "ClusterRoleBinding", "ServiceAccount", "DaemonSet"):
        assert one(items, kind, "linkerd-cni")["metadata"]["labels"]["linkerd.io/cni-resource"] == "true"
    binding = one(items, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == "linkerd-cni" and binding["subjects"][0]["name"] == "linkerd-cni"
    assert one(items, "DaemonSet")["spec"]["template"]["metadata"]["labels"]["k8s-app"] == "linkerd-cni"


def test_nothing_is_privileged_unless_a_bpf_file_system_is_to_be_mounted():
    """Only so does the mount reach the node, which keeps it when the pod ends."""
    assert "initContainers" not in one(render(()), "DaemonSet")["spec"]["template"]["spec"]
    mounting, = one(render(("kind",)), "DaemonSet")["spec"]["template"]["spec"]["initContainers"]
    assert mounting["securityContext"]["privileged"] and mounting["args"][0] == "mount-bpffs"
    assert [mount["mountPropagation"] for mount in mounting["volumeMounts"]] == ["Bidirectional"]


def test_quota_of_the_priority_class():
    """GKE admits pods of system priority only to namespaces that have a quota of that class."""
    items = render(("gke",))
    scope, = one(items, "ResourceQuota")["spec"]["scopeSelector"]["matchExpressions"]
    assert scope["values"] == [one(items, "DaemonSet")["spec"]["template"]["spec"]["priorityClassName"]]
    for without in (render(()), render(("gke",), "--set=priorityClassName=")):
        assert not [item for item in without if item["kind"] == "ResourceQuota"]


def granted(items):
    return {(verb, resource, group) for item in items if item["kind"] in ("ClusterRole", "Role") for rule in item["rules"]
            for verb in rule["verbs"] for resource in rule["resources"] for group in rule["apiGroups"]}


def group_of(path):
    return path.split("/")[2] if path.startswith("/apis/") else ""


@pytest.mark.parametrize("peers", ["cluster", "node"])
def test_rights_are_the_calls_that_are_made(lab, peers):
    """The role allows each call that the agent makes, and none that it does not make."""
    with ApiServer(lab.work / "api") as api:
        wrong = wrong_pod(lab)
        api.put(wrong.object())
        lab.agent(f"--kubeconfig={api.kubeconfig()}", "--daemonset=weir-system/weir", f"--peers={peers}")
        allowed = granted(render((), f"--set=peers={peers}"))
        # A pod that the watch never tells of is asked for by its name; a wrong one gets an Event.
        add(lab, wrong)
        unknown = lab.pod("unknown", mesh="istio")
        add(lab, unknown)

        def made():
            return {(request.verb, request.resource, group_of(request.path)) for request in api.log}

        wait_until(lambda: events_of(api, wrong.name), "the Event", 30)
        deadline = time.monotonic() + 20
        while made() != allowed and time.monotonic() < deadline:
            time.sleep(0.1)
        assert made() == allowed, f"allowed and not made: {allowed - made()}; made and not allowed: {made() - allowed}"


def crds():
    return [schemas.load(path.stem) for path in sorted(schemas.FOLDER.glob("*s.yaml"))]


def known(cluster):
    """{(kind, name)} of all that a chart may make."""
    kinds = "daemonsets,configmaps,serviceaccounts,services,roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,resourcequotas,secrets"
    items = json.loads(cluster.kubectl("get", f"{kinds},podmonitors,servicemonitors,prometheusrules", "-A", "-o", "json").stdout)["items"]
    return {(item["kind"], item["metadata"]["name"]) for item in items if not item["metadata"]["name"].startswith("system:")}


def old_chart(folder):
    """A chart of before: its values lack what has come since."""
    chart = folder / "old" / "weir"
    shutil.copytree(CHART, chart)
    values = yaml.safe_load((chart / "values.yaml").read_text())
    for key in ("networkPolicy", "resourceQuota", "linkerdCni", "mountBpffs", "hostPaths"):
        del values[key]
    del values["metrics"]["webConfig"], values["cni"]["exemptNamespaces"]
    (chart / "values.yaml").write_text(yaml.safe_dump(values))
    (chart / "Chart.yaml").write_text((CHART / "Chart.yaml").read_text().replace("version: 0.1.0", "version: 0.0.9"))
    return chart


def agent_args(cluster):
    return json.loads(cluster.kubectl("get", "daemonset/weir", "-n", "weir-system", "-o", "json").stdout)["spec"]["template"]["spec"]["containers"][0]["args"]


@with_schemas
def test_a_real_api_server(lab):
    """Unknown fields, wrong types and what admission refuses are found by the server's own strict validation. A release there is
    upgraded with the values of an older chart, rolled back and taken away."""
    if kubernetes.missing():
        pytest.skip(kubernetes.missing())
    with kubernetes.Kubernetes(lab.work / "kubernetes") as cluster:
        for namespace in ("weir-system", "linkerd-cni"):
            cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(crds()))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        seen = set()
        for combination in COMBINATIONS:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": render(combination)})
            if text not in seen:
                cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
            seen.add(text)
        release_lives_and_goes(cluster, lab.work)


def release_lives_and_goes(cluster, folder):
    def command(*argv):
        status, out, err = helm(*argv, "--namespace=weir-system", f"--kubeconfig={cluster.admin}")
        assert status == 0, (argv, out, err)
        return out

    before = known(cluster)
    out = command("install", "weir", old_chart(folder), "--set=log.level=debug", "--set=metrics.podMonitor.enabled=true,metrics.rules.enabled=true")
    assert "exec daemonset/weir -c weir -- weir check" in out
    first = agent_args(cluster)
    out = command("upgrade", "weir", CHART, "--reuse-values", "--set=mesh=istio")
    assert "--log.level=debug" in agent_args(cluster) and "--mesh=istio" in agent_args(cluster)
    status, _, err = helm("install", "weir", CHART, "--namespace=default", f"--kubeconfig={cluster.admin}")
    assert status != 0 and "invalid ownership metadata" in err  # the cluster has one weir
    command("rollback", "weir")
    assert agent_args(cluster) == first
    command("uninstall", "weir")
    assert known(cluster) == before

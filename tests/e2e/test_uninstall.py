# SPDX-License-Identifier: Apache-2.0
"""The end of the agent is mostly an upgrade; only when its DaemonSet goes does weir leave the node."""

import pytest

from lab.apiserver import ApiServer
from lab.command import wait_until
from test_kube_events import add

DAEMONSET = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "weir", "namespace": "weir-system"}, "spec": {}}


@pytest.fixture
def api(lab):
    with ApiServer(lab.work / "api") as server:
        server.put(DAEMONSET)
        yield server


def start(lab, api, *more):
    agent = lab.agent(f"--kubeconfig={api.kubeconfig()}", "--daemonset=weir-system/weir", *more)
    wait_until(lambda: api.requests("watch", "daemonsets"), "the watch of the DaemonSet")
    return agent


def pinned(lab):
    return [path.name for path in lab.bpf_dir.glob("*")]


def mark(lab):
    return lab.run_dir / "uninstalled"


def test_an_upgrade_leaves_everything(lab, api):
    agent = start(lab, api)
    api.put({**DAEMONSET, "spec": {"template": {}}})
    assert agent.stop() == 0
    assert "links" in pinned(lab) and not mark(lab).exists()


def test_the_daemonset_is_deleted(lab, api):
    agent = start(lab, api)
    add(lab, lab.pod("web", mesh="istio"))
    assert list((lab.run_dir / "sandboxes").iterdir())
    api.delete(DAEMONSET)
    wait_until(mark(lab).exists, "the mark that install-cni reads")
    assert "links" in pinned(lab)  # until the end: traffic is diverted as long as the agent lives
    assert agent.stop() == 0
    assert pinned(lab) == [] and not (lab.run_dir / "sandboxes").exists()


def test_deleted_in_the_foreground(lab, api):
    """The DaemonSet stays until its pods are gone."""
    agent = start(lab, api)
    api.put({**DAEMONSET, "metadata": {**DAEMONSET["metadata"], "deletionTimestamp": "2026-01-02T03:04:05Z"}})
    wait_until(mark(lab).exists, "the mark that install-cni reads")
    assert agent.stop() == 0
    assert pinned(lab) == []


def test_deleted_without_its_pods(lab, api):
    """kubectl delete --cascade=orphan, before a DaemonSet with another selector: it takes the pods over."""
    agent = start(lab, api)
    api.put({**DAEMONSET, "metadata": {**DAEMONSET["metadata"], "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["orphan"]}})
    api.put({**DAEMONSET, "metadata": {**DAEMONSET["metadata"], "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": []}})
    api.delete(DAEMONSET)
    wait_until(lambda: "leaves its pods" in agent.stderr(), "the agent to hear of it")
    assert agent.stop() == 0
    assert "links" in pinned(lab) and not mark(lab).exists()


def test_made_anew_at_once(lab, api):
    """kubectl replace --force."""
    agent = start(lab, api)
    api.delete(DAEMONSET)
    wait_until(mark(lab).exists, "the mark that install-cni reads")
    api.put(DAEMONSET)
    wait_until(lambda: not mark(lab).exists(), "the mark to go")
    assert agent.stop() == 0
    assert "links" in pinned(lab)


def test_another_daemonset_is_deleted(lab, api):
    other = {**DAEMONSET, "metadata": {"name": "other", "namespace": "weir-system"}}
    api.put(other)
    agent = start(lab, api)
    api.delete(other)
    api.put({**DAEMONSET, "spec": {"template": {}}})
    assert agent.stop() == 0
    assert "links" in pinned(lab) and not mark(lab).exists()


def test_the_next_installation_removes_the_mark(lab, api):
    mark(lab).parent.mkdir(parents=True, exist_ok=True)
    mark(lab).touch()
    start(lab, api)
    assert not mark(lab).exists()

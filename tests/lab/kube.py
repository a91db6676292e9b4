# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects as `kubectl get -o json` prints them, with the fields that weir reads and their realistic neighbours."""

import json

CREATED = "2026-01-02T03:04:05Z"
ISTIO_STATUS = {
    "initContainers": ["istio-validation"], "containers": ["istio-proxy"],
    "volumes": ["workload-socket", "istio-envoy", "istio-data", "istio-podinfo", "istio-token", "istiod-ca-cert"],
    "imagePullSecrets": None, "revision": "default",
}
LINKERD_LISTEN = {
    "LINKERD2_PROXY_INBOUND_LISTEN_ADDR": "0.0.0.0:4143", "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS": "127.0.0.1:4140,[::1]:4140",
    "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR": "127.0.0.1:4140", "LINKERD2_PROXY_CONTROL_LISTEN_ADDR": "0.0.0.0:4190",
    "LINKERD2_PROXY_ADMIN_LISTEN_ADDR": "0.0.0.0:4191",
}


def container(name, image, ports=(), env=None, uid=None, **more):
    """A container; ports are numbers or port objects."""
    spec = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **more}
    spec["ports"] = [port if isinstance(port, dict) else {"containerPort": port, "protocol": "TCP"} for port in ports]
    spec["env"] = [{"name": key, "value": value} for key, value in (env or {}).items()]
    if uid is not None:
        spec["securityContext"] = {"runAsUser": uid, "runAsGroup": uid, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
                                   "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    return spec


def inject_istio(pod, uid, env):
    """What Istio's injector adds when a CNI plugin (or weir) does the redirection: no istio-init."""
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json.dumps(ISTIO_STATUS)
    pod["metadata"]["labels"].update({"security.istio.io/tlsMode": "istio", "service.istio.io/canonical-revision": "latest"})
    pod["spec"]["initContainers"].append(container("istio-validation", "istio/proxyv2", uid=uid, args=["istio-iptables", "--run-validation"]))
    pod["spec"]["containers"].insert(0, container(
        "istio-proxy", "istio/proxyv2", uid=uid, env={"ISTIO_META_INTERCEPTION_MODE": "REDIRECT", **env},
        ports=[{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}],
        args=["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local", "--proxyLogLevel=warning", "--concurrency", "2"]))


def inject_linkerd(pod, uid, env):
    """What Linkerd's injector adds with cniEnabled: a native sidecar and no linkerd-init."""
    pod["metadata"]["annotations"].update({"linkerd.io/inject": "enabled", "linkerd.io/proxy-version": "stable"})
    pod["metadata"]["labels"].update({"linkerd.io/control-plane-ns": "linkerd", "linkerd.io/workload-ns": pod["metadata"]["namespace"]})
    pod["spec"]["initContainers"] += [
        container("linkerd-network-validator", "linkerd/proxy", uid=uid),
        container("linkerd-proxy", "linkerd/proxy", uid=uid, env={**LINKERD_LISTEN, **env}, restartPolicy="Always",
                  ports=[{"containerPort": 4143, "name": "linkerd-proxy", "protocol": "TCP"},
                         {"containerPort": 4191, "name": "linkerd-admin", "protocol": "TCP"}])]


INJECTORS = {"istio": inject_istio, "linkerd": inject_linkerd}
PROXY_CONTAINER = {"istio": "istio-proxy", "linkerd": "linkerd-proxy"}


def owner_metadata(owner, labels, pod_name):
    """The owner references of a pod of KIND/NAME; a Deployment owns its pods through a ReplicaSet."""
    if not owner:
        return {}
    kind, name = owner.split("/")
    if kind == "Deployment":
        kind, name = "ReplicaSet", f"{name}-{labels['pod-template-hash']}"
    version = "batch/v1" if kind == "Job" else "apps/v1"
    reference = {"apiVersion": version, "kind": kind, "name": name, "uid": f"owner-of-{pod_name}", "controller": True, "blockOwnerDeletion": True}
    return {"generateName": f"{name}-", "ownerReferences": [reference]}


def addresses(ips):
    """Of a pod's status; before its network is made there are none."""
    return {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]} if ips else {}


def service(name, namespace, addresses, ports, selector):
    """ports: (port, target, protocol)"""
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "uid": f"service-{namespace}-{name}", "creationTimestamp": CREATED},
        "spec": {"type": "ClusterIP", "clusterIP": addresses[0], "clusterIPs": addresses, "selector": selector,
                 "ipFamilies": ["IPv6" if ":" in address else "IPv4" for address in addresses], "ports": [
                     {"name": f"{protocol.lower()}-{port}", "port": port, "targetPort": target, "protocol": protocol}
                     for port, target, protocol in ports]}}


def endpoint_slice(name, namespace, ipv6, ports, pods):
    """One slice of a Service: one address family."""
    def endpoint(pod):
        return {"addresses": [pod.ipv6 if ipv6 else pod.ip], "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": "node-a", "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.namespace, "uid": pod.uid}}

    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6" if ipv6 else "IPv4",
        "metadata": {"name": f"{name}-{'ipv6' if ipv6 else 'ipv4'}", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [endpoint(pod) for pod in pods],
        "ports": [{"name": f"{protocol.lower()}-{port}", "port": target, "protocol": protocol} for port, target, protocol in ports]}

# SPDX-License-Identifier: Apache-2.0
"""The applications of the test cluster, as istiod's and Linkerd's injectors would hand them to the API server."""

import copy
import json

from lab import envoy, kube
from lab.envoy import socket_address, typed

from . import images

SHOP = "shop"
SERVER_ADDRESS, DATABASE_ADDRESS, LINKERD_SERVER_ADDRESS, PLAIN_ADDRESS = "10.96.0.50", "10.96.0.60", "10.96.0.70", "10.96.0.80"
SERVICE_PORT, HTTP_PORT, STREAM_PORT, DATABASE_PORT, HEALTH_PORT = 80, 8080, 9000, 6379, 15021
BOOKS, SOCKET = "books", "socket"
ISTIO_UID, LINKERD_UID, APP_UID = 1337, 2102, 1000
UNPRIVILEGED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def container(name, image, *args, uid=None, ports=(), env=None, **more):
    return {"name": name, "image": image, "imagePullPolicy": "Never", "args": list(args),
            "securityContext": {**UNPRIVILEGED, **({"runAsUser": uid, "runAsGroup": uid} if uid else {})},
            "ports": [{"containerPort": port} for port in ports], "env": [{"name": key, "value": value} for key, value in (env or {}).items()], **more}


def app(*args, name="app", **more):
    """The test's own application."""
    return container(name, images.APPLICATION, *args, uid=APP_UID, **more)


def deployment(name, pod, namespace=SHOP):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": pod,
                     # The old pod first: one pod's addresses and numbers are looked at.
                     "strategy": {"type": "Recreate"}}}


def pod(name, *containers, inits=(), annotations=None, **more):
    """A pod's template, of no mesh though its namespace may be of one; its end is not waited for."""
    return {"metadata": {"labels": {"app": name, "sidecar.istio.io/inject": "false"}, "annotations": dict(annotations or {})},
            "spec": {"containers": list(containers), "initContainers": list(inits), "terminationGracePeriodSeconds": 2,
                     "automountServiceAccountToken": False, "enableServiceLinks": False, "dnsPolicy": "Default", **more}}


def service(name, address, ports, namespace=SHOP):
    """ports: {port: target}"""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "selector": {"app": name}, "ports": [
                {"name": f"tcp-{port}", "port": port, "targetPort": target} for port, target in ports.items()]}}


# -- Istio


def health_listener():
    """What kubelet asks on port 15021, which no rule captures."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    router = {"name": "envoy.filters.http.router", "typed_config": typed("extensions.filters.http.router.v3.Router")}
    manager = typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix="health",
                    route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}, http_filters=[router])
    return {"name": "health", "address": {"socket_address": socket_address("0.0.0.0", HEALTH_PORT)},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}


def envoy_config(name):
    """A ConfigMap with the configuration that istiod would send."""
    config = envoy.configuration(name, ipv6=False, http_ports=(80, HTTP_PORT))
    config["static_resources"]["listeners"].append(health_listener())
    for cluster in config["static_resources"]["clusters"]:
        cluster["connect_timeout"] = "120s"  # an emulated CPU on a busy machine may stand still for seconds
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"envoy-{name}", "namespace": SHOP}, "data": {"envoy.json": json.dumps(config)}}


def inject_istio(template):
    """As Istio 1.27's injector with pilot.cni.enabled and native sidecars: no istio-init, the proxy before the pod's own init containers."""
    pod, name = copy.deepcopy(template), template["metadata"]["labels"]["app"]
    del pod["metadata"]["labels"]["sidecar.istio.io/inject"]
    pod["metadata"]["labels"].update({"security.istio.io/tlsMode": "istio", "service.istio.io/canonical-name": name,
                                      "service.istio.io/canonical-revision": "latest"})
    pod["metadata"]["annotations"].update({
        "istio.io/rev": "default", "kubectl.kubernetes.io/default-container": "app", "kubectl.kubernetes.io/default-logs-container": "app",
        "sidecar.istio.io/interceptionMode": "REDIRECT", "sidecar.istio.io/status": json.dumps(kube.ISTIO_STATUS),
        "traffic.sidecar.istio.io/includeInboundPorts": "*", "traffic.sidecar.istio.io/includeOutboundIPRanges": "*",
        "traffic.sidecar.istio.io/excludeInboundPorts": "15020,15021,15090"})
    validation = container("istio-validation", images.PROXYV2, "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*",
                           "-x", "", "-b", "*", "-d", "15090,15021,15020", "--log_output_level=default:info", "--run-validation", "--skip-rule-apply",
                           uid=ISTIO_UID)
    probe = {"httpGet": {"path": "/healthz/ready", "port": HEALTH_PORT}, "timeoutSeconds": 10}
    proxy = container("istio-proxy", images.PROXYV2, "proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local", "--proxyLogLevel=warning",
                      "--proxyComponentLogLevel=misc:error", "--log_output_level=default:info", uid=ISTIO_UID, restartPolicy="Always",
                      env={"POD_NAMESPACE": SHOP, "ISTIO_META_INTERCEPTION_MODE": "REDIRECT", "ISTIO_META_MESH_ID": "cluster.local"},
                      volumeMounts=[{"name": "istio-envoy", "mountPath": "/etc/istio/proxy"}],
                      startupProbe={**probe, "periodSeconds": 1, "failureThreshold": 600}, readinessProbe={**probe, "periodSeconds": 15, "failureThreshold": 20})
    proxy["ports"] = [{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}]
    pod["spec"]["initContainers"] = [validation, proxy, *pod["spec"]["initContainers"]]
    pod["spec"].setdefault("volumes", []).append({"name": "istio-envoy", "configMap": {"name": f"envoy-{name}"}})
    return pod


# -- Linkerd


def inject_linkerd(template):
    """As Linkerd's injector with cniEnabled and native sidecars: no linkerd-init. The proxy itself is a stand-in."""
    pod, name = copy.deepcopy(template), template["metadata"]["labels"]["app"]
    pod["metadata"]["labels"].update({"linkerd.io/control-plane-ns": "linkerd", "linkerd.io/proxy-deployment": name, "linkerd.io/workload-ns": SHOP})
    pod["metadata"]["annotations"].update({"linkerd.io/inject": "enabled", "linkerd.io/created-by": "linkerd/proxy-injector edge-25.8.1",
                                           "linkerd.io/proxy-version": "edge-25.8.1", "linkerd.io/trust-root-sha256": "0" * 64})
    validator = container("linkerd-network-validator", images.LINKERD, "--log-format", "plain", "--log-level", "debug", "--connect-addr", "1.1.1.1:20001",
                          "--listen-addr", "0.0.0.0:4140", "--timeout", "60s", uid=65534, command=["/usr/lib/linkerd/linkerd2-network-validator"])
    proxy = container("linkerd-proxy", images.LINKERD, uid=LINKERD_UID, env=kube.LINKERD_LISTEN, restartPolicy="Always",
                      startupProbe={"tcpSocket": {"port": 4143}, "periodSeconds": 1, "failureThreshold": 600})
    proxy["ports"] = [{"containerPort": 4143, "name": "linkerd-proxy"}, {"containerPort": 4191, "name": "linkerd-admin"}]
    pod["spec"]["initContainers"] = [validator, proxy, *pod["spec"]["initContainers"]]
    return pod


# -- the shop


def server(name):
    return pod(name, app("serve", ports=(HTTP_PORT, STREAM_PORT)))


def client(name, address):
    """Its books are shown on a socket in a volume, where the node finds it."""
    load = app("load", f"--url=http://{address}:{SERVICE_PORT}/", f"--stream={address}:{STREAM_PORT}", f"--books=/run/{BOOKS}/{SOCKET}",
               volumeMounts=[{"name": BOOKS, "mountPath": f"/run/{BOOKS}"}])
    return pod(name, load, volumes=[{"name": BOOKS, "emptyDir": {}}])


def database():
    redis = container("redis", images.REDIS, "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--hz", "1", uid=999, ports=(DATABASE_PORT,))
    return [deployment("database", pod("database", redis)), service("database", DATABASE_ADDRESS, {DATABASE_PORT: DATABASE_PORT})]

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_resource.h"

#define END       \
	{         \
		0 \
	}
/* Any object of a watch may be a Status instead. */
#define STATUS_FIELDS                              \
	{ .key = "message" }, { .key = "reason" }, \
	{                                          \
		.key = "code"                      \
	}

static const struct keep security_context[] = { { .key = "runAsUser" },
						{ .key = "runAsGroup" },
						END };

static const struct keep container_port[] = {
	{ .key = "name" }, { .key = "containerPort" }, { .key = "protocol" }, END
};

static const struct keep nothing[] = { END };
static const struct keep env[] = {
	{ .key = "name" }, { .key = "value" }, { .key = "valueFrom", .below = nothing }, END
};

static const struct keep container[] = { { .key = "name" },
					 { .key = "args" },
					 { .key = "env", .below = env },
					 { .key = "ports", .below = container_port },
					 { .key = "securityContext", .below = security_context },
					 { .key = "restartPolicy" },
					 END };

static const struct keep owner[] = {
	{ .key = "kind" }, { .key = "name" }, { .key = "controller" }, END
};

static const struct keep ip[] = { { .key = "ip" }, END };

static const struct keep container_status[] = { { .key = "name" }, { .key = "containerID" }, END };

#define POD_METADATA                                                                      \
	{ .key = "name" }, { .key = "namespace" }, { .key = "uid" }, { .key = "labels" }, \
		{ .key = "generateName" }, { .key = "creationTimestamp" },                \
		{ .key = "deletionTimestamp" }, { .key = "resourceVersion" },             \
	{                                                                                 \
		.key = "ownerReferences", .below = owner                                  \
	}
#define POD_SPEC                                                   \
	{ .key = "hostNetwork" }, { .key = "serviceAccountName" }, \
	{                                                          \
		.key = "nodeName"                                  \
	}
#define POD_STATUS                                                   \
	{ .key = "phase" }, { .key = "podIP" }, { .key = "hostIP" }, \
		{ .key = "hostIPs", .below = ip },                   \
	{                                                            \
		.key = "podIPs", .below = ip                         \
	}

static const struct keep pod_here_metadata[] = { POD_METADATA, { .key = "annotations" }, END };
static const struct keep dns_config[] = { { .key = "nameservers" }, END };
static const struct keep pod_here_spec[] = {
	POD_SPEC,
	{ .key = "containers", .below = container },
	{ .key = "initContainers", .below = container },
	{ .key = "securityContext", .below = security_context },
	{ .key = "hostUsers" },
	{ .key = "dnsPolicy" },
	{ .key = "dnsConfig", .below = dns_config },
	END,
};
static const struct keep pod_here_status[] = {
	POD_STATUS,
	{ .key = "containerStatuses", .below = container_status },
	{ .key = "initContainerStatuses", .below = container_status },
	END,
};
static const struct keep pod_here[] = {
	{ .key = "kind" },
	{ .key = "metadata", .below = pod_here_metadata },
	{ .key = "spec", .below = pod_here_spec },
	{ .key = "status", .below = pod_here_status },
	STATUS_FIELDS,
	END,
};

/* A pod that runs elsewhere is a name with addresses; its ports name what is dialled. */
static const struct keep peer_container[] = { { .key = "name" },
					      { .key = "ports", .below = container_port },
					      END };
static const struct keep peer_metadata[] = { POD_METADATA, END };
static const struct keep peer_spec[] = { POD_SPEC,
					 { .key = "containers", .below = peer_container },
					 { .key = "initContainers", .below = peer_container },
					 END };
static const struct keep peer_status[] = { POD_STATUS, END };
static const struct keep pod_elsewhere[] = {
	{ .key = "kind" },
	{ .key = "metadata", .below = peer_metadata },
	{ .key = "spec", .below = peer_spec },
	{ .key = "status", .below = peer_status },
	STATUS_FIELDS,
	END,
};

static const struct keep namespace_metadata[] = { { .key = "name" },
						  { .key = "labels" },
						  { .key = "annotations" },
						  { .key = "resourceVersion" },
						  END };
static const struct keep namespace[] = {
	{ .key = "kind" }, { .key = "metadata", .below = namespace_metadata }, STATUS_FIELDS, END
};

static const struct keep service_metadata[] = { { .key = "name" },
						{ .key = "namespace" },
						{ .key = "labels" },
						{ .key = "resourceVersion" },
						END };
static const struct keep service_port[] = { { .key = "name" },	   { .key = "port" },
					    { .key = "nodePort" }, { .key = "targetPort" },
					    { .key = "protocol" }, END };
static const struct keep service_spec[] = { { .key = "type" },
					    { .key = "clusterIP" },
					    { .key = "clusterIPs" },
					    { .key = "externalIPs" },
					    { .key = "selector" },
					    { .key = "ports", .below = service_port },
					    END };
static const struct keep balancer[] = { { .key = "ingress", .below = ip }, END };
static const struct keep service_status[] = { { .key = "loadBalancer", .below = balancer }, END };
static const struct keep service[] = {
	{ .key = "kind" },
	{ .key = "metadata", .below = service_metadata },
	{ .key = "spec", .below = service_spec },
	{ .key = "status", .below = service_status },
	STATUS_FIELDS,
	END,
};

static const struct keep target[] = { { .key = "kind" }, { .key = "name" }, END };
static const struct keep endpoint[] = { { .key = "addresses" },
					{ .key = "targetRef", .below = target },
					END };
static const struct keep slice_port[] = {
	{ .key = "name" }, { .key = "port" }, { .key = "protocol" }, END
};
static const struct keep endpoint_slice[] = {
	{ .key = "kind" },
	{ .key = "metadata", .below = service_metadata },
	{ .key = "addressType" },
	{ .key = "endpoints", .below = endpoint },
	{ .key = "ports", .below = slice_port },
	STATUS_FIELDS,
	END,
};

static const struct keep node_metadata[] = { { .key = "name" }, { .key = "resourceVersion" }, END };
static const struct keep node_address[] = { { .key = "type" }, { .key = "address" }, END };
static const struct keep node_status[] = { { .key = "addresses", .below = node_address }, END };
static const struct keep node[] = { { .key = "kind" },
				    { .key = "metadata", .below = node_metadata },
				    { .key = "status", .below = node_status },
				    STATUS_FIELDS,
				    END };

static const struct keep list_metadata[] = { { .key = "resourceVersion" },
					     { .key = "continue" },
					     END };

const struct keep kube_status_keep[] = { { .key = "kind" }, STATUS_FIELDS, END };

#define LIST(object)                                                              \
	(const struct keep[])                                                     \
	{                                                                         \
		{ .key = "kind" }, { .key = "metadata", .below = list_metadata }, \
			{ .key = "items", .below = object, .each = true }, END    \
	}
#define EVENT(object)                                                        \
	(const struct keep[])                                                \
	{                                                                    \
		{ .key = "type" }, { .key = "object", .below = object }, END \
	}

const struct kube_resource kube_resources[KUBE_RESOURCES] = {
	[KUBE_PODS_HERE] = { .name = "pods",
			     .kind = "Pod",
			     .path = "/api/v1/pods",
			     .group = "",
			     .plural = "pods",
			     .selector = "spec.nodeName%3D%s",
			     .list = LIST(pod_here),
			     .event = EVENT(pod_here),
			     .object = pod_here },
	[KUBE_NAMESPACES] = { .name = "namespaces",
			      .kind = "Namespace",
			      .path = "/api/v1/namespaces",
			      .group = "",
			      .plural = "namespaces",
			      .list = LIST(namespace),
			      .event = EVENT(namespace),
			      .object = namespace },
	[KUBE_SERVICES] = { .name = "services",
			    .kind = "Service",
			    .path = "/api/v1/services",
			    .group = "",
			    .plural = "services",
			    .list = LIST(service),
			    .event = EVENT(service),
			    .object = service },
	[KUBE_ENDPOINT_SLICES] = { .name = "endpointslices",
				   .kind = "EndpointSlice",
				   .path = "/apis/discovery.k8s.io/v1/endpointslices",
				   .group = "discovery.k8s.io",
				   .plural = "endpointslices",
				   .list = LIST(endpoint_slice),
				   .event = EVENT(endpoint_slice),
				   .object = endpoint_slice },
	[KUBE_NODES] = { .name = "nodes",
			 .kind = "Node",
			 .path = "/api/v1/nodes",
			 .group = "",
			 .plural = "nodes",
			 .list = LIST(node),
			 .event = EVENT(node),
			 .object = node },
	[KUBE_PODS_ELSEWHERE] = { .name = "peer_pods",
				  .kind = "Pod",
				  .path = "/api/v1/pods",
				  .group = "",
				  .plural = "pods",
				  .selector = "spec.nodeName!%3D%s,status.phase!%3DSucceeded,"
					      "status.phase!%3DFailed",
				  .list = LIST(pod_elsewhere),
				  .event = EVENT(pod_elsewhere),
				  .object = pod_elsewhere },
};

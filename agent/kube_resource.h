/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent asks the API server for, and which fields of it are kept: tables, nothing else. */
#ifndef WEIR_AGENT_KUBE_RESOURCE_H
#define WEIR_AGENT_KUBE_RESOURCE_H

#include "agent/kube_json.h"

enum kube_resource_id {
	KUBE_PODS_HERE, /* first: these are captured */
	KUBE_NAMESPACES,
	KUBE_SERVICES,
	KUBE_ENDPOINT_SLICES, /* from here on: no pod's policy depends on them */
	KUBE_NODES, /* from here on: may be left out (--peers=node) */
	KUBE_PODS_ELSEWHERE,
	KUBE_RESOURCES
};

struct kube_resource {
	const char *name; /* in logs, metrics, `weir status` */
	const char *kind;
	const char *path;
	const char *group; /* apiGroup and resource as an RBAC rule names them */
	const char *plural;
	const char *selector; /* fieldSelector, escaped; %s is the node's name; NULL: none */
	const struct keep *list; /* of the answer to a list */
	const struct keep *event; /* of one event of a watch */
	const struct keep *object; /* of one object alone */
};

extern const struct kube_resource kube_resources[KUBE_RESOURCES];

/* Of a Status object, which is what an API server answers when it refuses. */
extern const struct keep kube_status_keep[];

#endif

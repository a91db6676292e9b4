/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir uses of a Kubernetes Pod, whether it came from the API, from a CNI ADD or from a file.
 *
 * Absent and empty differ in annotations, so absent is NULL everywhere. A struct pod owns all
 * that it points to and does not change once parsed.
 */
#ifndef WEIR_AGENT_POD_H
#define WEIR_AGENT_POD_H

#include "base/cleanup.h"
#include "maps/addr.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A label, an annotation or an environment variable. */
struct pod_pair {
	char *key;
	char *value; /* never NULL */
};

struct pod_pairs {
	struct pod_pair *items; /* in the object's order */
	size_t n;
};

struct pod_port {
	char *name; /* NULL when it has none */
	uint16_t port;
	bool udp; /* protocol UDP or SCTP: not a TCP port */
};

struct pod_container {
	char *name;
	char **args;
	size_t n_args;
	struct pod_pairs env;
	struct pod_pairs env_elsewhere; /* with valueFrom: their values, here "", are not known */
	struct pod_port *ports;
	size_t n_ports;
	int64_t run_as_user; /* -1: absent */
	int64_t run_as_group;
};

struct pod_containers {
	struct pod_container *items;
	size_t n;
};

struct pod {
	char *namespace;
	char *name;
	char *uid; /* "" when absent: a static pod file need not have one */
	char *generate_name; /* NULL when absent, like the rest of these */
	char *owner_kind; /* of the ownerReference with controller: true */
	char *owner_name;
	char *service_account;
	char *node_name;
	char *phase;
	char *created; /* creationTimestamp, UTC: of two the later one sorts behind */
	struct pod_pairs labels;
	struct pod_pairs annotations;
	struct pod_containers containers;
	struct pod_containers init_containers;
	int64_t run_as_user; /* of the pod's securityContext; -1: absent */
	int64_t run_as_group;
	char *dns_policy;
	struct weir_addr *dns_servers; /* spec.dnsConfig.nameservers */
	size_t n_dns_servers;
	struct weir_addr *ips; /* status.podIPs in order, or status.podIP */
	size_t n_ips;
	struct weir_addr *host_ips; /* of its node: status.hostIPs, or status.hostIP */
	size_t n_host_ips;
	bool host_network;
	bool host_users; /* true unless hostUsers: false */
	bool deleting; /* has a deletionTimestamp */
};

/*
 * Returns -EINVAL and in *ret_error a text that names the field and what is wrong with it. Null
 * means absent, as in Kubernetes.
 */
int pod_parse(const json_t *object, struct pod **ret, char **ret_error);
void pod_free(struct pod *pod);

/* NULL when absent. */
const char *pod_annotation(const struct pod *pod, const char *key);
const char *pod_label(const struct pod *pod, const char *key);
/* Value of an environment variable of c; the last of that name counts, as for the kubelet. */
const char *pod_env(const struct pod_container *c, const char *key);
/* Looks among the containers, then among the init containers (native sidecars). */
const struct pod_container *pod_container(const struct pod *pod, const char *name);
/* Istio's ambient mode: its traffic passes ztunnel, which has its sockets in the pod's namespace.
 */
bool pod_has_ztunnel(const struct pod *pod);
/* Phase Succeeded or Failed: nothing runs in it any more, and its address may be another's. */
bool pod_finished(const struct pod *pod);
/*
 * Of two pods that show the same address, or the same name, which one has it now? One that is not
 * being deleted, then one that runs, then the younger one. Finished ones have none.
 */
bool pod_supersedes(const struct pod *pod, const struct pod *other);

/* The first address of each family; :: where there is none. */
void pod_addresses(const struct pod *pod, struct weir_addr *ret_v4, struct weir_addr *ret_v6);
/* Label sidecar.istio.io/inject, else the annotation of that name, else NULL. */
const char *pod_istio_inject(const struct pod *pod);
/* Was a sidecar to be injected? What the namespace says counts where the pod says nothing. */
bool pod_asks_for_istio(const struct pod *pod, const struct pod_pairs *namespace_labels);
bool pod_asks_for_linkerd(const struct pod *pod, const struct pod_pairs *namespace_annotations,
			  const struct pod_pairs *namespace_labels);

static inline void pod_cleanup(struct pod **pod)
{
	pod_free(*pod);
	*pod = NULL;
}

#define _cleanup_pod_ _cleanup_(pod_cleanup)

#endif

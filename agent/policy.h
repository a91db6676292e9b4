/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a pod to what the hooks are to do with its connections: which mesh, captured or not and
 * why, which ports and ranges. Knows no maps: the reconciler writes the result into them.
 */
#ifndef WEIR_AGENT_POLICY_H
#define WEIR_AGENT_POLICY_H

#include "agent/lists.h"
#include "agent/object.h"
#include "agent/pod.h"
#include "maps/pod.h"
#include "maps/policy.h"

/*
 * Value of weir_pods{state}. PENDING is set by the reconciler: to be captured, and not in force
 * yet. MISSING_SIDECAR: asks for injection and has no proxy. X(number, NAME, name)
 */
#define POLICY_STATES(X)                 \
	X(0, NOT_CAPTURED, not_captured) \
	X(1, CAPTURED, captured)         \
	X(2, PENDING, pending)           \
	X(3, FAILED, failed)             \
	X(4, MISSING_SIDECAR, missing_sidecar)

enum policy_state {
#define X(number, NAME, name) POLICY_##NAME = number,
	POLICY_STATES(X)
#undef X
		POLICY_STATE_MAX = 5
};

/* --mesh: which meshes may claim a pod. */
enum policy_meshes {
	POLICY_MESH_AUTO = 0,
	POLICY_MESH_ISTIO,
	POLICY_MESH_LINKERD,
	POLICY_MESH_AMBIENT, /* captures no pod yet */
	POLICY_MESH_NONE,
};

/* Which address families get rules in an Istio pod; see policy_families(). */
enum policy_ipv6 {
	POLICY_IPV6_AUTO = 0,
	POLICY_IPV6_ON,
	POLICY_IPV6_OFF,
};

struct policy_options {
	enum policy_meshes meshes;
	enum policy_ipv6 ipv6;
	/* Of the pod's namespace, NULL when unknown: Linkerd's annotations fall back to them, and
	 * they tell whether a sidecar was to be injected. */
	const struct pod_pairs *namespace_annotations;
	const struct pod_pairs *namespace_labels;
	/* Services default/kubernetes and kube-system/kube-dns, NULL when unknown: what Linkerd's
	 * control plane must reach by itself, and whom the cluster's resolvers ask. */
	const struct service *api_server;
	const struct service *cluster_dns;
	bool takeover; /* also pods with iptables rules of their mesh's own */
};

struct policy {
	enum policy_state state;
	enum weir_mesh mesh;
	/*
	 * Why this state, one line for people; never NULL. A pod that FAILED is refused its traffic
	 * (pod.mode) where the mesh would have refused the pod; else its other inputs count.
	 */
	char *reason;
	/*
	 * Without workload and generation, which the reconciler sets; addresses from podIPs. The
	 * proxy's ids are as the pod sees them: with hostUsers: false the reconciler maps them.
	 */
	struct weir_pod pod;
	__u32 sources[WEIR_SETTING_MAX]; /* enum weir_source by weir_list and weir_setting */
	struct port_range *ports; /* per list sorted, disjoint */
	size_t n_ports;
	struct cidr *cidrs; /* without duplicates */
	size_t n_cidrs;
	struct policy_id *ids; /* in the order written, without duplicates */
	size_t n_ids;
	struct policy_interface *interfaces;
	size_t n_interfaces;
	bool takeover; /* iptables rules of the mesh's own do not matter */
	const char *took_over; /* which of the warnings tells so; NULL: there was nothing to take
				  over */
	char **warnings;
	size_t n_warnings;
	size_t n_errors; /* inputs that are wrong; their texts are in reason */
};

/*
 * Always yields a policy; what is wrong with the pod is in its state and reason. -EINVAL only when
 * an argument is NULL.
 */
int policy_compile(const struct pod *pod, const struct policy_options *options,
		   struct policy **ret);
void policy_free(struct policy *policy);
/* Makes of a policy that captures one that leaves the pod alone, and knows its proxy. Takes reason.
 */
void policy_decline(struct policy *policy, char *reason);
/* Takes text. */
void policy_add_warning(struct policy *policy, char *text);
const char *policy_state_name(enum policy_state state);
const char *policy_mesh_name(enum weir_mesh mesh); /* none, istio, linkerd, custom */
/* -EINVAL when text is none of auto, istio, linkerd, ambient, none. */
int policy_meshes_parse(const char *text, enum policy_meshes *ret);

/*
 * A hash of all that the maps will hold, never 0: equal content gives an equal generation. Ignores
 * pod.workload and pod.generation.
 */
uint32_t policy_generation(const struct policy *policy);

/*
 * Calls back for each of the at most 30 prefixes (bits 1..16 set from the front, or 0 for the whole
 * range) that together are lo..hi; a result other than 0 ends it and is returned.
 */
int range_to_prefixes(uint16_t lo, uint16_t hi, int (*cb)(uint16_t prefix, int bits, void *arg),
		      void *arg);

static inline void policy_cleanup(struct policy **policy)
{
	policy_free(*policy);
	*policy = NULL;
}

#define _cleanup_policy_ _cleanup_(policy_cleanup)

#endif

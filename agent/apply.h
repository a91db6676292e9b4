/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes one pod into the kernel, or takes it out. The order keeps every moment safe: lists before
 * the policy that asks them, listeners before SYNs are steered to them.
 */
#ifndef WEIR_AGENT_APPLY_H
#define WEIR_AGENT_APPLY_H

#include "agent/links.h"
#include "agent/loader.h"
#include "agent/policy.h"
#include "agent/takeover.h"
#include "base/keyset.h"

/* What is to be put in force in one network namespace. */
struct placement {
	int netns_fd;
	uint64_t cookie;
	uint32_t workload;
	const struct policy *policy;
	const char *namespace, *name, *uid, *netns;
	bool young; /* the runtime is still at work on it */
	struct keyset *addresses; /* of weir_local: the pod's are added */
	struct links_desired *links; /* likewise */
};

/* Does weir_pods have an entry for it? */
bool apply_known(const struct loader *loader, uint64_t cookie);
/* Of the policy that is in force; 0: none is. */
uint32_t apply_generation(const struct loader *l, uint64_t cookie);
/* Does the proxy listen on that port so that the kernel lets nothing be steered to it? See enum
 * weir_seen. */
bool apply_unsteerable(const struct loader *l, uint64_t cookie, uint16_t port);
/* Is a policy in force there that redirects? */
bool apply_captured(const struct loader *loader, uint64_t cookie);
struct taken apply_taken(const struct loader *loader, uint64_t cookie);

/*
 * Returns the number of changes, or -errno with *ret_error set. When the lists do not fit, the
 * policy in force before stays; without one the pod is refused what it would have had captured.
 */
int apply_policy(struct loader *loader, const struct placement *p, char **ret_error);
int apply_removal(struct loader *loader, uint64_t cookie);

/* Removes lists that belong to no pod or to a superseded policy, and marks of pods that are gone.
 * Changes or -errno. */
int apply_prune(const struct loader *loader);
/* Is there no room for the figures of one more workload? */
bool apply_is_full(const struct loader *loader);
/* Frees the places that a workload had for what does not fit, as far as nothing is in them. */
void apply_unreserve(const struct loader *loader, uint32_t workload);

#endif

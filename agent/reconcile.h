/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings the kernel in step with the pods that should be there. A run looks at everything and
 * writes only what differs, so a second one changes nothing and no event needs to have been seen.
 */
#ifndef WEIR_AGENT_RECONCILE_H
#define WEIR_AGENT_RECONCILE_H

#include "agent/identity.h"
#include "agent/links.h"
#include "agent/loader.h"
#include "agent/map.h"
#include "agent/names.h"
#include "agent/place.h"
#include "agent/policy.h"
#include "agent/source.h"

/* A pod of this node, from its first sight until its network namespace is let go. */
struct managed {
	struct managed *next;
	char *namespace, *name, *uid, *node;
	char *workload, *workload_kind;
	char *netns, *cgroup; /* as struct place has them */
	enum place_how how; /* it was found */
	char *file; /* where it was read */
	bool api; /* that is the API */
	char *ips; /* for people */
	struct weir_addr *addrs; /* the same: those of its status */
	size_t n_addrs;
	struct policy *policy; /* of its newest object */
	uint64_t cookie; /* 0: its network namespace has not been found */
	enum policy_state state;
	char *reason;
	bool applied; /* what the maps hold is of this pod */
	bool written; /* in this run: its addresses are all desired ones */
	bool present; /* in the newest scan */
	struct links_watch watch; /* of its network namespace, if the policy names interfaces */
	bool plain; /* its namespace has none of the rules that virtual machines need */
	int64_t retry_ms; /* not before this moment; 0: at once */
	int64_t young_until_ms; /* the runtime is still making its network; 0: not so */
	int64_t missing_since; /* ms; 0: not missing */
};

struct reconciler {
	struct loader *loader;
	struct names *names;
	struct identity *identity;
	struct source *source;
	const struct places *places;
	struct policy_options options;
	uint64_t own_cookie;
	struct managed *pods;
	struct desired addresses; /* what weir_local should hold, as far as this run has written */
	struct links_desired links; /* likewise */
	struct loop *loop;
	void (*changed)(void *ctx); /* the network of a pod is not what it was */
	void *changed_ctx;
	bool adopted; /* leftovers of an earlier agent were looked through */
};

struct reconciler *reconciler_new(struct loader *loader, struct names *names, struct source *source,
				  const struct places *places,
				  const struct policy_options *options);
/* changed(ctx) is called from the loop when a run is due because a pod's network has changed. */
void reconciler_watch(struct reconciler *r, struct loop *loop, void (*changed)(void *ctx),
		      void *ctx);
void reconciler_free(struct reconciler *r);

/*
 * One run. Returns the number of changes made to the kernel's tables; *ret_again_ms says when to
 * run again even if nothing happens, -1: no need.
 */
int reconcile(struct reconciler *r, int64_t *ret_again_ms);

/*
 * The same for the pod of one sandbox alone, at once. -ENOENT when no source knows it; otherwise
 * *ret is owned by r until the next run.
 */
int reconcile_sandbox(struct reconciler *r, const struct sandbox *sandbox,
		      const struct managed **ret);

/* Is a pod's capture in force in the kernel, its inbound steering included? */
bool reconciler_in_force(const struct reconciler *r, const struct managed *m);

/* ns/name, for logs; the caller's. */
char *managed_key(const struct managed *m);

#endif

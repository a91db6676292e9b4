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
#include "agent/managed.h"
#include "agent/names.h"
#include "agent/nsid.h"
#include "agent/source.h"
#include "agent/traits.h"
#include "base/keyset.h"

struct reconciler {
	struct loader *loader;
	struct names *names;
	struct identity *identity;
	struct source *source;
	const struct places *places;
	struct policy_options options; /* its Services are those of the run that is under way */
	struct traits_options traits;
	uint64_t own_cookie;
	struct managed *pods;
	struct keyset addresses; /* what weir_local should hold, as far as this run has written */
	struct links_desired links; /* likewise */
	struct nsid *nsid; /* NULL: nobody tells what happens in the pods' namespaces */
	struct loop *loop;
	void (*changed)(void *ctx); /* the network of a pod is not what it was */
	void *changed_ctx;
};

struct reconciler *reconciler_new(struct loader *loader, struct names *names, struct source *source,
				  const struct places *places, const struct policy_options *options,
				  const struct traits_options *traits);
/*
 * changed(ctx) is called from the loop when a run is due because a pod's network has changed.
 * -errno when only those that the policies name can be followed: then a run is due now and then.
 */
int reconciler_watch(struct reconciler *r, struct loop *loop, void (*changed)(void *ctx),
		     void *ctx);
void reconciler_free(struct reconciler *r);

/* A pod more, of which nothing is known yet; the reconciler's. */
struct managed *reconciler_add(struct reconciler *r);

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

/* The same for a guarded sandbox, whose pod no source knows. */
const struct managed *reconcile_guard(struct reconciler *r, const struct sandbox *sandbox);

/* Is a pod's capture in force in the kernel, its inbound steering included? */
bool reconciler_in_force(const struct reconciler *r, const struct managed *m);

#endif

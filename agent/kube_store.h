/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the API said of one resource: a part of struct source, found by namespace and name. A
 * broken object keeps what it said last.
 */
#ifndef WEIR_AGENT_KUBE_STORE_H
#define WEIR_AGENT_KUBE_STORE_H

#include "agent/kube_resource.h"
#include "agent/source.h"

/* So many of those that went last are remembered: an answer may still be on its way. */
#define KUBE_STORE_GONE 16

struct kube_store {
	const struct kube_resource *resource;
	struct objects *objects; /* all of one kind; errors and failed: those that are broken now */
	void *index; /* tsearch(3): "namespace/name" to its place in objects */
	uint64_t gone[KUBE_STORE_GONE]; /* a ring of hashes of their uids */
	size_t n_gone;
};

/* objects is empty; the store owns what comes into it, until kube_store_free(). */
void kube_store_init(struct kube_store *s, const struct kube_resource *resource,
		     struct objects *objects);
void kube_store_free(struct kube_store *s);

/*
 * Takes in an object that is new or may have changed. 1, or 0 when nothing of what is kept has; or
 * -EINVAL when it is broken: then *ret_error (owned
 * by s, "namespace/name: what is wrong") is remembered until it is mended or gone.
 */
int kube_store_put(struct kube_store *s, const json_t *object, const char **ret_error);
/*
 * The same with an object that was asked for by its name, which may be newer than all that a watch
 * has told: until the watch tells of that very one, by its uid, what it tells of a former one of
 * the name is old news. One that is known, or that went while it was asked for, changes nothing.
 */
int kube_store_offer(struct kube_store *s, const json_t *object, const char **ret_error);
/* Was it known, or known to be broken? One of that name with another uid is another one. */
bool kube_store_remove(struct kube_store *s, const json_t *object);
size_t kube_store_count(const struct kube_store *s);

/* s holds what next held and next is empty; what is broken in next stays as it was in s. */
void kube_store_replace(struct kube_store *s, struct kube_store *next);
/* Are there objects that are broken and have never been right? */
bool kube_store_incomplete(const struct kube_store *s);

#endif

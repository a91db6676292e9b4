/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the API said of one resource: a part of struct source, found by namespace and name. A
 * broken object keeps what it said last.
 */
#ifndef WEIR_AGENT_KUBE_STORE_H
#define WEIR_AGENT_KUBE_STORE_H

#include "agent/kube_resource.h"
#include "agent/source.h"

struct kube_store {
	const struct kube_resource *resource;
	struct objects *objects; /* all of one kind; errors and failed: those that are broken now */
	void *index; /* tsearch(3): "namespace/name" to its place in objects */
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
/* Was it known, or known to be broken? */
bool kube_store_remove(struct kube_store *s, const json_t *object);
/* Is one of that name known? */
bool kube_store_has(const struct kube_store *s, const json_t *object);
size_t kube_store_count(const struct kube_store *s);

/* s holds what next held and next is empty; what is broken in next stays as it was in s. */
void kube_store_replace(struct kube_store *s, struct kube_store *next);
/* Are there objects that are broken and have never been right? */
bool kube_store_incomplete(const struct kube_store *s);

#endif

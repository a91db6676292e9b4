/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON as it arrives, in pieces of any size. Of all values only those are built that a tree of
 * keys names; the rest is checked and forgotten, so that memory is that of one object's wanted
 * fields, however long the list and however large the object.
 */
#ifndef WEIR_AGENT_KUBE_JSON_H
#define WEIR_AGENT_KUBE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A list of these ends with key NULL. Lists are transparent: `below` counts for each element. */
struct keep {
	const char *key;
	const struct keep *below; /* NULL: all that is below */
	bool each; /* a list whose elements are handed on one by one and not kept */
};

struct kube_json;

struct kube_json_handler {
	/* Values are the caller's; take a reference to keep one. */
	void (*item)(void *ctx,
		     const json_t *item); /* element of a list with `each`; may be NULL */
	void (*root)(void *ctx, const json_t *root); /* a whole text, without such elements */
	void *ctx;
};

/* stream: values follow each other without end, as in a watch. keep must outlive it. */
struct kube_json *kube_json_new(const struct keep *keep, bool stream,
				const struct kube_json_handler *handler);
void kube_json_free(struct kube_json *j);

/* 0, or -EBADMSG with *ret_error (the caller's) when this is no JSON; nothing can follow then. */
int kube_json_feed(struct kube_json *j, const char *data, size_t len, char **ret_error);
/* No more of a text comes: -EBADMSG when something is missing. Of no use for a stream. */
int kube_json_end(struct kube_json *j, char **ret_error);

#endif

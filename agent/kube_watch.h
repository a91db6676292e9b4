/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One resource, listed and then watched for ever. Whatever goes wrong, what is known stays until a
 * list to the end says otherwise; a list replaces all at once, so nothing depends on having seen
 * an event.
 *
 *     LIST --all pages--> WATCH --ends, from the last version--> WATCH
 *      ^                    |
 *      +------- 410 --------+        errors: wait (backoff, jitter, Retry-After), then the same
 */
#ifndef WEIR_AGENT_KUBE_WATCH_H
#define WEIR_AGENT_KUBE_WATCH_H

#include "agent/kube_client.h"
#include "agent/kube_store.h"

struct kube_watch;

struct kube_watch_options {
	const char *node_name;
	int64_t watch_ms; /* the server is asked to end a watch after about that long */
	void (*changed)(void *ctx, const struct kube_watch *w); /* what is known, or that it is */
	/* An object is wrong; text is the store's. */
	void (*broken)(void *ctx, const struct kube_watch *w, const json_t *object,
		       const char *text);
	void *ctx;
};

struct kube_watch {
	const struct kube_resource *resource;
	struct kube_client *client;
	struct loop *loop;
	struct kube_watch_options options;
	struct source_file *part; /* where everybody finds what is known */
	struct kube_store store; /* over it */
	struct kube_store next; /* what the list said that has not come to its end */
	struct objects next_objects;
	struct kube_json *json; /* of the answer that comes */
	struct kube_request *request; /* NULL: waiting for the timer */
	int timer;
	char *version; /* to watch from; NULL: list first */
	char *token; /* of the next page; NULL: first page */
	bool whole; /* without pages: a continue token expired */
	bool consistent; /* the list must not come from a cache that may be behind */
	bool synced; /* a list was taken in to its end, once */
	bool connected; /* a watch is open */
	double since; /* seconds since the epoch: when that became so, or the start */
	bool reconnect; /* over a new connection */
	bool is_list; /* the answer says so */
	bool expired; /* the answer says 410 */
	bool ended; /* an event says that the watch is of no use */
	unsigned int failures; /* in a row */
	unsigned int pages; /* of this list */
	int64_t opened_ms;
	uint64_t begun_events; /* events when the request began */
	double heard; /* seconds since the epoch: when the store was last known to be current */
	char *error; /* why it is not connected; NULL when it is, or has not tried */
	char *said; /* the last error that was logged; NULL: none since all was well */
	long said_status; /* of HTTP, that came with it */
	int64_t said_ms;
	unsigned int n_said; /* since all was well */
	/* counters */
	uint64_t lists, watches, events, errors;
};

/* 0 or -errno. part and the strings of options must outlive it. */
int kube_watch_start(struct kube_watch *w, enum kube_resource_id id, struct loop *loop,
		     struct kube_client *client, struct source_file *part,
		     const struct kube_watch_options *options);
/* An object that was asked for by its name (kube_store_offer). */
void kube_watch_offer(struct kube_watch *w, const json_t *object);
void kube_watch_stop(struct kube_watch *w);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster as the API server tells it: one watch a resource (kube_watch.h), over one client
 * (kube_client.h), into parts of struct source. The API server may be away for as long as it likes:
 * what is known stays in force, and metrics say how old it is.
 */
#ifndef WEIR_AGENT_KUBE_H
#define WEIR_AGENT_KUBE_H

#include "agent/kube_events.h"
#include "agent/kube_watch.h"

struct kube_options {
	const char *kubeconfig; /* NULL: in cluster */
	const char *node_name;
	bool all_peers; /* pods of other nodes too, for their names */
	int64_t watch_ms;
	/* Called from the loop. peers: it concerns names of what is elsewhere, and no pod here. */
	void (*changed)(void *ctx, bool peers);
	void *ctx;
};

struct kube {
	struct kube_client *client;
	struct kube_watch watches[KUBE_RESOURCES]; /* resource NULL: not watched */
	struct kube_options options;
	struct kube_events *events;
	struct kube_lookup *lookups; /* pods that are asked for by name */
	int grace_timer;
	bool grace_over;
};

/* Strings of options must outlive it. *ret_error is the caller's. */
int kube_start(struct kube *k, struct loop *loop, struct source *source,
	       const struct kube_options *options, char **ret_error);
void kube_stop(struct kube *k);

/* Asks for one pod of this node that the watch has not told of yet; it comes as any other does. */
void kube_lookup_pod(struct kube *k, const char *namespace, const char *name);

/* Has all been listed once? */
bool kube_synced(const struct kube *k);
/*
 * The API server has been away since the start for so long that an agent which has adopted what
 * an earlier one left need not wait for it: traffic is diverted as it was.
 */
bool kube_grace_over(const struct kube *k);
/* When all that is known was last known to be current; seconds since the epoch, 0: never. */
double kube_last_sync(const struct kube *k);
/* Is each watch open? *ret_since says since when that is so; seconds since the epoch. */
bool kube_reachable(const struct kube *k, double *ret_since);
/* Why the first resource that is not in step is not; NULL: all are. */
const char *kube_error(const struct kube *k);

#endif

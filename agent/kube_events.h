/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes Events (events.k8s.io/v1) about pods, for those who look with kubectl. What is told
 * again and again is one Event, renewed before the API forgets it, with a count; a flood is cut.
 * They are only ever created: the agent needs no right to change one.
 */
#ifndef WEIR_AGENT_KUBE_EVENTS_H
#define WEIR_AGENT_KUBE_EVENTS_H

#include <stdbool.h>

#include "agent/kube_client.h"

struct kube_events;

/* A fact about a pod. The strings are copied. */
struct kube_fact {
	const char *namespace, *name, *uid; /* of the pod */
	bool warning; /* else normal */
	const char *action; /* what weir did or tried, in CamelCase as Kubernetes has it */
	const char *reason;
	const char *note; /* for people: the words of `weir pods` */
};

/* node_name must outlive it. 0 or -errno. */
int kube_events_new(struct loop *loop, struct kube_client *client, const char *node_name,
		    struct kube_events **ret);
void kube_events_free(struct kube_events *e);

/*
 * This is so now. To be called again as long as it is so, with a round begun before each look at
 * all pods: what was not so in the round before has happened once more.
 */
void kube_events_round(struct kube_events *e);
void kube_events_tell(struct kube_events *e, const struct kube_fact *fact);

#endif

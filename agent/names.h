/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids of workloads and Services. They lie in weir_names, so that a new agent knows what the flows
 * of an old one mean; an id is never given to another name. A pod of a workload may have an id of
 * its own: weir_traits says which.
 */
#ifndef WEIR_AGENT_NAMES_H
#define WEIR_AGENT_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/flow.h"

struct names;

/* File descriptors, the caller's. */
struct names_maps {
	int names;
	int traits; /* negative: there is none, and no traits are kept */
	int counters; /* the next id lies there: one that was freed is not given again */
};

/* Reads what is in the maps. */
struct names *names_open(const struct names_maps *maps);
void names_free(struct names *names);

/* The id of this name, a new one if need be; WEIR_ID_OTHER when the map is full. */
uint32_t names_id(struct names *names, const char *kind, const char *namespace, const char *name);
/* The same for one pod of the workload. */
uint32_t names_pod_id(struct names *names, const char *kind, const char *namespace,
		      const char *name, const char *pod);
/* The same for the pod that traits tell, "" for all of them; what traits say besides is kept. */
uint32_t names_describe(struct names *names, const char *kind, const char *namespace,
			const char *name, const struct weir_traits *traits);

/* How often a name got WEIR_ID_OTHER. */
uint64_t names_left_out(const struct names *names);
/* The name of an id that is above WEIR_ID_FIRST; NULL when it has none. Until the next sweep. */
const struct weir_name *names_name(const struct names *names, uint32_t id);
/* The id of a pod's workload, without the pod; the same for one that is of no pod. */
uint32_t names_workload(const struct names *names, uint32_t id);

/*
 * Frees the names that used() has denied in `times` calls of this one after another: whoever holds
 * an id that stands in no table yet, such as a connection in its handshake, has time to use it.
 * freed() is told of each.
 */
void names_sweep(struct names *names, unsigned int times, bool (*used)(uint32_t id, void *ctx),
		 void *used_ctx, void (*freed)(uint32_t id, void *ctx), void *freed_ctx);

#endif

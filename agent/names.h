/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids of workloads and Services. They lie in weir_names, so that a new agent knows what the flows
 * of an old one mean; an id is never given to another name.
 */
#ifndef WEIR_AGENT_NAMES_H
#define WEIR_AGENT_NAMES_H

#include <stdbool.h>
#include <stdint.h>

struct names;

/*
 * Reads what is in weir_names; the next id lies in weir_counters, so that one which was freed is
 * not given again after a restart. The file descriptors stay the caller's.
 */
struct names *names_open(int map_fd, int counters_fd);
void names_free(struct names *names);

/* The id of this name, a new one if need be; WEIR_ID_OTHER when the map is full. */
uint32_t names_id(struct names *names, const char *kind, const char *namespace, const char *name);

/*
 * Frees the names that used() has denied in `times` calls of this one after another: whoever holds
 * an id that stands in no table yet, such as a connection in its handshake, has time to use it.
 * freed() is told of each.
 */
void names_sweep(struct names *names, unsigned int times, bool (*used)(uint32_t id, void *ctx),
		 void *used_ctx, void (*freed)(uint32_t id, void *ctx), void *freed_ctx);

#endif

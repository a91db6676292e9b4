/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids of workloads and Services. They lie in weir_names, so that a new agent knows what the flows
 * of an old one mean; an id is never given to another name.
 */
#ifndef WEIR_AGENT_NAMES_H
#define WEIR_AGENT_NAMES_H

#include <stdint.h>

struct names;

/* Reads what is in the map. The file descriptor stays the caller's. */
struct names *names_open(int map_fd);
void names_free(struct names *names);

/* The id of this name, a new one if need be; WEIR_ID_OTHER when the map is full. */
uint32_t names_id(struct names *names, const char *kind, const char *namespace, const char *name);

#endif

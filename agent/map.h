/* SPDX-License-Identifier: Apache-2.0 */
/* Single entries of the kernel's maps; only what differs is written, so that a second run changes
 * nothing. */
#ifndef WEIR_AGENT_MAP_H
#define WEIR_AGENT_MAP_H

#include <stdbool.h>
#include <stddef.h>

/* Writes value unless it is there already. 0, 1 when it was written, or -errno (-E2BIG, -ENOSPC:
 * full). */
int map_put(int fd, const void *key, const void *value, size_t value_size);
/* 0, 1 when it was there, or -errno. */
int map_remove(int fd, const void *key);

/*
 * Calls fn with every key and value; what fn says to remove is removed afterwards. Returns how many
 * were removed, or -errno. LPM tries and hashes alike. Nobody but the agent adds keys to these
 * maps.
 */
int map_prune(int fd, size_t key_size, size_t value_size,
	      bool (*remove)(const void *key, const void *value, void *ctx), void *ctx);

#endif

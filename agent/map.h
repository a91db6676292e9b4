/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A desired state is what a map should hold; syncing writes only what differs, so that a
 * second run changes nothing.
 */
#ifndef WEIR_AGENT_MAP_H
#define WEIR_AGENT_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct desired {
	size_t key_size;
	size_t value_size;
	size_t n;
	size_t cap;
	char *rows; /* key, value, key, value, ...; owned */
	bool sorted;
};

void desired_init(struct desired *t, size_t key_size, size_t value_size);
void desired_free(struct desired *t);
/* A key that is there already keeps its first value once the table is sorted. value may be NULL
 * when it has no size: a set. */
void desired_add(struct desired *t, const void *key, const void *value);
/* By the bytes of the keys, so that equal ones stand together. */
void desired_sort(struct desired *t);
bool desired_has(struct desired *t, const void *key);

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

/* Makes the map equal to what is desired. Changes made, or -errno; a full map leaves out what does
 * not fit. */
int map_sync(int fd, struct desired *t);

#define _cleanup_desired_ __attribute__((cleanup(desired_free)))

#endif

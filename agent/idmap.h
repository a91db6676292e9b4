/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User and group ids as a pod names them, and as the kernel's hooks see them. xt_owner reads the
 * ids in its rules in the user namespace that owns the network namespace; with hostUsers: false
 * that is the pod's own, and 1337 there is another number to everybody else.
 */
#ifndef WEIR_AGENT_IDMAP_H
#define WEIR_AGENT_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* An id that no process has: what is not mapped matches nobody. */
#define IDMAP_NOBODY UINT32_MAX

struct idmap_extent {
	uint32_t inside, outside, count;
};

/* As in /proc/PID/uid_map and gid_map: at most 340 extents each since Linux 4.15. */
#define IDMAP_EXTENTS_MAX 340

struct idmap {
	bool same; /* the pod's ids are the agent's */
	struct idmap_extent *uids, *gids; /* owned */
	size_t n_uids, n_gids;
};

/*
 * The map of the user namespace that owns a network namespace. -errno; -EAGAIN while that
 * namespace has no map yet.
 */
int idmap_read(int netns_fd, struct idmap *ret);
void idmap_free(struct idmap *map);

uint32_t idmap_uid(const struct idmap *map, uint32_t uid);
uint32_t idmap_gid(const struct idmap *map, uint32_t gid);

#define _cleanup_idmap_ _cleanup_(idmap_free)

#endif

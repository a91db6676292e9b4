/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding pods without being told: a pod's cgroup by its uid in the names below kubepods, its
 * network namespace by the processes in that cgroup. Needs to see the node's processes (hostPID).
 */
#ifndef WEIR_AGENT_DISCOVER_H
#define WEIR_AGENT_DISCOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/loop.h"
#include "maps/addr.h"

struct discovery;

/* Watches the cgroups below root; changed(ctx) is called from the loop, if inotify has room. */
int discovery_open(struct discovery **ret, const char *root, struct loop *loop,
		   void (*changed)(void *ctx), void *ctx);
void discovery_close(struct discovery *d);
/* Has inotify room for us? Its instances and watches are limited for each user. */
bool discovery_is_told(const struct discovery *d);

/* Looks at the tree again; the cgroups found before are valid until then. */
void discovery_scan(struct discovery *d);
/* Relative to root, owned by d; NULL: there is none. */
const char *discovery_cgroup(const struct discovery *d, const char *uid);

/* Do processes run in a cgroup that discovery_cgroup() has told? */
bool discovery_populated(const struct discovery *d, const char *cgroup);

/* What is known of the pod whose namespace is sought. */
struct discovery_hint {
	uint64_t cookie; /* of the namespace that it was found in before; 0: none */
	uint64_t host_cookie;
	const struct weir_addr *ips; /* of its status */
	size_t n_ips;
	/* Is it an address of another pod, by that one's status? */
	bool (*is_anothers)(const void *ctx, const struct weir_addr *addr);
	const void *ctx;
};

/*
 * The network namespace that the pod's processes run in. Of several (a process may have made one of
 * its own) it is the one that has the pod's addresses, else the one found before, else that of the
 * oldest process that has any which are not another pod's: the status may still tell the addresses
 * of a former sandbox. Returns a descriptor and in *ret_path (the caller's) a way to it below
 * /proc; or -ESRCH: no process is there; -EPERM: processes are there and cannot be seen; -EINVAL:
 * they run in the host's; -EADDRNOTAVAIL: the pod has addresses, and none of its processes has any.
 */
int discovery_netns(struct discovery *d, const char *cgroup, const struct discovery_hint *hint,
		    char **ret_path);

#endif

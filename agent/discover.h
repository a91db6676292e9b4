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

/* Watches the cgroups below root; changed(ctx) is called from the loop. */
int discovery_open(struct discovery **ret, const char *root, struct loop *loop,
		   void (*changed)(void *ctx), void *ctx);
void discovery_close(struct discovery *d);

/* Looks at the tree again; the cgroups found before are valid until then. */
void discovery_scan(struct discovery *d);
/* Relative to root, owned by d; NULL: there is none. */
const char *discovery_cgroup(const struct discovery *d, const char *uid);

/* What is known of the pod whose namespace is sought. */
struct discovery_hint {
	uint64_t cookie; /* of the namespace that it was found in before; 0: none */
	uint64_t host_cookie;
	const struct weir_addr *ips; /* of its status */
	size_t n_ips;
};

/*
 * The network namespace that the pod's processes run in. Of several (a process may have made one of
 * its own) it is the one that has the pod's addresses, else the one found before, else that of the
 * oldest process, which is the sandbox's. Returns a descriptor and in *ret_pid a process in it; or
 * -ESRCH: no process is there; -EPERM: processes are there and cannot be seen; -EADDRNOTAVAIL: none
 * has an address of the pod.
 */
int discovery_netns(struct discovery *d, const char *cgroup, const struct discovery_hint *hint,
		    int *ret_pid);

#endif

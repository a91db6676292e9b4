/* SPDX-License-Identifier: Apache-2.0 */
/* Where on this node a pod runs: its network namespace and its cgroup, and who said so. */
#ifndef WEIR_AGENT_PLACE_H
#define WEIR_AGENT_PLACE_H

#include "agent/discover.h"
#include "agent/pod.h"
#include "agent/sandbox.h"

/* Who is asked. */
struct places {
	struct sandboxes *sandboxes;
	struct discovery *discovery; /* NULL: nobody looks */
	const char *node; /* name of this one */
};

/* X(NAME, text in `weir pods`) */
#define PLACE_HOWS(X)   \
	X(NONE, "")     \
	X(FILE, "file") \
	X(CNI, "cni")   \
	X(PROCESS, "process")

enum place_how {
#define X(NAME, text) PLACE_##NAME,
	PLACE_HOWS(X)
#undef X
};

struct place {
	enum place_how how;
	char *netns; /* path; "" when its processes have to be asked */
	char *cgroup; /* relative to the kubepods cgroup; "" when it is not known */
};

/*
 * False when the pod does not run on this node, as far as anybody says: a pod of the API (`api`)
 * runs on the node that it names, a pod of a file where a cgroup has its uid.
 */
bool place_find(const struct places *places, const struct pod *pod, bool api, struct place *ret);
void place_free(struct place *place);
const char *place_how_name(enum place_how how);

#define _cleanup_place_ _cleanup_(place_free)

#endif

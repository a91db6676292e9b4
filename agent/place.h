/* SPDX-License-Identifier: Apache-2.0 */
/* Where on this node a pod runs: its network namespace and its cgroup, and who said so. */
#ifndef WEIR_AGENT_PLACE_H
#define WEIR_AGENT_PLACE_H

#include "agent/pod.h"
#include "agent/sandbox.h"

/* X(NAME, text in `weir pods`) */
#define PLACE_HOWS(X)   \
	X(NONE, "")     \
	X(FILE, "file") \
	X(CNI, "cni")

enum place_how {
#define X(NAME, text) PLACE_##NAME,
	PLACE_HOWS(X)
#undef X
};

struct place {
	enum place_how how;
	char *netns; /* path; "" while it is not known */
	char *cgroup; /* relative to the kubepods cgroup; "" when it is not known */
};

/* False when the pod does not run on this node, as far as anybody says. */
bool place_find(const struct sandboxes *sandboxes, const struct pod *pod, struct place *ret);
void place_free(struct place *place);
const char *place_how_name(enum place_how how);

#define _cleanup_place_ _cleanup_(place_free)

#endif

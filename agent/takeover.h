/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a pod that its mesh's own iptables rules redirect already. */
#ifndef WEIR_AGENT_TAKEOVER_H
#define WEIR_AGENT_TAKEOVER_H

#include "agent/policy.h"

/* What weir does in a pod's network namespace already. */
struct taken {
	bool captured;
	bool over; /* from rules, which may be gone by now */
};

/*
 * Leaves the pod to its rules (the policy no longer captures) unless it is to be taken over; then a
 * warning tells how they can go. Asked where weir has not captured the pod yet: what a pod with
 * CAP_NET_ADMIN loads later is no way out. netns: its path, for the command.
 */
void takeover_decide(struct policy *policy, struct taken before, int netns_fd, const char *netns);

#endif

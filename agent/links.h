/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interfaces that a pod's policy names: their indexes and the routes that lead to them, into
 * the maps, and again whenever the namespace's interfaces, routes or rules change.
 */
#ifndef WEIR_AGENT_LINKS_H
#define WEIR_AGENT_LINKS_H

#include "agent/loader.h"
#include "agent/loop.h"
#include "agent/policy.h"
#include "base/keyset.h"

/* What weir_links and weir_routes should hold, as far as this run has written. */
struct links_desired {
	struct keyset links, routes;
};

/* Watches one pod's namespace; zero: not watched. */
struct links_watch {
	struct loop *loop;
	int fd;
	uint64_t cookie; /* of the namespace that fd watches */
	void (*changed)(void *ctx);
	void *ctx;
};

void links_desired_init(struct links_desired *d);
void links_desired_free(struct links_desired *d);

/*
 * Writes what the policy's interfaces mean in this namespace now. Changes made, or -errno. A name
 * that no interface bears yet matches nothing, as in iptables.
 */
int links_apply(const struct loader *loader, const struct policy *policy, int netns_fd,
		uint64_t cookie, struct links_desired *desired);

/*
 * Watches the namespace if the policy names interfaces, and no longer if it does not. Holds the
 * namespace while it does. w keeps loop, changed and ctx, which the caller has set.
 */
int links_follow(struct links_watch *w, const struct policy *policy, int netns_fd, uint64_t cookie);
void links_unfollow(struct links_watch *w);

#endif

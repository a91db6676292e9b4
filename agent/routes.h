/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By which interface does a network namespace send what? Its routing tables, put into the order in
 * which the kernel would ask them and flattened into one longest-prefix table.
 */
#ifndef WEIR_AGENT_ROUTES_H
#define WEIR_AGENT_ROUTES_H

#include "base/cleanup.h"
#include "maps/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct route {
	struct weir_addr dst;
	uint8_t bits; /* 0..128; an IPv4 /n is 96 + n */
	bool v6;
	uint32_t ifindex; /* 0: nothing is sent there (unreachable, blackhole, prohibit) */
	uint32_t table;
	uint32_t metric; /* of two with the same prefix in a table the lower one counts */
};

/* A rule that names a table for everything; `ip rule` lists them. */
struct route_rule {
	uint32_t priority;
	uint32_t table;
	bool v6;
};

struct routes {
	struct route *items;
	size_t n;
	struct route_rule *rules;
	size_t n_rules;
	size_t n_selective; /* rules with a selector (source, mark, user): not followed */
};

/* The namespace's tables as they are now; *ret is the caller's. 0 or -errno. */
int routes_read(int netns_fd, struct routes *ret);
void routes_free(struct routes *routes);

/*
 * Leaves in routes only what would be found: the first table with a match wins, so a route hides
 * all longer ones of the tables after its own. Pure.
 */
void routes_flatten(struct routes *routes);

/* A socket that turns readable when an interface, an address, a route or a rule of the namespace
 * changes. Holds the namespace while it is open. -errno on failure; the caller closes it. */
int routes_watch(int netns_fd);

#define _cleanup_routes_ _cleanup_(routes_free)

#endif

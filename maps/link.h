/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * The interfaces that a pod's policy names, and the routes that lead to them. Written for such pods
 * only: a pod whose policy names no interface has no entry in either.
 *
 * weir_links:  is this interface of the pod excluded from capture, or does it lead to a virtual
 *              machine whose traffic is captured?
 * weir_routes: by which interface would the kernel send this? A copy of the pod's routing tables,
 *              for no helper of a connect hook can ask them; the agent follows their changes.
 */
#ifndef WEIR_MAPS_LINK_H
#define WEIR_MAPS_LINK_H

#include "addr.h"

#define WEIR_LO_IFINDEX 1 /* in every network namespace (LOOPBACK_IFINDEX) */

struct weir_link_key {
	__u64 netns_cookie;
	__u32 ifindex;
	__u32 pad;
};

enum weir_link_flag {
	WEIR_LINK_EXCLUDED = 1 << 0,
	WEIR_LINK_VIRTUAL = 1 << 1,
};

struct weir_link {
	__u32 flags; /* enum weir_link_flag */
	char name[16]; /* IFNAMSIZ, as the policy names it */
};

/* Key of a trie: prefixlen counts from family on. An IPv4 /n is 96 + n, as in weir_cidrs, and yet
 * apart from IPv6: a default route of the one family says nothing about the other. */
struct weir_route_entry {
	__u32 prefixlen; /* WEIR_ROUTE_BITS + 0..128 */
	__u32 family; /* 4 or 6 */
	__u64 netns_cookie;
	struct weir_addr addr;
};

#define WEIR_ROUTE_BITS (32 + 64)

struct weir_route {
	__u32 ifindex;
};

_Static_assert(sizeof(struct weir_link_key) == 16, "ABI");
_Static_assert(sizeof(struct weir_route_entry) == 32, "ABI");

#endif

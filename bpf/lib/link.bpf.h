/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Asking about a pod's interfaces. Only where its policy names some: flags say so. */
#ifndef WEIR_BPF_LINK_H
#define WEIR_BPF_LINK_H

#include "bpf/maps.bpf.h"

#define LO_IFINDEX 1 /* in every network namespace (LOOPBACK_IFINDEX) */

/* enum weir_link_flag of an interface of the pod; 0: the policy does not name it. */
static __always_inline __u32 link_flags(__u64 cookie, __u32 ifindex)
{
	struct weir_link_key key = { .netns_cookie = cookie, .ifindex = ifindex };
	struct weir_link *link = bpf_map_lookup_elem(&weir_links, &key);

	return link ? link->flags : 0;
}

/* By which interface would the kernel send this? 0: by none. */
static __always_inline __u32 link_to(__u64 cookie, const struct weir_addr *addr)
{
	struct weir_route_entry key = {
		.prefixlen = WEIR_ROUTE_BITS + 128,
		.family = weir_addr_is_v4(addr) ? 4 : 6,
		.netns_cookie = cookie,
		.addr = *addr,
	};
	struct weir_route *route = bpf_map_lookup_elem(&weir_routes, &key);

	return route ? route->ifindex : 0;
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Asking about a pod's interfaces. Only where its policy names some: flags say so. */
#ifndef WEIR_BPF_LINK_H
#define WEIR_BPF_LINK_H

#include "bpf/kernel_types.h"
#include "bpf/maps.bpf.h"

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

/*
 * The interface that the handshake of an accepted socket came by: it keeps it as the one that it
 * would send multicast by (tcp_v4_syn_recv_sock, tcp_v6_syn_recv_sock).
 */
static __always_inline __u32 link_arrived_by(struct tcp_sock *tp)
{
	struct inet_sock *inet = &tp->inet_conn.icsk_inet;
	struct ipv6_pinfo *v6 = inet->pinet6;

	if (inet->sk.__sk_common.skc_family == AF_INET6 && v6)
		return v6->mcast_oif;
	return inet->mc_index;
}

#endif

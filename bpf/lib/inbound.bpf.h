/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Building the question about an inbound connection. Asked twice: at the SYN, to steer it
 * (lookup.bpf.c), and when it is established, to know how it came (sockops.bpf.c).
 */
#ifndef WEIR_BPF_INBOUND_H
#define WEIR_BPF_INBOUND_H

#include "bpf/lib/link.bpf.h"
#include "bpf/lib/pod.bpf.h"
#include "bpf/lib/policy.bpf.h"
#include "maps/decide.h"

static __always_inline void inbound_ask_link(struct weir_syn *syn, const struct weir_pod *pod,
					     __u64 cookie, const struct weir_endpoint *local,
					     __u32 ifindex)
{
	__u32 flags = link_flags(cookie, ifindex);

	syn->if_excluded = !!(flags & WEIR_LINK_EXCLUDED);
	syn->if_virtual = !!(flags & WEIR_LINK_VIRTUAL);
	if (syn->if_virtual && (pod->flags & WEIR_POD_OUT_CIDRS))
		syn->cidr_included =
			policy_has_addr(pod, cookie, WEIR_LIST_OUT_CIDR_INCLUDE, &local->addr);
}

/* ifindex: by which interface of the pod it came. */
static __always_inline void inbound_ask(struct weir_syn *syn, const struct weir_pod *pod,
					__u64 cookie, const struct weir_addr *remote,
					const struct weir_endpoint *local, __u32 ifindex)
{
	__builtin_memset(syn, 0, sizeof(*syn));
	syn->port = local->port;
	syn->v6 = !weir_addr_is_v4(&local->addr);
	/* Not by the interface: for the pod's own address that is the one which owns the address.
	 */
	syn->lo = weir_addr_is_loopback(remote) || weir_addr_is_loopback(&local->addr) ||
		  pod_has_addr(pod, cookie, remote);
	if (syn->lo)
		return;
	if (pod->flags & (WEIR_POD_IF_EXCLUDE | WEIR_POD_IF_VIRTUAL))
		inbound_ask_link(syn, pod, cookie, local, ifindex);
	if (pod->flags & WEIR_POD_IN_PORTS_EXCLUDE)
		syn->port_excluded =
			policy_has_port(pod, cookie, WEIR_LIST_IN_PORT_EXCLUDE, syn->port);
	if (pod->flags & WEIR_POD_IN_PORTS)
		syn->port_included =
			policy_has_port(pod, cookie, WEIR_LIST_IN_PORT_INCLUDE, syn->port);
	if (pod->flags & WEIR_POD_IN_SOURCES_EXCLUDE)
		syn->source_excluded =
			policy_has_addr(pod, cookie, WEIR_LIST_IN_SOURCE_EXCLUDE, remote);
}

/* What a virtual machine dials is its pod's own doing. */
static __always_inline enum weir_direction inbound_direction(const struct weir_syn *syn)
{
	return syn->if_virtual ? WEIR_OUTBOUND : WEIR_INBOUND;
}

#endif

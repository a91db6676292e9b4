/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* How many redirected connections wait for the proxy's end: of the node, of a network namespace. */
#ifndef WEIR_BPF_PENDING_H
#define WEIR_BPF_PENDING_H

#include "bpf/lib/stats.bpf.h"
#include "bpf/maps.bpf.h"

static __always_inline __u64 *pending_of(__u64 netns_cookie)
{
	struct weir_netns key = { .cookie = netns_cookie };

	return bpf_map_lookup_elem(&weir_pending, &key);
}

static __always_inline int pending_any(__u64 netns_cookie)
{
	__u64 *mine = pending_of(netns_cookie);

	return !mine || *(volatile __u64 *)mine;
}

static __always_inline int pending_full(__u64 netns_cookie)
{
	__u64 *mine = pending_of(netns_cookie);

	return (mine && *(volatile __u64 *)mine >= WEIR_ORIGDST_PER_POD) ||
	       stats_read(WEIR_COUNTER_PENDING) >= WEIR_ORIGDST_MAX - WEIR_ORIGDST_SLACK;
}

static __always_inline void pending_add(__u64 netns_cookie, __u64 by)
{
	__u64 *mine = pending_of(netns_cookie), *all;
	__u32 index = WEIR_COUNTER_PENDING;

	if (mine)
		__sync_fetch_and_add(mine, by);
	all = bpf_map_lookup_elem(&weir_counters, &index);
	if (all)
		__sync_fetch_and_add(all, by);
}

#endif

// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Moves the figures of an earlier table of flows, over whose entries it runs, to the one in use.
 * Each is taken in one step, so that it may run again, whenever it ended: none is moved twice.
 * Loaded by an agent that has found such a table (agent/former.c).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/stats.bpf.h"
#include "bpf/maps.bpf.h"

/*
 * Of weir_flows and weir_udp_flows: how many 64-bit words a value of the earlier table has. An
 * iterator may touch no more.
 */
const volatile __u32 weir_merge_words[2] = {};

static const struct weir_flow no_flow;
static const struct weir_udp_flow no_udp_flow;

/* An entry that the hooks have made in either table was counted in each. */
static __always_inline void uncount(enum weir_counter counter)
{
	__u32 index = counter;
	__u64 *value = bpf_map_lookup_elem(&weir_counters, &index);

	if (value)
		__sync_fetch_and_add(value, -1);
}

static __always_inline int merge(struct bpf_iter__bpf_map_elem *ctx, void *map, const void *nothing,
				 __u32 words, __u32 most, enum weir_counter counter)
{
	const struct weir_flow_key *in = ctx->key;
	__u64 *from = ctx->value, *to, moved = 0;
	struct weir_flow_key key;
	int existed;

	if (!in || !from)
		return 0;
	key = *in; /* helpers take a key from a buffer only since 6.2 */
	existed = bpf_map_lookup_elem(map, &key) ||
		  bpf_map_update_elem(map, &key, nothing, BPF_NOEXIST);
	to = bpf_map_lookup_elem(map, &key);
	if (!to)
		return 0; /* the agent sees what is left */
#pragma unroll
	for (__u32 i = 0; i < most; i++) {
		if (i < words) {
			__u64 n = __sync_lock_test_and_set(&from[i], 0);

			if (n)
				__sync_fetch_and_add(&to[i], n);
			moved |= n;
		}
	}
	if (existed && moved && key.peer != WEIR_ID_OTHER)
		uncount(counter);
	return 0;
}

SEC("?iter/bpf_map_elem")
int weir_merge(struct bpf_iter__bpf_map_elem *ctx)
{
	return merge(ctx, &weir_flows, &no_flow, weir_merge_words[0],
		     sizeof(struct weir_flow) / sizeof(__u64), WEIR_COUNTER_FLOWS);
}

SEC("?iter/bpf_map_elem")
int weir_merge_udp(struct bpf_iter__bpf_map_elem *ctx)
{
	return merge(ctx, &weir_udp_flows, &no_udp_flow, weir_merge_words[1],
		     sizeof(struct weir_udp_flow) / sizeof(__u64), WEIR_COUNTER_UDP_FLOWS);
}

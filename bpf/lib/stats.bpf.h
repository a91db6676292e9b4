/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Counting what was decided and what was lost. A miss here never changes a verdict. */
#ifndef WEIR_BPF_STATS_H
#define WEIR_BPF_STATS_H

#include "bpf/maps.bpf.h"

static __noinline void stats_add(enum weir_counter counter, __u64 number)
{
	__u32 index = counter;
	__u64 *value = bpf_map_lookup_elem(&weir_counters, &index);

	if (value)
		__sync_fetch_and_add(value, number);
}

static __always_inline void stats_count(enum weir_counter counter)
{
	stats_add(counter, 1);
}

static __always_inline __u64 stats_read(enum weir_counter counter)
{
	__u32 index = counter;
	__u64 *value = bpf_map_lookup_elem(&weir_counters, &index);

	return value ? *(volatile __u64 *)value : 0;
}

/* weir decides about this pod's connections; of others it only counts what they carry. */
static __always_inline int stats_judged(const struct weir_pod *pod)
{
	return pod->mode != WEIR_MODE_OBSERVE || (pod->flags & WEIR_POD_CAPTURE_OFF);
}

static __noinline __u64 *stats_make_verdict(const struct weir_verdict_key *key)
{
	__u64 zero = 0;

	bpf_map_update_elem(&weir_verdicts, key, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&weir_verdicts, key);
}

static __always_inline void stats_verdict(const struct weir_pod *pod, enum weir_direction direction,
					  enum weir_verdict verdict, enum weir_reason reason)
{
	struct weir_verdict_key key = {
		.workload = pod->workload,
		.direction = direction,
		.verdict = verdict,
		.reason = reason,
	};
	__u64 *count = bpf_map_lookup_elem(&weir_verdicts, &key);

	if (!count)
		count = stats_make_verdict(&key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		stats_count(WEIR_COUNTER_VERDICT_LOST);
}

#endif

// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The decision and the lists, as functions that the verifier checks once each, by themselves:
 * inlined, their branches would multiply with those of the hooks beyond what it follows.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/lib/attempt.bpf.h"

__noinline __u64 weir_decide_connect(const struct weir_pod *pod,
				     const struct weir_connect *question)
{
	struct weir_answer answer;

	if (!pod || !question)
		return WEIR_REFUSE;
	answer = weir_decide_outbound(pod, question);
	return answer.verdict | (__u64)answer.reason << 8 | (__u64)answer.port << 16 |
	       (__u64)answer.in_place << 32;
}

__noinline int weir_has_port(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			     __u16 port)
{
	return pod && (pod->flags & flag) && policy_has_port(pod, cookie, list, port);
}

__noinline int weir_has_addr(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			     const struct weir_addr *addr)
{
	return pod && addr && (pod->flags & flag) && policy_has_addr(pod, cookie, list, addr);
}

__noinline int weir_has_id(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			   __u32 id)
{
	return pod && (pod->flags & flag) && policy_has_id(pod, cookie, list, id);
}

/* ifindex: where it is known to leave by; 0: by what the routes say. */
__noinline int weir_leaves_excluded(__u64 cookie, const struct weir_addr *dst, __u32 ifindex)
{
	if (!dst)
		return 0;
	return !!(link_flags(cookie, ifindex ?: link_to(cookie, dst)) & WEIR_LINK_EXCLUDED);
}

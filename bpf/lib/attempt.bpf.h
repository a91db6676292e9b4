/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One attempt to reach a destination, by connect() or by a datagram: what the hook knows of it, and
 * the question to the decision that follows from it.
 */
#ifndef WEIR_BPF_ATTEMPT_H
#define WEIR_BPF_ATTEMPT_H

#include "bpf/lib/link.bpf.h"
#include "bpf/lib/pod.bpf.h"
#include "bpf/lib/policy.bpf.h"
#include "maps/decide.h"

struct attempt {
	__u64 cookie;
	const struct weir_pod *pod;
	struct weir_conn *conn; /* TCP alone */
	struct weir_addr src; /* as bound before, :: when not */
	struct weir_addr dst; /* as dialled; 0.0.0.0 and :: already mean this host */
	__u16 port;
	__u32 bound_if; /* SO_BINDTODEVICE; 0: none */
	struct owner owner;
	struct weir_connect question;
};

/*
 * In decide.bpf.c. The first three fill their parts of the question, the fourth packs struct
 * weir_answer.
 */
extern int weir_ask_addrs(struct weir_connect *q, const struct weir_pod *pod, __u64 cookie,
			  const struct weir_addr *src, const struct weir_addr *dst);
extern int weir_ask_owner(struct weir_connect *q, const struct weir_pod *pod, __u64 cookie,
			  __u32 uid, __u32 gid);
extern int weir_ask_lists(struct weir_connect *q, const struct weir_pod *pod, __u64 cookie,
			  const struct weir_addr *dst, __u16 port);
extern __u64 weir_decide_connect(const struct weir_pod *pod, const struct weir_connect *question);
extern int weir_leaves_excluded(__u64 cookie, const struct weir_addr *dst, __u32 ifindex);

static __always_inline struct weir_answer attempt_answer(const struct attempt *a)
{
	__u64 packed = weir_decide_connect(a->pod, &a->question);
	struct weir_answer answer =
		weir_answer(packed & 0xff, packed >> 8 & 0xff, packed >> 16 & 0xffff);

	answer.in_place = packed >> 32 & 1;
	return answer;
}

/* Builds the question; its `udp` and `marked` are the caller's. */
static __always_inline void attempt_ask(struct attempt *a)
{
	struct weir_connect *q = &a->question;

	q->port = a->port;
	weir_ask_addrs(q, a->pod, a->cookie, &a->src, &a->dst);
	if (a->pod->flags & WEIR_POD_IF_EXCLUDE)
		q->if_excluded = weir_leaves_excluded(a->cookie, &a->dst,
						      q->lo ? WEIR_LO_IFINDEX : a->bound_if);
	if (a->owner.known)
		weir_ask_owner(q, a->pod, a->cookie, a->owner.uid, a->owner.gid);
	if (a->pod->mode != WEIR_MODE_OBSERVE)
		weir_ask_lists(q, a->pod, a->cookie, &a->dst, a->port);
}

#endif

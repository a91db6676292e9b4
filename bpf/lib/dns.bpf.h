/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Name lookups over UDP in pods that capture them: what connect() of a UDP socket (connect.bpf.c)
 * and its datagrams (udp.bpf.c) have in common. How answers find their server: maps/asked.h.
 */
#ifndef WEIR_BPF_DNS_H
#define WEIR_BPF_DNS_H

#include "bpf/lib/attempt.bpf.h"
#include "bpf/lib/sockaddr.bpf.h"
#include "bpf/lib/stats.bpf.h"

/* UDP-Lite is of the same type; the rules match UDP. */
static __always_inline int dns_is_udp(struct bpf_sock_addr *ctx)
{
	return ctx->protocol == IPPROTO_UDP;
}

/* The pod of this socket if it captures lookups, else 0. */
static __always_inline const struct weir_pod *dns_pod(__u64 cookie)
{
	const struct weir_pod *pod = pod_of(cookie);

	return pod && (pod->flags & WEIR_POD_DNS) ? pod : 0;
}

static __always_inline struct weir_asked *dns_asked(struct bpf_sock *sk)
{
	return bpf_sk_storage_get(&weir_asked, sk, 0, 0);
}

static __always_inline struct weir_asked *dns_asked_make(struct bpf_sock *sk)
{
	struct weir_asked *asked =
		bpf_sk_storage_get(&weir_asked, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!asked)
		stats_count(WEIR_COUNTER_UNTRACKED_SOCKETS);
	return asked;
}

/* Is anyone there to answer? A listener that was found once counts as seen. */
static __always_inline enum weir_presence dns_presence(struct bpf_sock_addr *ctx,
						       const struct attempt *a, __u16 port)
{
	struct weir_port_key key = { .netns_cookie = a->cookie, .port = port };
	void *seen = bpf_map_lookup_elem(&weir_seen, &key);
	struct weir_addr loopback;
	__u32 one = 1;

	sockaddr_set_loopback(&loopback, a->question.v6);
	if (!sockaddr_has_udp(ctx, &loopback, port))
		return seen ? WEIR_PROXY_GONE : WEIR_PROXY_NEVER;
	if (!seen)
		bpf_map_update_elem(&weir_seen, &key, &one, BPF_ANY);
	return WEIR_PROXY_LISTENS;
}

/*
 * Decides and counts. Without a listener the verdict may be to refuse: the query is then sent to
 * the closed port all the same, and gets what behind iptables it gets (ECONNREFUSED if the socket
 * is connected), so such an answer comes back as a redirect.
 */
static __always_inline struct weir_answer dns_decide(struct bpf_sock_addr *ctx, struct attempt *a)
{
	struct weir_answer answer, present;

	a->owner = sock_addr_owner(ctx);
	a->question.udp = 1;
	attempt_ask(a);
	answer = present = attempt_answer(a);
	if (answer.verdict == WEIR_REDIRECT)
		present = weir_decide_presence(a->pod, answer, dns_presence(ctx, a, answer.port));
	if (a->pod->mode != WEIR_MODE_OBSERVE)
		stats_verdict(a->pod, WEIR_OUTBOUND, present.verdict, present.reason);
	if (answer.verdict == WEIR_REDIRECT && present.verdict == WEIR_REFUSE)
		return answer;
	return present;
}

/* The source that the kernel would have chosen for what was dialled; :: for loopback's own. */
static __always_inline void dns_source(const struct attempt *a, struct weir_addr *source)
{
	__builtin_memset(source, 0, sizeof(*source));
	if (weir_addr_is_loopback(&a->dst))
		return;
	*source = a->question.lo ? a->dst : a->question.v6 ? a->pod->ip6 : a->pod->ip4;
}

#endif

// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Inbound: which listener takes this SYN? One program per captured pod's network namespace, for
 * sk_lookup programs cannot ask in which one they run: the agent writes the cookie before loading.
 * The socket keeps source and destination as they were sent; no packet is changed.
 *
 * Linked into an object of its own, because it is loaded once for each pod.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/endpoint.bpf.h"
#include "bpf/lib/inbound.bpf.h"
#include "bpf/lib/stats.bpf.h"

const volatile __u64 netns_cookie = 0;

static __always_inline int assign_family(struct bpf_sk_lookup *ctx, __u16 port, __u8 v6)
{
	struct weir_listener_key key = { .netns_cookie = netns_cookie, .port = port, .v6 = v6 };

	for (int slot = 0; slot < WEIR_LISTENER_SLOTS; slot++) {
		struct bpf_sock *sk;
		long err;

		key.slot = slot;
		sk = bpf_map_lookup_elem(&weir_listeners, &key);
		if (!sk)
			continue;
		err = bpf_sk_assign(ctx, sk, 0);
		bpf_sk_release(sk);
		if (!err)
			return 1;
	}
	return 0;
}

/* An AF_INET6 listener takes IPv4 too unless it is IPV6_V6ONLY: bpf_sk_assign() knows. */
static __always_inline int assign(struct bpf_sk_lookup *ctx, __u16 port)
{
	if (ctx->family == AF_INET && assign_family(ctx, port, 0))
		return 1;
	return assign_family(ctx, port, 1);
}

/*
 * TPROXY: a SYN that the proxy sends over lo has been judged at connect(), where its owner is
 * known. 1: it is one, and *ret_port says who takes it (0: whoever listens there).
 */
static __always_inline int steered(const struct weir_pod *pod, const struct weir_endpoint *remote,
				   const struct weir_endpoint *local, __u16 *ret_port)
{
	struct weir_origdst_key key = {
		.netns_cookie = netns_cookie,
		.source = *remote,
		.proxy = *local,
	};
	struct weir_origdst *value;

	if (!(pod->flags & WEIR_POD_TPROXY))
		return 0;
	value = bpf_map_lookup_elem(&weir_origdst, &key);
	if (!value)
		return 0;
	*ret_port = value->steer_to;
	return 1;
}

SEC("sk_lookup")
int weir_lookup(struct bpf_sk_lookup *ctx)
{
	struct weir_endpoint local = {}, remote = {};
	struct weir_port_key seen = { .netns_cookie = netns_cookie };
	const struct weir_pod *pod;
	struct weir_answer answer;
	struct weir_syn syn;
	__u16 to;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	pod = pod_of(netns_cookie);
	if (!pod)
		return SK_PASS;
	endpoint_set(&remote, ctx->family, ctx->remote_ip4, ctx->remote_ip6,
		     bpf_ntohs(ctx->remote_port));
	endpoint_set(&local, ctx->family, ctx->local_ip4, ctx->local_ip6, ctx->local_port);
	if (steered(pod, &remote, &local, &to))
		return !to || assign(ctx, to) ? SK_PASS : SK_DROP;
	inbound_ask(&syn, pod, netns_cookie, &remote.addr, &local, ctx->ingress_ifindex);
	answer = weir_decide_inbound(pod, &syn);
	if (answer.verdict == WEIR_REDIRECT) {
		if (assign(ctx, answer.port))
			return SK_PASS; /* counted when it is established */
		seen.port = answer.port;
		answer = weir_decide_presence(pod, answer,
					      bpf_map_lookup_elem(&weir_seen, &seen)
						      ? WEIR_PROXY_GONE
						      : WEIR_PROXY_NEVER);
	}
	if (answer.verdict != WEIR_REFUSE)
		return SK_PASS;
	stats_verdict(pod, inbound_direction(&syn), answer.verdict, answer.reason);
	return SK_DROP;
}

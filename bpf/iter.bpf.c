// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Two walks over sockets, started by the agent.
 * weir_fold: at each scrape, folds what live connections have counted into their flows.
 * weir_adopt: in the network namespace of a pod that has just become known, finds the proxy's
 * listeners that were there before. Neither copies anything to user space.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/account.bpf.h"
#include "bpf/lib/pod.bpf.h"

SEC("iter/bpf_sk_storage_map")
int weir_fold(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct weir_conn *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if (!sk || !conn || !(conn->flags & WEIR_CONN_OPENED))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		account_fold(conn, tp, 0, 0);
	return 0;
}

static __always_inline void listener_addr(struct sock_common *skc, struct weir_addr *addr)
{
	__u32 *words = skc->skc_v6_rcv_saddr.in6_u.u6_addr32;

	if (skc->skc_family == AF_INET)
		weir_addr_from_v4(addr, skc->skc_rcv_saddr);
	else
		weir_addr_from_words(addr, words[0], words[1], words[2], words[3]);
}

SEC("iter/tcp")
int weir_adopt(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct weir_listener_key key = {};
	struct weir_port_key seen = {};
	const struct weir_pod *pod;
	struct weir_addr addr = {};
	struct weir_conn *conn;
	__u32 one = 1;

	if (!skc || skc->skc_state != BPF_TCP_LISTEN)
		return 0;
	key.netns_cookie = skc->skc_net.net->net_cookie;
	key.port = skc->skc_num;
	key.v6 = skc->skc_family == AF_INET6;
	pod = pod_of(key.netns_cookie);
	if (!pod || pod->mode != WEIR_MODE_CAPTURE)
		return 0;
	if (!pod_listens_on(pod, key.port))
		return 0;
	seen.netns_cookie = key.netns_cookie;
	seen.port = key.port;
	bpf_map_update_elem(&weir_seen, &seen, &one, BPF_ANY);
	listener_addr(skc, &addr);
	if (key.port != pod->inbound_port || weir_addr_is_loopback(&addr))
		return 0;
	conn = bpf_sk_storage_get(&weir_conns, skc, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (conn && (conn->flags & WEIR_CONN_LISTED))
		return 0;
	for (int slot = 0; slot < WEIR_LISTENER_SLOTS; slot++) {
		key.slot = slot;
		if (bpf_map_update_elem(&weir_listeners, &key, skc, BPF_NOEXIST))
			continue;
		if (conn)
			conn->flags |= WEIR_CONN_LISTED;
		return 0;
	}
	return 0;
}

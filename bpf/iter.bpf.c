// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Two walks over sockets, started by the agent.
 * weir_fold: at each scrape, folds what live connections have counted into their flows.
 * weir_adopt: in the network namespace of a pod that has just become known, finds the proxy's
 * listeners and the connections that were there before. Neither copies anything to user space.
 * And weir_set_state, for what weir_adopt has found on older kernels.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/account.bpf.h"
#include "bpf/lib/adopt.bpf.h"
#include "bpf/lib/listener.bpf.h"
#include "bpf/lib/pod.bpf.h"

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

/*
 * Only TCP sockets have an entry in weir_conns. Without the helper that makes sure of it, two cache
 * lines of the socket are spared (bpf_rdonly_cast: since 6.2, fd264ca02094).
 */
static __always_inline struct tcp_sock *known_tcp_sock(struct sock *sk)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	return bpf_skc_to_tcp_sock(sk);
}

/* When the last walk began; several may be under way. */
static volatile __u64 fold_began_us;

SEC("iter/bpf_sk_storage_map")
int weir_fold(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct weir_conn *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if (!ctx->meta->seq_num)
		fold_began_us = bpf_ktime_get_ns() / 1000;
	if (!sk || !conn || !(conn->flags & WEIR_CONN_OPENED))
		return 0;
	tp = known_tcp_sock(sk);
	if (tp)
		account_visit(conn, tp, fold_began_us);
	return 0;
}

/* The kernel refuses NOEXIST for a slot that is taken and for a socket that it keeps out alike. */
static __always_inline int record_listener(struct sock_common *skc, struct weir_listener_key *key)
{
	for (int slot = 0; slot < WEIR_LISTENER_SLOTS; slot++) {
		key->slot = slot;
		if (!bpf_map_update_elem(&weir_listeners, key, skc, BPF_NOEXIST))
			return 0;
	}
	return 1;
}

static __always_inline int adopt_listener(struct sock_common *skc, const struct weir_pod *pod,
					  __u64 cookie)
{
	struct weir_listener_key key = { .netns_cookie = cookie,
					 .port = skc->skc_num,
					 .v6 = skc->skc_family == AF_INET6 };
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(skc);
	struct weir_endpoint local = {};
	struct weir_conn *conn;

	if (!tp || pod->mode != WEIR_MODE_CAPTURE)
		return 0;
	adopt_local(skc, &local);
	if (!listener_is_proxys(pod, cookie, tp, &local))
		return 0;
	listener_seen(&key, WEIR_SEEN_LISTENED, BPF_NOEXIST);
	if (!listener_is_steered_to(pod, &local))
		return 0;
	conn = bpf_sk_storage_get(&weir_conns, skc, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (conn && (conn->flags & WEIR_CONN_LISTED))
		return 0;
	if (record_listener(skc, &key))
		listener_seen(&key, WEIR_SEEN_UNSTEERABLE, BPF_ANY);
	else if (conn)
		conn->flags |= WEIR_CONN_LISTED;
	return 0;
}

SEC("iter/tcp")
int weir_adopt(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	const struct weir_pod *pod;
	struct tcp_sock *tp;
	__u64 cookie;

	if (!skc)
		return 0;
	cookie = skc->skc_net.net->net_cookie;
	pod = pod_of(cookie);
	if (!pod)
		return 0;
	if (skc->skc_state == BPF_TCP_LISTEN)
		return adopt_listener(skc, pod, cookie);
	tp = bpf_skc_to_tcp_sock(skc);
	if (tp)
		adopt_connection(skc, tp, pod, cookie);
	return 0;
}

/*
 * The end of a connection that was found, on kernels before 6.12: sockops is not told of it. Runs
 * at every change of state of every TCP socket of the machine, so it is attached only when there
 * is such a connection.
 */
SEC("tp_btf/inet_sock_set_state")
int weir_set_state(unsigned long long *ctx) /* sk, oldstate, newstate */
{
	struct sock *sk = (void *)ctx[0];
	struct weir_conn *conn;
	struct tcp_sock *tp;

	if ((int)ctx[2] != BPF_TCP_CLOSE)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	conn = tp ? bpf_sk_storage_get(&weir_conns, sk, 0, 0) : 0;
	if (conn && (conn->flags & WEIR_CONN_OPENED) && (conn->flags & WEIR_CONN_FOUND))
		account_closed(conn, tp, (int)ctx[1]);
	return 0;
}

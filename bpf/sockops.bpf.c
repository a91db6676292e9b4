// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The life of a TCP socket. A redirected SYN publishes what was dialled; the proxy's end claims it.
 * A listener of the proxy is recorded, so that inbound SYNs can be steered to it. Opening, failing
 * and closing feed the accounting.
 *
 * Sockets of strangers fall through: they have no storage and their network namespace no pod.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/account.bpf.h"
#include "bpf/lib/adopt.bpf.h"
#include "bpf/lib/endpoint.bpf.h"
#include "bpf/lib/inbound.bpf.h"
#include "bpf/lib/listener.bpf.h"
#include "bpf/lib/pending.bpf.h"
#include "bpf/lib/pod.bpf.h"
#include "maps/decide.h"

static __always_inline void local_endpoint(struct bpf_sock_ops *ctx, struct weir_endpoint *e)
{
	endpoint_set(e, ctx->family, ctx->local_ip4, ctx->local_ip6, ctx->local_port);
}

static __always_inline void remote_endpoint(struct bpf_sock_ops *ctx, struct weir_endpoint *e)
{
	endpoint_set(e, ctx->family, ctx->remote_ip4, ctx->remote_ip6, bpf_ntohl(ctx->remote_port));
}

/* The flags are one word per socket that all programs share. */
static __always_inline void watch_states(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void publish(struct bpf_sock_ops *ctx, struct weir_conn *conn)
{
	struct weir_origdst_key key = { .netns_cookie = bpf_get_netns_cookie(ctx) };
	struct weir_origdst value = { .dialled = conn->dialled,
				      .socket_cookie = bpf_get_socket_cookie(ctx) };

	if ((conn->flags & WEIR_CONN_IN_PLACE) && (conn->flags & WEIR_CONN_REDIRECTED))
		value.steer_to = conn->proxy_port;

	local_endpoint(ctx, &key.source);
	remote_endpoint(ctx, &key.proxy);
	if (!bpf_map_update_elem(&weir_origdst, &key, &value, BPF_NOEXIST)) {
		pending_add(key.netns_cookie, 1);
	} else if (bpf_map_update_elem(&weir_origdst, &key, &value, BPF_EXIST)) {
		stats_count(WEIR_COUNTER_ORIGDST_LOST);
		return;
	}
	conn->flags |= WEIR_CONN_PUBLISHED;
}

/*
 * Deletes what publish() left if nobody claimed it. That is seldom the case once the handshake has
 * ended, and the number of those that wait is looked up faster than one of them.
 */
static __always_inline void withdraw(struct bpf_sock_ops *ctx, struct weir_conn *conn)
{
	struct weir_origdst_key key = {};
	struct weir_origdst *value;

	if (!(conn->flags & WEIR_CONN_PUBLISHED))
		return;
	conn->flags &= ~WEIR_CONN_PUBLISHED;
	key.netns_cookie = bpf_get_netns_cookie(ctx);
	if ((conn->flags & WEIR_CONN_OPENED) && !pending_any(key.netns_cookie))
		return;
	local_endpoint(ctx, &key.source);
	remote_endpoint(ctx, &key.proxy);
	value = bpf_map_lookup_elem(&weir_origdst, &key);
	if (value && value->socket_cookie == bpf_get_socket_cookie(ctx) &&
	    !bpf_map_delete_elem(&weir_origdst, &key))
		pending_add(key.netns_cookie, -1);
}

/* Its SYN leaves: within connect(), unless Fast Open has it wait for the first write. */
static __noinline int on_connect(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weir_conn *conn;

	if (!sk)
		return 1;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);
	if (!conn)
		return 1;
	conn->flags &= ~WEIR_CONN_TRYING;
	conn->since_ns = bpf_ktime_get_coarse_ns();
	watch_states(ctx);
	if (conn->flags & (WEIR_CONN_REDIRECTED | WEIR_CONN_IN_PLACE))
		publish(ctx, conn);
	return 1;
}

/* Its pod became known while the handshake ran: counted from its first byte, like all others. */
static __noinline struct weir_conn *late_conn(struct bpf_sock_ops *ctx, struct bpf_sock *sk,
					      struct tcp_sock *tp)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct weir_pod *pod = pod_of(cookie);
	struct weir_endpoint local = {}, remote = {};
	struct weir_flow_key flow = {};
	struct weir_conn *conn;

	if (!pod)
		return 0;
	local_endpoint(ctx, &local);
	remote_endpoint(ctx, &remote);
	if (!adopt_flow(&flow, tp, pod, cookie, WEIR_CONN_ACTIVE, &local, &remote))
		return 0;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		stats_count(WEIR_COUNTER_UNTRACKED_SOCKETS);
		return 0;
	}
	conn->flow = flow;
	conn->dialled = remote;
	conn->flags = WEIR_CONN_ACTIVE | WEIR_CONN_COUNTED;
	watch_states(ctx);
	return conn;
}

/*
 * How long the handshake took, in ns; 0 when there was none. It ended with the segment that TCP
 * has noted the time of, and which a socket that was repaired into being has not seen. TCP has
 * timed it, as its first round trip, unless a SYN was sent again: then it took a second or more,
 * and the clock of the timer tick will do.
 */
static __always_inline __u64 handshake_ended(struct weir_conn *conn, const struct tcp_sock *tp)
{
	__u64 began = conn->since_ns, now = tp->tcp_mstamp * 1000;

	if (now > began)
		conn->since_ns = now;
	if (!began || now <= began)
		return 0;
	return tp->srtt_us && !tp->total_retrans ? tp->srtt_us * 1000ULL / 8 : now - began;
}

static __noinline int on_connected(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u64 took;
	const struct weir_pod *pod;
	struct weir_conn *conn;
	struct tcp_sock *tp;

	tp = sk ? bpf_skc_to_tcp_sock(sk) : 0;
	if (!tp)
		return 1;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0) ?: late_conn(ctx, sk, tp);
	if (!conn)
		return 1;
	took = handshake_ended(conn, tp);
	if (tp->bytes_acked)
		conn->flags |= WEIR_CONN_SYN_ACKED;
	account_place(conn, account_origin(tp, conn->flags));
	if (conn->flags & WEIR_CONN_COUNTED)
		account_opened(conn, took);
	if (!(conn->flags & WEIR_CONN_REDIRECTED))
		return 1;
	pod = pod_of(bpf_get_netns_cookie(ctx));
	if (pod)
		stats_verdict(pod, WEIR_OUTBOUND, WEIR_REDIRECT, conn->reason);
	return 1;
}

/* 1 when this connection was redirected to here; its original destination moves into conn. */
static __always_inline int claim(struct weir_conn *conn, __u64 cookie,
				 const struct weir_endpoint *local,
				 const struct weir_endpoint *remote)
{
	struct weir_origdst_key key = {
		.netns_cookie = cookie,
		.source = *remote,
		.proxy = *local,
	};
	struct weir_origdst *value = bpf_map_lookup_elem(&weir_origdst, &key);

	if (!value)
		return 0;
	conn->dialled = value->dialled;
	conn->proxy_port = local->port;
	conn->flags |= WEIR_CONN_REDIRECTED;
	if (!bpf_map_delete_elem(&weir_origdst, &key))
		pending_add(cookie, -1);
	return 1;
}

/* How an inbound connection came: what was not accepted by the proxy went direct for want of one.
 */
static __always_inline struct weir_answer inbound_answer(const struct weir_pod *pod, __u64 cookie,
							 const struct weir_syn *syn, int by_proxy)
{
	struct weir_answer answer = weir_decide_inbound(pod, syn);
	struct weir_port_key seen = { .netns_cookie = cookie, .port = answer.port };

	if (answer.verdict != WEIR_REDIRECT || by_proxy)
		return answer;
	answer = weir_decide_presence(pod, answer,
				      bpf_map_lookup_elem(&weir_seen, &seen) ? WEIR_PROXY_GONE
									     : WEIR_PROXY_NEVER);
	answer.verdict = WEIR_DIRECT;
	return answer;
}

static __always_inline __u32 arrived_by(const struct weir_pod *pod, struct bpf_sock *sk)
{
	struct tcp_sock *tp;

	if (!(pod->flags & (WEIR_POD_IF_EXCLUDE | WEIR_POD_IF_VIRTUAL)))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	return tp ? link_arrived_by(tp) : 0;
}

/* An inbound connection's peer is whoever came, an outbound one's whom a machine has dialled. */
static __always_inline void choose_accepted_flow(struct weir_flow_key *flow,
						 const struct weir_pod *pod, struct weir_leg leg,
						 int within, const struct weir_endpoint *local,
						 const struct weir_endpoint *remote)
{
	flow->workload = pod->workload;
	flow->port = account_port(local->port);
	flow->direction = leg.direction;
	flow->via = leg.via;
	if (leg.direction == WEIR_INBOUND) {
		account_peer(flow, &remote->addr, 0, 0);
		flow->service = WEIR_ID_NONE;
	} else if (within) {
		flow->peer = pod->workload;
	} else {
		account_peer(flow, &local->addr, local->port, 0);
	}
}

/*
 * Has it begun in the pod, and been judged there? Most connections come from outside, and are
 * spared a look into a table so large that it is never in the processor's cache. But in TPROXY mode
 * the proxy goes on to its application with the client's own address.
 */
static __always_inline int may_claim(const struct weir_pod *pod, const struct weir_syn *syn)
{
	return syn->lo || listener_has_proxy_port(pod, syn->port) || (pod->flags & WEIR_POD_TPROXY);
}

static __noinline int on_accepted(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct weir_pod *pod = pod_of(cookie);
	struct weir_endpoint local = {}, remote = {};
	struct bpf_sock *sk = ctx->sk;
	struct weir_answer answer;
	struct weir_conn *conn;
	struct weir_leg leg;
	struct weir_syn syn;
	int by_proxy, within;

	if (!pod || !sk)
		return 1;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		stats_count(WEIR_COUNTER_UNTRACKED_SOCKETS);
		return 1;
	}
	if (conn->flags & WEIR_CONN_ACTIVE)
		return on_connected(ctx); /* both ends dialled each other */
	by_proxy = conn->flags & WEIR_CONN_LISTED;
	__builtin_memset(conn, 0, sizeof(*conn));
	conn->since_ns = bpf_ktime_get_coarse_ns();
	local_endpoint(ctx, &local);
	remote_endpoint(ctx, &remote);
	watch_states(ctx);
	inbound_ask(&syn, pod, cookie, &remote.addr, &local, arrived_by(pod, sk));
	if (may_claim(pod, &syn) && claim(conn, cookie, &local, &remote))
		return 1;
	if (syn.lo)
		return 1; /* within the pod: its other end is counted, if any */
	answer = inbound_answer(pod, cookie, &syn, by_proxy);
	if (stats_judged(pod))
		stats_verdict(pod, inbound_direction(&syn), answer.verdict, answer.reason);
	conn->reason = answer.reason;
	within = syn.if_virtual && pod_has_addr(pod, cookie, &local.addr);
	leg = weir_leg_accepted(syn.if_virtual, within, answer.verdict, weir_pod_local);
	if (!leg.counted)
		return 1;
	choose_accepted_flow(&conn->flow, pod, leg, within, &local, &remote);
	conn->flags |= WEIR_CONN_COUNTED | (syn.if_virtual ? WEIR_CONN_MACHINE : 0);
	account_place(conn, ctx->snd_nxt); /* nothing was sent yet */
	account_opened(conn, 0);
	return 1;
}

/* What it dialled before it came to listen must not be taken for its children's. */
static __always_inline void forget_dialled(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weir_conn *conn = sk ? bpf_sk_storage_get(&weir_conns, sk, 0, 0) : 0;

	if (conn)
		conn->flags &= WEIR_CONN_BOUND;
}

/* So that looking for listeners that were there before does not find this one again. */
static __always_inline void mark_listed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weir_conn *conn;

	if (!sk)
		return;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (conn)
		conn->flags |= WEIR_CONN_LISTED;
}

/*
 * Slots are taken from the front; when all are taken the newest listener replaces one by its
 * number, so that a proxy which restarts is always found. 0 when it has one.
 */
static __always_inline int record_listener(struct bpf_sock_ops *ctx, struct weir_listener_key *key)
{
	for (int slot = 0; slot < WEIR_LISTENER_SLOTS; slot++) {
		key->slot = slot;
		if (!bpf_sock_hash_update(ctx, &weir_listeners, key, BPF_NOEXIST))
			return 0;
	}
	key->slot = bpf_get_socket_cookie(ctx) % WEIR_LISTENER_SLOTS;
	return bpf_sock_hash_update(ctx, &weir_listeners, key, BPF_ANY);
}

static __noinline int on_listen(struct bpf_sock_ops *ctx)
{
	struct weir_listener_key key = { .netns_cookie = bpf_get_netns_cookie(ctx),
					 .port = ctx->local_port,
					 .v6 = ctx->family == AF_INET6 };
	const struct weir_pod *pod = pod_of(key.netns_cookie);
	struct weir_endpoint local = {};
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;

	forget_dialled(ctx);
	if (!pod || !sk || pod->mode != WEIR_MODE_CAPTURE)
		return 1;
	tp = bpf_skc_to_tcp_sock(sk);
	local_endpoint(ctx, &local);
	if (!tp || !listener_is_proxys(pod, key.netns_cookie, tp, &local))
		return 1;
	listener_seen(&key, WEIR_SEEN_LISTENED, BPF_ANY);
	if (!listener_is_steered_to(pod, &local))
		return 1;
	mark_listed(ctx);
	if (record_listener(ctx, &key)) {
		stats_count(WEIR_COUNTER_LISTENER_LOST);
		listener_seen(&key, WEIR_SEEN_UNSTEERABLE, BPF_ANY);
	}
	return 1;
}

/* An attempt that failed; a closed port on loopback means that no proxy is there to take it. */
static __always_inline void on_failed(struct bpf_sock_ops *ctx, struct weir_conn *conn, int err)
{
	enum weir_failure why = account_failure(err);
	struct weir_port_key key = { .netns_cookie = bpf_get_netns_cookie(ctx),
				     .port = conn->proxy_port };
	const struct weir_pod *pod = pod_of(key.netns_cookie);

	if (conn->flags & WEIR_CONN_COUNTED)
		account_failed(conn, why);
	if (!pod || !(conn->flags & WEIR_CONN_REDIRECTED))
		return;
	if (why != WEIR_FAILED_REFUSED)
		stats_verdict(pod, WEIR_OUTBOUND, WEIR_REDIRECT, conn->reason);
	else if (bpf_map_lookup_elem(&weir_seen, &key))
		stats_verdict(pod, WEIR_OUTBOUND, WEIR_REFUSE, WEIR_REASON_PROXY_DOWN);
	else
		stats_verdict(pod, WEIR_OUTBOUND, WEIR_REFUSE, WEIR_REASON_BEFORE_PROXY);
}

static __noinline int on_closed(struct bpf_sock_ops *ctx)
{
	__u32 oldstate = ctx->args[0];
	struct bpf_sock *sk = ctx->sk;
	struct weir_conn *conn;
	struct tcp_sock *tp;

	if (!sk)
		return 1;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);
	if (!conn)
		return 1;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 1;
	if (conn->flags & WEIR_CONN_ACTIVE)
		withdraw(ctx, conn);
	if (conn->flags & WEIR_CONN_OPENED)
		account_closed(conn, tp, oldstate);
	else if (oldstate == BPF_TCP_SYN_SENT ||
		 (oldstate == BPF_TCP_SYN_RECV && (conn->flags & WEIR_CONN_ACTIVE)))
		on_failed(ctx, conn, account_error(conn, tp));
	return 1;
}

/*
 * A connect() that ended before any SYN could leave, of a socket that ends here. It has no peer:
 * an attempt that fails within connect() leaves no destination port behind (tcp_v4_connect(),
 * tcp_v6_connect()). All that had a connection keep it, and are spared the look at their storage.
 */
SEC("cgroup/sock_release")
int weir_release(struct bpf_sock *sk)
{
	struct weir_conn *conn;

	if (sk->state != BPF_TCP_CLOSE || sk->dst_port)
		return 1;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);
	if (conn && (conn->flags & WEIR_CONN_TRYING))
		account_never_left(conn);
	return 1;
}

SEC("sockops")
int weir_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		return on_connect(ctx);
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		return on_connected(ctx);
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		return on_accepted(ctx);
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		return on_listen(ctx);
	case BPF_SOCK_OPS_STATE_CB:
		return ctx->args[1] == BPF_TCP_CLOSE ? on_closed(ctx) : 1;
	}
	return 1;
}

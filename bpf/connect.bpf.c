// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * connect(): where does this connection go? Asks the decision, rewrites the destination to the
 * proxy's listener on loopback, gives the socket the source that it would have had, and keeps what
 * was dialled in the socket's storage. getpeername() shows the application what it dialled.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/account.bpf.h"
#include "bpf/lib/attempt.bpf.h"
#include "bpf/lib/dns.bpf.h"
#include "bpf/lib/pending.bpf.h"
#include "bpf/lib/sockaddr.bpf.h"

/* Only a policy that prefers a direct connection needs to know; a closed port refuses by itself. */
static __always_inline enum weir_presence proxy_presence(struct bpf_sock_addr *ctx,
							 const struct attempt *a, __u16 port)
{
	struct weir_port_key key = { .netns_cookie = a->cookie, .port = port };
	struct weir_addr loopback;

	if (pending_full(a->cookie))
		return WEIR_PROXY_CROWDED;
	if (a->pod->before_proxy == WEIR_ABSENT_REFUSE && a->pod->proxy_down == WEIR_ABSENT_REFUSE)
		return WEIR_PROXY_LISTENS;
	sockaddr_set_loopback(&loopback, a->question.v6);
	if (sockaddr_meets(ctx, &loopback, 0, &loopback, port) == BPF_TCP_LISTEN)
		return WEIR_PROXY_LISTENS;
	return bpf_map_lookup_elem(&weir_seen, &key) ? WEIR_PROXY_GONE : WEIR_PROXY_NEVER;
}

/* The flow that the connection is counted in, if it is: see maps/leg.h. */
static __always_inline void choose_flow(struct attempt *a, const struct weir_answer *answer)
{
	struct weir_connect *q = &a->question;
	struct weir_flow_key *flow = &a->conn->flow;
	int proxy = weir_leg_is_proxys(a->pod->mode == WEIR_MODE_OBSERVE, 1,
				       q->uid_is_proxy || q->gid_is_proxy, q->marked);
	struct weir_leg leg = weir_leg_dialled(q->lo, proxy, answer->verdict, weir_pod_local);

	if (!leg.counted)
		return;
	a->conn->flags |= WEIR_CONN_COUNTED;
	flow->workload = a->pod->workload;
	flow->port = account_port(a->port);
	flow->direction = leg.direction;
	flow->via = leg.via;
	if (q->lo)
		flow->peer = a->pod->workload;
	else
		account_peer(flow, &a->dst, a->port, 0);
}

/*
 * An application may use one source address and port for connections to several destinations. All
 * of them have the proxy as theirs now, so each needs an address of the proxy's host of its own:
 * the rest of 127/8, if the proxy listens on all addresses. IPv6 has one loopback address only.
 */
#define PROXY_ADDRESSES 8

static __always_inline void choose_free(struct bpf_sock_addr *ctx, const struct attempt *a,
					struct weir_addr *to, __u16 port)
{
	struct weir_addr candidate = *to;

	if (a->question.v6)
		return;
	for (int i = 0; i < PROXY_ADDRESSES; i++) {
		candidate.ip[15] = 1 + i;
		if (sockaddr_meets(ctx, &a->src, ctx->sk->src_port, &candidate, port) ==
		    BPF_TCP_LISTEN) {
			*to = candidate;
			return;
		}
	}
}

/* To the pod's own address, if the proxy listens there; Linkerd's listens on loopback alone. */
static __always_inline void choose_own(struct bpf_sock_addr *ctx, const struct weir_addr *own,
				       struct weir_addr *to, __u16 port)
{
	if (sockaddr_meets(ctx, own, ctx->sk->src_port, own, port) == BPF_TCP_LISTEN)
		*to = *own;
}

/*
 * The proxy must see the source that the kernel would have chosen for what was dialled: for the
 * pod's own address that address, for anything outside the pod's. A socket whose port is already
 * bound cannot be bound again: it is sent to the pod's own address, where the kernel chooses the
 * same as source.
 *
 * In a pod that had iptables rules the kernel remembers, for two minutes after their end, the
 * connections that these redirected from the pod's address to loopback. One that had the same two
 * ends would get another source port from it, under which nobody could find what was dialled: there
 * no connection goes from the one to the other.
 */
static __always_inline void send_to_proxy(struct bpf_sock_addr *ctx, int family, struct attempt *a,
					  __u16 port)
{
	const struct weir_addr *source = a->question.v6 ? &a->pod->ip6 : &a->pod->ip4;
	struct weir_addr to = {};

	if (a->question.lo)
		source = &a->dst;
	sockaddr_set_loopback(&to, a->question.v6);
	if (!weir_addr_is_any(&a->src)) {
		if (ctx->sk->src_port)
			choose_free(ctx, a, &to, port);
	} else if (!weir_addr_is_loopback(&a->dst) && !weir_addr_is_any(source)) {
		if (ctx->sk->src_port || (a->pod->flags & WEIR_POD_TAKEN_OVER))
			choose_own(ctx, source, &to, port);
		else if (sockaddr_bind(ctx, family, source) == 0)
			a->conn->flags |= WEIR_CONN_BOUND;
	}
	sockaddr_set_destination(ctx, family, &to, port);
}

/*
 * A new attempt owes nothing to an earlier one on the same socket. A source that weir has bound
 * marks the socket (SOCK_BINDADDR_LOCK) for good: the kernel would keep whatever source the last
 * attempt had, so it is taken back each time, unless the application has bound a port itself
 * meanwhile.
 */
static __always_inline void start_over(struct bpf_sock_addr *ctx, int family, struct attempt *a)
{
	__u32 bound = a->conn->flags & WEIR_CONN_BOUND;

	if (a->conn->flags & WEIR_CONN_TRYING)
		account_never_left(a->conn);
	if (bound && !ctx->sk->src_port) {
		struct weir_addr any = {};

		if (family == AF_INET)
			weir_addr_from_v4(&any, 0);
		sockaddr_bind(ctx, family, &any);
		a->src = any;
	}
	account_begin_life(a->conn);
	__builtin_memset(&a->conn->since_ns, 0,
			 sizeof(*a->conn) - __builtin_offsetof(struct weir_conn, since_ns));
	a->conn->flags = WEIR_CONN_ACTIVE | bound;
	a->conn->dialled.addr = a->dst;
	a->conn->dialled.port = a->port;
}

static __always_inline int without_storage(const struct weir_pod *pod)
{
	stats_count(WEIR_COUNTER_UNTRACKED_SOCKETS);
	return pod->mode == WEIR_MODE_OBSERVE; /* a redirect could not be told to the proxy */
}

/* 1: the connection may go on, 0: it is refused. `family` is the hook's, a constant. */
static __always_inline int decide(struct bpf_sock_addr *ctx, int family, struct attempt *a)
{
	struct weir_answer answer;

	if (a->pod->flags & WEIR_POD_OWNERS)
		a->owner = socket_owner(ctx->sk);
	a->conn = bpf_sk_storage_get(&weir_conns, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!a->conn)
		return without_storage(a->pod);
	start_over(ctx, family, a);
	a->question.marked = pod_is_marked(a->pod, ctx->sk->mark);
	attempt_ask(a);
	answer = attempt_answer(a);
	if (answer.verdict == WEIR_REDIRECT)
		answer = weir_decide_presence(a->pod, answer, proxy_presence(ctx, a, answer.port));
	choose_flow(a, &answer);
	a->conn->reason = answer.reason;
	if (answer.verdict != WEIR_REFUSE && (a->conn->flags & WEIR_CONN_COUNTED))
		a->conn->flags |= WEIR_CONN_TRYING;
	if (answer.verdict == WEIR_REDIRECT) {
		a->conn->flags |= WEIR_CONN_REDIRECTED;
		a->conn->proxy_port = answer.port;
		if (answer.in_place)
			a->conn->flags |= WEIR_CONN_IN_PLACE;
		else
			send_to_proxy(ctx, family, a, answer.port);
		return 1; /* the verdict is counted when it is known whether the proxy took it */
	}
	if (a->question.marked && a->question.lo)
		a->conn->flags |= WEIR_CONN_IN_PLACE; /* see steered() in lookup.bpf.c */
	if (stats_judged(a->pod))
		stats_verdict(a->pod, WEIR_OUTBOUND, answer.verdict, answer.reason);
	if (answer.verdict == WEIR_REFUSE && (a->conn->flags & WEIR_CONN_COUNTED))
		account_failed(a->conn, WEIR_FAILED_POLICY);
	return answer.verdict != WEIR_REFUSE;
}

static __always_inline int is_tcp(struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM && ctx->protocol == IPPROTO_TCP;
}

/*
 * connect() of a UDP socket: all its datagrams go to one server, and the kernel lets none in but
 * that one's. A socket that has a port already keeps the source that the kernel chooses.
 */
static __always_inline int connect_query(struct bpf_sock_addr *ctx, int family, struct attempt *a,
					 __u16 port)
{
	struct weir_asked *asked = dns_asked_make(ctx->sk);
	struct weir_addr source, to = {};

	if (!asked)
		return 0;
	asked->plain = a->dst;
	asked->proxy_port = port;
	asked->flags |= WEIR_ASKED_PLAIN | WEIR_ASKED_CONNECTED;
	dns_source(a, &source);
	/* AF_INET on an AF_INET6 socket: bpf_bind() would bind one half of it. */
	if (weir_addr_is_any(&a->src) && !weir_addr_is_any(&source) && !ctx->sk->src_port &&
	    ctx->family == (__u32)family)
		sockaddr_bind(ctx, family, &source);
	sockaddr_set_loopback(&to, a->question.v6);
	sockaddr_set_destination(ctx, family, &to, port);
	return 1;
}

static __always_inline int decide_query(struct bpf_sock_addr *ctx, int family, struct attempt *a)
{
	struct weir_answer answer = dns_decide(ctx, a);

	if (answer.verdict == WEIR_REDIRECT)
		return connect_query(ctx, family, a, answer.port);
	return answer.verdict != WEIR_REFUSE;
}

/* What is connected anew is connected to no server until it is decided. */
static __always_inline int is_query(struct bpf_sock_addr *ctx)
{
	struct weir_asked *asked;

	if (!dns_is_udp(ctx))
		return 0;
	asked = dns_asked(ctx->sk);
	if (asked)
		asked->flags &= ~(__u32)WEIR_ASKED_CONNECTED;
	return ctx->user_port == bpf_htons(WEIR_DNS_PORT);
}

SEC("cgroup/connect4")
int weir_connect4(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};
	int tcp = is_tcp(ctx);

	if (ctx->user_family != AF_INET || (!tcp && !is_query(ctx)))
		return 1;
	a.cookie = bpf_get_netns_cookie(ctx);
	a.pod = tcp ? pod_of(a.cookie) : dns_pod(a.cookie);
	if (!a.pod)
		return 1;
	weir_addr_from_v4(&a.src, ctx->sk->src_ip4);
	weir_addr_from_v4(&a.dst, ctx->user_ip4);
	a.port = bpf_ntohs(ctx->user_port);
	a.bound_if = ctx->sk->bound_dev_if;
	sockaddr_resolve_any(&a.dst, &a.src, 0);
	if (!tcp)
		return decide_query(ctx, AF_INET, &a) ?: sockaddr_refused(ECONNREFUSED);
	return decide(ctx, AF_INET, &a) ?: sockaddr_refused(ECONNREFUSED);
}

SEC("cgroup/connect6")
int weir_connect6(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};
	int tcp = is_tcp(ctx);

	if (ctx->user_family != AF_INET6 || (!tcp && !is_query(ctx)))
		return 1;
	a.cookie = bpf_get_netns_cookie(ctx);
	a.pod = tcp ? pod_of(a.cookie) : dns_pod(a.cookie);
	if (!a.pod)
		return 1;
	sockaddr_source6(ctx, &a.src);
	sockaddr_user6(ctx, &a.dst);
	a.port = bpf_ntohs(ctx->user_port);
	a.bound_if = ctx->sk->bound_dev_if;
	sockaddr_resolve_any(&a.dst, &a.src, 1);
	if (!tcp)
		return decide_query(ctx, AF_INET6, &a) ?: sockaddr_refused(ECONNREFUSED);
	return decide(ctx, AF_INET6, &a) ?: sockaddr_refused(ECONNREFUSED);
}

/* What the socket was connected to by its application; 1 when weir sent it elsewhere. */
static __always_inline int dialled(struct bpf_sock_addr *ctx, struct weir_endpoint *ret)
{
	__u32 both = WEIR_CONN_ACTIVE | WEIR_CONN_REDIRECTED;
	struct weir_asked *asked;
	struct weir_conn *conn;

	if (dns_is_udp(ctx)) {
		asked = dns_asked(ctx->sk);
		if (!asked || !(asked->flags & WEIR_ASKED_CONNECTED))
			return 0;
		ret->addr = asked->plain;
		ret->port = WEIR_DNS_PORT;
		return 1;
	}
	conn = bpf_sk_storage_get(&weir_conns, ctx->sk, 0, 0);
	if (!conn || (conn->flags & both) != both)
		return 0;
	*ret = conn->dialled;
	return 1;
}

SEC("cgroup/getpeername4")
int weir_peername4(struct bpf_sock_addr *ctx)
{
	struct weir_endpoint e = {};

	if (dialled(ctx, &e))
		sockaddr_set_destination(ctx, AF_INET, &e.addr, e.port);
	return 1;
}

SEC("cgroup/getpeername6")
int weir_peername6(struct bpf_sock_addr *ctx)
{
	struct weir_endpoint e = {};

	if (dialled(ctx, &e))
		sockaddr_set_destination(ctx, AF_INET6, &e.addr, e.port);
	return 1;
}

// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * getsockopt(SO_ORIGINAL_DST): answers what conntrack would have answered, for every connection of
 * a captured pod. Redirected: what was dialled. Else, as conntrack does for a connection that no
 * rule touched: the destination, which is the local address of the end that accepted.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/endpoint.bpf.h"
#include "bpf/lib/pod.bpf.h"
#include "bpf/maps.bpf.h"

#define PAGE_SIZE 4096

/* A program that leaves a length beyond a page makes getsockopt() fail on 5.10; 0 keeps the
 * kernel's answer. */
static __always_inline int keep(struct bpf_sockopt *ctx)
{
	if (ctx->optlen > PAGE_SIZE)
		ctx->optlen = 0;
	return 1;
}

/* A connection that was reset before it was asked about has given its local port back. */
static __always_inline __u16 local_port(struct bpf_sock *sk)
{
	const struct inet_sock *inet;

	if (sk->state != BPF_TCP_CLOSE)
		return sk->src_port;
	if (bpf_probe_read_kernel(&inet, sizeof(inet), &sk))
		return 0;
	return bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
}

static __always_inline void local_endpoint(struct bpf_sock *sk, struct weir_endpoint *e)
{
	endpoint_set(e, sk->family, sk->src_ip4, sk->src_ip6, local_port(sk));
}

static __always_inline void remote_endpoint(struct bpf_sock *sk, struct weir_endpoint *e)
{
	endpoint_set(e, sk->family, sk->dst_ip4, sk->dst_ip6, bpf_ntohs(sk->dst_port));
}

/*
 * A peer may reset the connection before its acceptor asks, as kubelet's TCP probes do: conntrack
 * knows it for some seconds more. A socket that never had a peer, or has given it up, has no port
 * of one; one that dialled may have been refused, which conntrack forgets at once.
 */
static __always_inline int had_peer(struct bpf_sock *sk)
{
	struct weir_conn *conn;

	if (sk->state == BPF_TCP_LISTEN)
		return 0;
	if (sk->state != BPF_TCP_CLOSE)
		return 1;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);
	return sk->dst_port && !(conn && (conn->flags & WEIR_CONN_ACTIVE));
}

/* 1 when the connection has an original destination that weir knows. */
static __always_inline int original_destination(struct bpf_sockopt *ctx, struct bpf_sock *sk,
						struct weir_endpoint *e)
{
	struct weir_conn *conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);

	if (conn && (conn->flags & WEIR_CONN_REDIRECTED))
		*e = conn->dialled;
	else if (conn && (conn->flags & (WEIR_CONN_ACTIVE | WEIR_CONN_FOUND)) == WEIR_CONN_ACTIVE)
		remote_endpoint(sk, e);
	else if (ctx->retval)
		local_endpoint(sk, e);
	else /* conntrack has an answer: the same, or that of the pod's own iptables rules */
		return 0;
	return 1;
}

static __always_inline int answer_v4(struct bpf_sockopt *ctx, const struct weir_endpoint *e)
{
	struct sockaddr_in *sin = ctx->optval;

	if (!weir_addr_is_v4(&e->addr) || (void *)(sin + 1) > ctx->optval_end)
		return keep(ctx);
	__builtin_memset(sin, 0, sizeof(*sin));
	sin->sin_family = AF_INET;
	sin->sin_port = bpf_htons(e->port);
	__builtin_memcpy(&sin->sin_addr, &e->addr.ip[12], 4);
	if (ctx->optlen > PAGE_SIZE)
		ctx->optlen = sizeof(*sin);
	ctx->retval = 0;
	return 1;
}

static __always_inline int answer_v6(struct bpf_sockopt *ctx, const struct weir_endpoint *e)
{
	struct sockaddr_in6 *sin6 = ctx->optval;

	if (weir_addr_is_v4(&e->addr) || (void *)(sin6 + 1) > ctx->optval_end)
		return keep(ctx);
	__builtin_memset(sin6, 0, sizeof(*sin6));
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = bpf_htons(e->port);
	__builtin_memcpy(&sin6->sin6_addr, e->addr.ip, 16);
	if (ctx->optlen > PAGE_SIZE)
		ctx->optlen = sizeof(*sin6);
	ctx->retval = 0;
	return 1;
}

/* SO_ERROR takes the error away: why the attempt failed would not be known at its end. */
static __always_inline void note_soft_error(struct bpf_sockopt *ctx, struct bpf_sock *sk)
{
	int *value = ctx->optval;
	struct weir_conn *conn;

	if (!sk || sk->protocol != IPPROTO_TCP || sk->state != BPF_TCP_SYN_SENT ||
	    (void *)(value + 1) > ctx->optval_end || !*value)
		return;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);
	if (conn)
		conn->soft_error = *value;
}

SEC("cgroup/getsockopt")
int weir_getsockopt(struct bpf_sockopt *ctx)
{
	struct weir_endpoint e = {};
	const struct weir_pod *pod;
	struct bpf_sock *sk = ctx->sk;

	if (ctx->level == SOL_SOCKET && ctx->optname == SO_ERROR)
		note_soft_error(ctx, sk);
	if (ctx->optname != SO_ORIGINAL_DST || (ctx->level != SOL_IP && ctx->level != SOL_IPV6))
		return keep(ctx);
	if (!sk || sk->protocol != IPPROTO_TCP || !had_peer(sk))
		return keep(ctx);
	pod = pod_of(bpf_get_netns_cookie(ctx));
	if (!pod || pod->mode == WEIR_MODE_OBSERVE)
		return keep(ctx);
	if (!original_destination(ctx, sk, &e))
		return keep(ctx);
	return ctx->level == SOL_IP ? answer_v4(ctx, &e) : answer_v6(ctx, &e);
}

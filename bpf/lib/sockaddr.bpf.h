/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between the kernel's socket addresses and weir's. */
#ifndef WEIR_BPF_SOCKADDR_H
#define WEIR_BPF_SOCKADDR_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "maps/addr.h"

static __always_inline void sockaddr_user6(struct bpf_sock_addr *ctx, struct weir_addr *addr)
{
	weir_addr_from_words(addr, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
			     ctx->user_ip6[3]);
}

static __always_inline void sockaddr_source6(struct bpf_sock_addr *ctx, struct weir_addr *addr)
{
	struct bpf_sock *sk = ctx->sk;

	weir_addr_from_words(addr, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
}

/*
 * A connect() to 0.0.0.0 or :: goes to this host: to the bound source if there is one
 * (ip_route_output_key_hash()), else to loopback (tcp_v6_connect()).
 */
static __always_inline void sockaddr_resolve_any(struct weir_addr *dst, const struct weir_addr *src,
						 int v6)
{
	if (!weir_addr_is_any(dst))
		return;
	if (!weir_addr_is_any(src) && !v6) {
		*dst = *src;
	} else if (v6 && (weir_addr_is_any(src) || !weir_addr_is_v4(src)) && !dst->ip[10]) {
		__builtin_memset(dst, 0, sizeof(*dst));
		dst->ip[15] = 1;
	} else {
		weir_addr_from_v4(dst, bpf_htonl(0x7f000001));
	}
}

static __always_inline void sockaddr_set_loopback(struct weir_addr *addr, int v6)
{
	if (v6) {
		__builtin_memset(addr, 0, sizeof(*addr));
		addr->ip[15] = 1;
	} else {
		weir_addr_from_v4(addr, bpf_htonl(0x7f000001));
	}
}

/*
 * Works for connect and getpeername alike. `family` is the hook's, a constant: the verifier lets a
 * hook touch the fields of its own family alone.
 */
static __always_inline void sockaddr_set_destination(struct bpf_sock_addr *ctx, int family,
						     const struct weir_addr *addr, __u16 port)
{
	if (family == AF_INET) {
		ctx->user_ip4 = weir_addr_word(addr, 3);
	} else {
		ctx->user_ip6[0] = weir_addr_word(addr, 0);
		ctx->user_ip6[1] = weir_addr_word(addr, 1);
		ctx->user_ip6[2] = weir_addr_word(addr, 2);
		ctx->user_ip6[3] = weir_addr_word(addr, 3);
	}
	ctx->user_port = bpf_htons(port);
}

/* Binds the socket's source without a port. 0 or -errno; the address must be the pod's. */
static __always_inline long sockaddr_bind(struct bpf_sock_addr *ctx, int family,
					  const struct weir_addr *addr)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };

	if (family == AF_INET) {
		sin.sin_addr.s_addr = weir_addr_word(addr, 3);
		return bpf_bind(ctx, (struct sockaddr *)&sin, sizeof(sin));
	}
	__builtin_memcpy(&sin6.sin6_addr, addr->ip, sizeof(addr->ip));
	return bpf_bind(ctx, (struct sockaddr *)&sin6, sizeof(sin6));
}

/*
 * The state of the socket in the caller's network namespace that a segment from src to dst would
 * meet: BPF_TCP_LISTEN when there is a listener and the pair of addresses is free, another one when
 * it is in use, 0 when there is nothing. Both addresses are of one family.
 */
static __always_inline int sockaddr_meets(struct bpf_sock_addr *ctx, const struct weir_addr *src,
					  __u16 src_port, const struct weir_addr *dst, __u16 port)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	__u32 size;
	int state;

	if (weir_addr_is_v4(dst)) {
		tuple.ipv4.saddr = weir_addr_word(src, 3);
		tuple.ipv4.daddr = weir_addr_word(dst, 3);
		tuple.ipv4.sport = bpf_htons(src_port);
		tuple.ipv4.dport = bpf_htons(port);
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, src->ip, 16);
		__builtin_memcpy(tuple.ipv6.daddr, dst->ip, 16);
		tuple.ipv6.sport = bpf_htons(src_port);
		tuple.ipv6.dport = bpf_htons(port);
		size = sizeof(tuple.ipv6);
	}
	sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

/*
 * The UDP socket in the caller's network namespace that a datagram to this address and port would
 * reach if it came from a stranger; the caller releases it.
 */
static __always_inline struct bpf_sock *sockaddr_find_udp(struct bpf_sock_addr *ctx,
							  const struct weir_addr *addr, __u16 port)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size;

	if (weir_addr_is_v4(addr)) {
		tuple.ipv4.daddr = weir_addr_word(addr, 3);
		tuple.ipv4.dport = bpf_htons(port);
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.daddr, addr->ip, 16);
		tuple.ipv6.dport = bpf_htons(port);
		size = sizeof(tuple.ipv6);
	}
	return bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
}

static __always_inline int sockaddr_has_udp(struct bpf_sock_addr *ctx, const struct weir_addr *addr,
					    __u16 port)
{
	struct bpf_sock *sk = sockaddr_find_udp(ctx, addr, port);

	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/*
 * The return value of a hook that refuses. bpf_set_retval() gives the call its errno since 5.18
 * (b44123b4a3dc); before, it is EPERM.
 */
static __always_inline int sockaddr_refused(int error)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_set_retval))
		bpf_set_retval(-error);
	return 0;
}

#endif

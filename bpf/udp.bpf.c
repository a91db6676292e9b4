// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Name lookups over UDP sockets that are not connected: sendto(), sendmsg(), sendmmsg() and what
 * they are answered. The destination becomes the proxy's responder; the answer's source becomes the
 * server that was asked. Datagrams to other ports than 53 pass after one comparison.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/dns.bpf.h"

static __always_inline void user_source(struct bpf_sock_addr *ctx, int family,
					struct weir_addr *addr)
{
	if (family == AF_INET)
		weir_addr_from_v4(addr, ctx->msg_src_ip4);
	else
		weir_addr_from_words(addr, ctx->msg_src_ip6[0], ctx->msg_src_ip6[1],
				     ctx->msg_src_ip6[2], ctx->msg_src_ip6[3]);
}

static __always_inline void set_source(struct bpf_sock_addr *ctx, int family,
				       const struct weir_addr *addr)
{
	if (family == AF_INET) {
		ctx->msg_src_ip4 = weir_addr_word(addr, 3);
		return;
	}
	ctx->msg_src_ip6[0] = weir_addr_word(addr, 0);
	ctx->msg_src_ip6[1] = weir_addr_word(addr, 1);
	ctx->msg_src_ip6[2] = weir_addr_word(addr, 2);
	ctx->msg_src_ip6[3] = weir_addr_word(addr, 3);
}

static __always_inline void user_addr(struct bpf_sock_addr *ctx, int family, struct weir_addr *addr)
{
	if (family == AF_INET)
		weir_addr_from_v4(addr, ctx->user_ip4);
	else
		sockaddr_user6(ctx, addr);
}

/* The number under which the socket knows this server, made when new; -1: it is the plain one. */
static __always_inline int number_of(struct weir_asked *asked, const struct weir_addr *server)
{
	__u32 next = asked->next, number;

	if (!(asked->flags & WEIR_ASKED_PLAIN)) {
		asked->plain = *server;
		asked->flags |= WEIR_ASKED_PLAIN;
	}
	if (weir_addr_equal(&asked->plain, server))
		return -1;
	for (int i = 0; i < WEIR_ASKED_SERVERS; i++)
		if (weir_addr_equal(&asked->servers[i], server))
			return next - 1 - ((next - 1 - i) % WEIR_ASKED_SERVERS);
	number = next % WEIR_ASKED_NUMBERS;
	asked->servers[number % WEIR_ASKED_SERVERS] = *server;
	asked->next = number + 1;
	return number;
}

/* A query to the proxy. 1, or 0 when it is refused. */
static __always_inline int send_query(struct bpf_sock_addr *ctx, int family, struct attempt *a,
				      __u16 port)
{
	struct weir_asked *asked = dns_asked_make(ctx->sk);
	struct weir_addr source, to = {};
	int number;

	if (!asked)
		return 0; /* its answer could not be told from the proxy's */
	asked->proxy_port = port;
	number = number_of(asked, &a->dst);
	if (number >= 0)
		weir_asked_to_addr(&source, number, a->question.v6);
	else
		dns_source(a, &source);
	if (number >= 0 || (weir_addr_is_any(&a->src) && !weir_addr_is_any(&source)))
		set_source(ctx, family, &source);
	sockaddr_set_loopback(&to, a->question.v6);
	sockaddr_set_destination(ctx, family, &to, port);
	return 1;
}

/*
 * send() on an AF_INET6 socket that is connected to a mapped address comes here with that address
 * as if it had been given once more (udpv6_sendmsg()); connect() has decided, and counted it.
 */
static __always_inline int is_decided(struct bpf_sock_addr *ctx, int family)
{
	return family == AF_INET && ctx->sk->state == BPF_TCP_ESTABLISHED &&
	       ctx->sk->dst_ip4 == ctx->user_ip4 && ctx->sk->dst_port == ctx->user_port;
}

static __always_inline int ask(struct bpf_sock_addr *ctx, int family)
{
	struct attempt a = { .port = WEIR_DNS_PORT };
	struct weir_answer answer;

	if (is_decided(ctx, family))
		return 1;
	a.cookie = bpf_get_netns_cookie(ctx);
	a.pod = dns_pod(a.cookie);
	if (!a.pod)
		return 1;
	a.bound_if = ctx->sk->bound_dev_if;
	user_source(ctx, family, &a.src);
	user_addr(ctx, family, &a.dst);
	sockaddr_resolve_any(&a.dst, &a.src, family == AF_INET6);
	answer = dns_decide(ctx, &a);
	if (answer.verdict == WEIR_DIRECT)
		return 1;
	if (answer.verdict == WEIR_REDIRECT && send_query(ctx, family, &a, answer.port))
		return 1;
	return sockaddr_refused(ECONNREFUSED);
}

/* Does the socket at this address of the pod wait for an answer to query `number`? */
static __always_inline int is_asker(struct bpf_sock_addr *ctx, const struct weir_addr *addr,
				    __u16 port, int number)
{
	struct bpf_sock *sk = sockaddr_find_udp(ctx, addr, port);
	struct weir_asked *asked;
	int known;

	if (!sk)
		return 0;
	asked = dns_asked(sk);
	known = asked && weir_asked_knows(asked, number);
	bpf_sk_release(sk);
	return known;
}

/*
 * The proxy answers a query that bore a number. Nobody has the address that it answers to: the
 * asker is at the pod's own or at loopback, under the same port.
 */
static __always_inline int reply(struct bpf_sock_addr *ctx, int family, struct weir_addr *token)
{
	int number = weir_asked_from_addr(token), v6 = family == AF_INET6;
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct weir_pod *pod = dns_pod(cookie);
	__u16 port = bpf_ntohs(ctx->user_port);
	struct weir_addr to;

	if (!pod || ctx->sk->src_port != pod->dns_port)
		return 1;
	to = v6 ? pod->ip6 : pod->ip4;
	if (!is_asker(ctx, &to, port, number)) {
		sockaddr_set_loopback(&to, v6);
		if (!v6 && !is_asker(ctx, &to, port, number))
			return 1; /* not ours: 127/8 is free for all */
	}
	set_source(ctx, family, token);
	sockaddr_set_destination(ctx, family, &to, port);
	return 1;
}

static __always_inline int send(struct bpf_sock_addr *ctx, int family)
{
	struct weir_addr to = {};

	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	if (ctx->user_port == bpf_htons(WEIR_DNS_PORT))
		return ask(ctx, family);
	user_addr(ctx, family, &to);
	if (weir_asked_from_addr(&to) >= 0)
		return reply(ctx, family, &to);
	return 1;
}

SEC("cgroup/sendmsg4")
int weir_sendmsg4(struct bpf_sock_addr *ctx)
{
	return send(ctx, AF_INET);
}

SEC("cgroup/sendmsg6")
int weir_sendmsg6(struct bpf_sock_addr *ctx)
{
	return send(ctx, AF_INET6);
}

/* The proxy's responder is at loopback, and answers from there or as a number. */
static __always_inline int is_proxys(const struct weir_addr *from)
{
	return weir_asked_from_addr(from) >= 0 || weir_addr_is_v4_loop(from, 1) ||
	       weir_addr_is_v6_low(from, 1);
}

static __always_inline int receive(struct bpf_sock_addr *ctx, int family)
{
	const struct weir_addr *server;
	struct weir_addr from = {};
	struct weir_asked *asked;

	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	user_addr(ctx, family, &from);
	if (!is_proxys(&from))
		return 1;
	asked = dns_asked(ctx->sk);
	if (!asked || ctx->user_port != bpf_htons(asked->proxy_port))
		return 1;
	server = weir_asked_server(asked, &from);
	if (server)
		sockaddr_set_destination(ctx, family, server, WEIR_DNS_PORT);
	return 1;
}

SEC("cgroup/recvmsg4")
int weir_recvmsg4(struct bpf_sock_addr *ctx)
{
	return receive(ctx, AF_INET);
}

SEC("cgroup/recvmsg6")
int weir_recvmsg6(struct bpf_sock_addr *ctx)
{
	return receive(ctx, AF_INET6);
}

// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * bind(): kernels keep MPTCP sockets out of every table that an sk_lookup program can take a
 * listener from (fbade4bd08ba in 6.18 and stable), and inbound connections could not be steered to
 * such a proxy. So the port that they are steered to is refused to MPTCP, for that socket alone.
 * net.Listen() of Go, which asks for MPTCP since 1.24 whether its user thought of it or not, goes
 * on with TCP then.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/lib/listener.bpf.h"
#include "bpf/lib/sockaddr.bpf.h"

/* bind() of an MPTCP socket is the bind() of its first subflow, which is a TCP socket. */
static __always_inline int is_mptcp(struct bpf_sock_addr *ctx)
{
	struct tcp_sock *tp;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP)
		return 0;
	tp = bpf_skc_to_tcp_sock(ctx->sk);
	return tp && bpf_core_field_exists(tp->is_mptcp) /* CONFIG_MPTCP */ &&
	       BPF_CORE_READ_BITFIELD(tp, is_mptcp);
}

static __always_inline int may_bind(struct bpf_sock_addr *ctx, const struct weir_addr *addr)
{
	struct weir_endpoint local = { .addr = *addr, .port = bpf_ntohs(ctx->user_port) };
	const struct weir_pod *pod = pod_of(bpf_get_netns_cookie(ctx));

	return !pod || pod->mode != WEIR_MODE_CAPTURE || !listener_is_steered_to(pod, &local);
}

SEC("cgroup/bind4")
int weir_bind4(struct bpf_sock_addr *ctx)
{
	struct weir_addr addr;

	if (!is_mptcp(ctx))
		return 1;
	weir_addr_from_v4(&addr, ctx->user_ip4);
	return may_bind(ctx, &addr) ?: sockaddr_refused(EPROTONOSUPPORT);
}

SEC("cgroup/bind6")
int weir_bind6(struct bpf_sock_addr *ctx)
{
	struct weir_addr addr;

	if (!is_mptcp(ctx))
		return 1;
	sockaddr_user6(ctx, &addr);
	return may_bind(ctx, &addr) ?: sockaddr_refused(EPROTONOSUPPORT);
}

// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The floor under weir's programs: ones that do nothing, at the same hooks and as often called, and
 * ones that do nothing but make the storage of each socket, as large as weir's. floor.py attaches
 * them where weir is not.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/conn.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__type(key, int);
	__type(value, struct weir_conn);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} floor_conns SEC(".maps");

/* The kernel tells of a socket's changes of state once this is set, as weir has it. */
static int watch_states(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
	return 1;
}

SEC("cgroup/connect4")
int empty_connect4(struct bpf_sock_addr *ctx __attribute__((unused)))
{
	return 1;
}

SEC("cgroup/sock_release")
int empty_release(struct bpf_sock *ctx __attribute__((unused)))
{
	return 1;
}

SEC("sockops")
int empty_sockops(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB ||
	    ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return watch_states(ctx);
	return 1;
}

SEC("cgroup/connect4")
int store_connect4(struct bpf_sock_addr *ctx)
{
	bpf_sk_storage_get(&floor_conns, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	return 1;
}

SEC("sockops")
int store_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && sk)
		bpf_sk_storage_get(&floor_conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB ||
	    ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return watch_states(ctx);
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";

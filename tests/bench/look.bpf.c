// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The same walk, with a program that reads one word of each socket. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"

__u64 seen; /* so that the compiler leaves the look in */

SEC("iter/bpf_sk_storage_map")
int look_walk(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;

	if (sk)
		seen += sk->__sk_common.skc_state;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";

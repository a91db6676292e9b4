// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The floor under a fold: the kernel's walk over the sockets' storage, with a program that does
 * nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("iter/bpf_sk_storage_map")
int empty_walk(void *ctx __attribute__((unused)))
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The marks of a connection inside the kernel: one that a test folds step by step. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/lib/account.bpf.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct weir_conn conn;
__u64 life, now, moved; /* moved: by the last fold */
__u32 last; /* the connection ends */

/* connect() on the socket, again. */
SEC("syscall")
int begin(void *ctx __attribute__((unused)))
{
	account_begin_life(&conn);
	return 0;
}

/* Somebody who is about to fold, and has not read the counters yet. */
SEC("syscall")
int look(void *ctx __attribute__((unused)))
{
	life = account_life(&conn);
	return 0;
}

SEC("syscall")
int fold(void *ctx __attribute__((unused)))
{
	moved = account_advance(&conn.sent, life, now, last ? WEIR_MARK_DONE : 0);
	return 0;
}

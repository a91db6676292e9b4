/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the connections of this node from the pinned weir_conns. The program that does it is
 * loaded by whoever reads and gone with it: CAP_BPF and CAP_PERFMON are needed, an agent is not.
 */
#ifndef WEIR_CLI_LIVE_H
#define WEIR_CLI_LIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "maps/live.h"

struct live;

/* Errors are those of maps_open("weir_conns"), or of loading BPF programs. */
int live_open(const char *bpf_dir, struct live **ret);
void live_free(struct live *live);

/* Whether datagrams are counted, so that there are UDP sockets to tell of. */
bool live_has_udp(const struct live *live);
/* Every connection and, while datagrams are counted, UDP socket as it is now, by socket_cookie.
 * *ret is the caller's; nothing may be NULL. */
int live_read(struct live *live, struct weir_live **ret, size_t *ret_n);

static inline void live_cleanup(struct live **live)
{
	live_free(*live);
	*live = NULL;
}

#define _cleanup_live_ _cleanup_(live_cleanup)

#endif

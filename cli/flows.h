/* SPDX-License-Identifier: Apache-2.0 */
/* The totals of weir_flows, live connections included: with or without an agent. */
#ifndef WEIR_CLI_FLOWS_H
#define WEIR_CLI_FLOWS_H

#include <stddef.h>

#include "maps/datagram.h"
#include "maps/flow.h"

struct udp_flow_entry {
	struct weir_flow_key key;
	struct weir_udp_flow value;
};

struct flow_entry {
	struct weir_flow_key key;
	struct weir_flow value;
};

/*
 * Folds what live connections have counted, then reads all flows, by key. *ret is the caller's.
 * Errors are those of maps_open("weir_flows").
 */
int flows_read(const char *bpf_dir, struct flow_entry **ret, size_t *ret_n);

/* The same of datagrams; none while nobody counts them. */
int flows_read_udp(const char *bpf_dir, struct udp_flow_entry **ret, size_t *ret_n);

#endif

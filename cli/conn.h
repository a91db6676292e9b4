/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection as people see it: a row of the kernel's with its numbers turned into names. Plain
 * values, so that choosing, sorting and printing need no kernel.
 */
#ifndef WEIR_CLI_CONN_H
#define WEIR_CLI_CONN_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/directory.h"
#include "maps/live.h"

struct conn {
	struct weir_live row;
	/* All strings are borrowed from the directory, or constant; "" where there is nothing. */
	const char *namespace, *pod; /* "" when the pod is no longer known */
	const char *workload_namespace, *workload, *workload_kind;
	const char *peer_namespace, *peer_workload, *peer_kind;
	const char *service_namespace, *service; /* that was dialled */
	const char *direction; /* outbound: the workload opened it; inbound */
	const char *via; /* proxy, direct, network_leg, application_leg, or local: within the pod */
	const char *protocol; /* tcp, udp */
	const char
		*state; /* established, syn_sent, ...; of a UDP socket established, unconnected */
	const char *reason;
	struct weir_endpoint peer; /* as the workload knows the other end */
	struct weir_endpoint dialled; /* by whoever opened it */
	struct weir_endpoint real; /* where it went */
};

/* The names stay the directory's: until it is refreshed or closed. */
void conn_describe(struct conn *ret, const struct weir_live *row, struct directory *d);

bool conn_is_udp(const struct conn *c);
/* Whether metrics count it: not a connection within the pod. */
bool conn_counted(const struct conn *c);

/* "shop/cart" for a Service or workload, "external", ... ; the caller's. */
char *conn_peer_name(const struct conn *c);
/* Like ESTAB and SYN-SENT of ss(8). */
const char *conn_state_short(const struct conn *c);

json_t *conn_json(const struct conn *c);

#endif

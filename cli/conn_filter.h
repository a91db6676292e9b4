/* SPDX-License-Identifier: Apache-2.0 */
/* Which connections are wanted. What is NULL or 0 does not restrict; names may be shell patterns.
 */
#ifndef WEIR_CLI_CONN_FILTER_H
#define WEIR_CLI_CONN_FILTER_H

#include "cli/conn.h"

#define CONN_FILTER_STATES 16

struct conn_filter {
	bool all; /* those within pods too */
	bool udp, tcp; /* which protocols; neither: TCP */
	const char *namespace;
	const char *pod; /* name, or namespace/name */
	const char *workload; /* likewise */
	const char *peer; /* workload or Service, likewise; address; prefix (10.0.0.0/8) */
	const char *states[CONN_FILTER_STATES]; /* any of these, from conn_filter_state() */
	size_t n_states;
	const char *direction; /* "inbound" or "outbound" */
	const char *via;
	uint16_t port; /* as dialled */
};

bool conn_matches(const struct conn_filter *f, const struct conn *c);

/* The names that filters compare with, from what people type (case, - and _, "in"); NULL: no such.
 */
const char *conn_filter_state(const char *text);
const char *conn_filter_direction(const char *text);
const char *conn_filter_via(const char *text);
/* false: it looks like a prefix, and is none. */
bool conn_filter_peer(const char *text);

#endif

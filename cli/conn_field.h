/* SPDX-License-Identifier: Apache-2.0 */
/* What can be told of a connection: columns to print and keys to sort by, in one table. */
#ifndef WEIR_CLI_CONN_FIELD_H
#define WEIR_CLI_CONN_FIELD_H

#include "base/buf.h"
#include "cli/conn.h"

struct conn_field {
	const char *name; /* as --sort wants it */
	const char *header;
	bool number; /* to the right; the greatest first when sorted */
	bool shrinks; /* a name: may be cut where there is no room */
	void (*format)(struct buf *out, const struct conn *c, bool exact); /* NULL: not printed */
	int (*compare)(const struct conn *a, const struct conn *b);
};

/* NULL when there is none of that name. */
const struct conn_field *conn_field_find(const char *name);
/* Stable in what the field does not tell apart: by pod, then by age. */
void conn_sort(struct conn *conns, size_t n, const struct conn_field *by, bool reverse);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Text in columns, as kubectl prints it. */
#ifndef WEIR_CLI_COLUMNS_H
#define WEIR_CLI_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"

struct table_column {
	bool right; /* numbers */
	bool shrinks; /* when the table is too wide */
};

struct table {
	size_t columns;
	size_t n; /* cells */
	char **cells; /* owned */
	const struct table_column
		*layout; /* one a column, or NULL: to the left, and never shrunk */
	size_t width; /* of the whole, in columns; 0: as wide as need be */
};

#define _cleanup_table_ _cleanup_(table_free)

void table_free(struct table *t);
/* One cell, copied, without what a terminal would obey; rows fill from the left. NULL and "" print
 * as
 * "-". */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * Columns as wide as their widest cell, no blanks at the end of a line. To fit into width the gaps
 * become narrower, then the columns that shrink, the widest first.
 */
void table_print(const struct table *t, FILE *out);

/* A copy of at most width columns, the caller's; what is too long loses its middle:
 * "shop/ca~x2k9p". */
char *table_shorten(const char *text, size_t width);

#endif

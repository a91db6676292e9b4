/* SPDX-License-Identifier: Apache-2.0 */
/* Text in columns, as kubectl prints it. */
#ifndef WEIR_CLI_COLUMNS_H
#define WEIR_CLI_COLUMNS_H

#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"

struct table {
	size_t columns;
	size_t n; /* cells */
	char **cells; /* owned */
};

#define _cleanup_table_ _cleanup_(table_free)

void table_free(struct table *t);
/* One cell, copied; rows fill from the left. NULL and "" print as "-". */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Columns as wide as their widest cell, no blanks at the end of a line. */
void table_print(const struct table *t, FILE *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The series that share labels: rows of values under one set of labels. Rows whose labels come
 * out equal are one series to Prometheus, so they become one row.
 */
#ifndef WEIR_EXPORTER_TABLE_H
#define WEIR_EXPORTER_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define TABLE_COLUMNS 12

union value {
	uint64_t count;
	double seconds;
};

struct row {
	char *labels; /* as they stand between braces, owned */
	union value values[TABLE_COLUMNS];
};

struct series_table {
	struct row *rows;
	size_t n, cap;
};

/* Adds a row of zeros; takes the labels' text and leaves the buffer empty. Valid until the next. */
struct row *series_add(struct series_table *t, struct buf *labels);
/* Sorts by labels; of rows with equal labels the first remains, with the sum of their counts. */
void series_merge(struct series_table *t);
void series_free(struct series_table *t);

#endif

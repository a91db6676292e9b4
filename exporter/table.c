/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/table.h"

#include <stdlib.h>
#include <string.h>

struct row *series_add(struct series_table *t, struct buf *labels)
{
	struct row *row;

	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 16;
		t->rows = xrealloc(t->rows, t->cap * sizeof(*t->rows));
	}
	row = &t->rows[t->n++];
	*row = (struct row){ .labels = xstrdup(buf_text(labels)) };
	buf_free(labels);
	return row;
}

static int compare_labels(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return strcmp(x->labels, y->labels);
}

void series_merge(struct series_table *t)
{
	size_t kept = 0;

	if (t->n)
		qsort(t->rows, t->n, sizeof(*t->rows), compare_labels);
	for (size_t i = 0; i < t->n; i++) {
		struct row *last = kept ? &t->rows[kept - 1] : NULL;

		if (!last || strcmp(last->labels, t->rows[i].labels)) {
			t->rows[kept++] = t->rows[i];
			continue;
		}
		for (size_t c = 0; c < TABLE_COLUMNS; c++)
			last->values[c].count += t->rows[i].values[c].count;
		free(t->rows[i].labels);
	}
	t->n = kept;
}

void series_free(struct series_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->rows[i].labels);
	free(t->rows);
	*t = (struct series_table){ 0 };
}

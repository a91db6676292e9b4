/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/columns.h"

#include <stdarg.h>
#include <string.h>

#include "base/buf.h"

#define GAP 3

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->n = 0;
}

void table_add(struct table *t, const char *text)
{
	t->cells = xrealloc(t->cells, (t->n + 1) * sizeof(*t->cells));
	t->cells[t->n++] = xstrdup(text && *text ? text : "-");
}

void table_addf(struct table *t, const char *fmt, ...)
{
	_cleanup_buf_ struct buf b = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	table_add(t, buf_text(&b));
}

static size_t column_width(const struct table *t, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < t->n; i += t->columns)
		if (strlen(t->cells[i]) > width)
			width = strlen(t->cells[i]);
	return width;
}

void table_print(const struct table *t, FILE *out)
{
	_cleanup_free_ size_t *widths = xcalloc(t->columns, sizeof(*widths));

	for (size_t c = 0; c < t->columns; c++)
		widths[c] = column_width(t, c);
	for (size_t i = 0; i < t->n; i++) {
		size_t c = i % t->columns;

		if (c == t->columns - 1 || i == t->n - 1)
			fprintf(out, "%s\n", t->cells[i]);
		else
			fprintf(out, "%-*s", (int)(widths[c] + GAP), t->cells[i]);
	}
}

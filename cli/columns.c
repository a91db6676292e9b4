/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/columns.h"

#include <stdarg.h>
#include <string.h>

#include "base/buf.h"

#define GAP	  3
#define GAP_MIN	  1
#define MIN_WIDTH 6 /* of a column that shrinks */

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
	if (!(t->n & (t->n - 1))) /* room doubles at powers of two */
		t->cells = xrealloc(t->cells, (t->n ? t->n * 2 : 1) * sizeof(*t->cells));
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

void table_shorten(const char *text, char *ret, size_t room)
{
	size_t len = strlen(text), head = room / 2 - 1, tail = room - head - 2;

	if (len < room) {
		memcpy(ret, text, len + 1);
		return;
	}
	memcpy(ret, text, head);
	ret[head] = '~';
	memcpy(ret + head + 1, text + len - tail, tail + 1);
}

static size_t column_width(const struct table *t, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < t->n; i += t->columns)
		if (strlen(t->cells[i]) > width)
			width = strlen(t->cells[i]);
	return width;
}

static size_t sum(const size_t *widths, size_t n)
{
	size_t total = 0;

	for (size_t c = 0; c < n; c++)
		total += widths[c];
	return total;
}

/* The column to take a character from; NULL when none can give more. */
static size_t *widest(const struct table *t, size_t *widths)
{
	size_t *found = NULL;

	for (size_t c = 0; c < t->columns; c++)
		if (t->layout && t->layout[c].shrinks && widths[c] > MIN_WIDTH &&
		    (!found || widths[c] > *found))
			found = &widths[c];
	return found;
}

/* Makes widths fit; returns the gap. */
static size_t fit(const struct table *t, size_t *widths)
{
	size_t gaps = t->columns - 1, gap = GAP, *column;

	if (!t->width)
		return gap;
	while (gap > GAP_MIN && sum(widths, t->columns) + gaps * gap > t->width)
		gap--;
	while (sum(widths, t->columns) + gaps * gap > t->width && (column = widest(t, widths)))
		(*column)--;
	return gap;
}

static void print_cell(const char *text, size_t width, bool right, bool last, FILE *out)
{
	_cleanup_free_ char *shown = xcalloc(1, width + 1);

	table_shorten(text, shown, width + 1);
	if (right)
		fprintf(out, "%*s", (int)width, shown);
	else if (last)
		fputs(shown, out);
	else
		fprintf(out, "%-*s", (int)width, shown);
}

void table_print(const struct table *t, FILE *out)
{
	_cleanup_free_ size_t *widths = xcalloc(t->columns, sizeof(*widths));
	size_t gap;

	for (size_t c = 0; c < t->columns; c++)
		widths[c] = column_width(t, c);
	gap = fit(t, widths);
	for (size_t i = 0; i < t->n; i++) {
		size_t c = i % t->columns;
		bool last = c == t->columns - 1 || i == t->n - 1;

		print_cell(t->cells[i], widths[c], t->layout && t->layout[c].right, last, out);
		if (last)
			putc('\n', out);
		else
			fprintf(out, "%*s", (int)gap, "");
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/columns.h"

#include <stdarg.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

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
	t->cells[t->n] = xstrdup(text && *text ? text : "-");
	utf8_disarm(t->cells[t->n++]);
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

char *table_shorten(const char *text, size_t width)
{
	size_t columns = utf8_columns(text), head, tail, start;

	if (columns <= width)
		return xstrdup(text);
	if (!width)
		return xstrdup("");
	head = (width + 1) / 2 - 1;
	tail = width - head - 1;
	start = utf8_fit(text, columns - tail);
	if (columns - utf8_columns(text + start) < columns - tail) /* half a wide letter is none */
		start += utf8_len(text + start, strlen(text + start)) ?: 1;
	return xasprintf("%.*s~%s", (int)utf8_fit(text, head), text, text + start);
}

static size_t column_width(const struct table *t, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < t->n; i += t->columns)
		if (utf8_columns(t->cells[i]) > width)
			width = utf8_columns(t->cells[i]);
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
	_cleanup_free_ char *shown = table_shorten(text, width);
	int blanks = (int)(width - utf8_columns(shown));

	fprintf(out, "%*s%s%*s", right ? blanks : 0, "", shown, right || last ? 0 : blanks, "");
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

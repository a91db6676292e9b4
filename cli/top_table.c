/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "cli/columns.h"
#include "cli/top.h"
#include "cli/units.h"

const char *const top_view_names[TOP_VIEWS] = {
	[TOP_WORKLOADS] = "workloads",
	[TOP_PODS] = "pods",
	[TOP_EDGES] = "edges",
	[TOP_CONNS] = "connections",
};

static int greatest_first(double a, double b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

#define COMPARE(member)                                                               \
	static int compare_##member(const struct top_row *a, const struct top_row *b) \
	{                                                                             \
		return greatest_first((double)a->member, (double)b->member);          \
	}
/* clang-format off */
COMPARE(sent)
COMPARE(received)
COMPARE(opened)
COMPARE(failed)
COMPARE(retransmitted)
COMPARE(rtt)
/* clang-format on */

static int compare_bytes(const struct top_row *a, const struct top_row *b)
{
	return greatest_first(a->sent + a->received, b->sent + b->received);
}

static int compare_open(const struct top_row *a, const struct top_row *b)
{
	return greatest_first((double)a->totals.open, (double)b->totals.open);
}

static int compare_name(const struct top_row *a, const struct top_row *b)
{
	int r = strcmp(a->name, b->name);

	return r ? r : strcmp(a->peer ?: "", b->peer ?: "");
}

const struct top_column top_columns[] = {
	{ "name", "NAME", 'N', compare_name },
	{ "bytes", NULL, 'B', compare_bytes },
	{ "sent", "SENT", 'S', compare_sent },
	{ "received", "RECV", 'V', compare_received },
	{ "conns", "CONN", 'C', compare_opened },
	{ "open", "OPEN", 'O', compare_open },
	{ "failed", "FAIL", 'F', compare_failed },
	{ "rtt", "RTT", 'T', compare_rtt },
	{ "retransmits", "RETR", 'X', compare_retransmitted },
};
const size_t top_columns_n = ARRAY_SIZE(top_columns);

static int compare(const void *a, const void *b, void *ctx)
{
	const struct top_row *p = *(const struct top_row *const *)a,
			     *q = *(const struct top_row *const *)b;
	const struct top *t = ctx;
	int r = top_columns[t->sort].compare(p, q);

	if (!r)
		return compare_name(p, q);
	return t->reverse ? -r : r;
}

static bool moves(const struct top_row *row)
{
	return row->sent || row->received || row->opened || row->failed || row->retransmitted;
}

static bool is_wanted(const struct top *t, const struct top_row *row)
{
	const char *filter = t->filter ?: "";

	return (t->active ? moves(row) : row->busy) &&
	       (strstr(row->name, filter) || (row->peer && strstr(row->peer, filter)));
}

const struct top_row **top_order(const struct top *t, size_t *ret_n)
{
	const struct top_row **rows = xcalloc(t->sample.n + 1, sizeof(*rows));
	size_t n = 0;

	for (size_t i = 0; i < t->sample.n; i++)
		if (is_wanted(t, &t->sample.rows[i]))
			rows[n++] = &t->sample.rows[i];
	if (n)
		qsort_r(rows, n, sizeof(*rows), compare, (void *)t);
	*ret_n = n;
	return rows;
}

static void write_head(const struct top *t, const struct top_row *const *rows, size_t n,
		       size_t width, FILE *out)
{
	char clock[16], sent[UNITS_TEXT], received[UNITS_TEXT], opened[UNITS_TEXT],
		failed[UNITS_TEXT];
	_cleanup_free_ char *line = NULL, *cut = NULL;
	struct top_row sum = { 0 };

	for (size_t i = 0; i < n; i++) {
		sum.sent += rows[i]->sent;
		sum.received += rows[i]->received;
		sum.opened += rows[i]->opened;
		sum.failed += rows[i]->failed;
		sum.totals.open += rows[i]->totals.open;
	}
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&t->taken));
	line = xasprintf("weir top - %s, %zu %s%s by %s%s%s%s", clock, n,
			 t->active ? "active " : "", top_view_names[t->view],
			 top_columns[t->sort].name, t->reverse ? " reversed" : "",
			 t->filter && *t->filter ? ", with " : "", t->filter ?: "");
	utf8_disarm(line);
	cut = table_shorten(line, width ?: SIZE_MAX);
	fprintf(out, "%s\n", cut);
	free(line);
	free(cut);
	line = xasprintf("a second: sent %s, received %s, opened %s, failed %s; open: %llu",
			 units_bytes(sum.sent, sent), units_bytes(sum.received, received),
			 units_rate(sum.opened, opened), units_rate(sum.failed, failed),
			 (unsigned long long)sum.totals.open);
	cut = table_shorten(line, width ?: SIZE_MAX);
	fprintf(out, "%s\n\n", cut);
}

static void add_row(struct table *table, const struct top *t, const struct top_row *row)
{
	char text[UNITS_TEXT];

	table_add(table, row->name);
	if (t->view >= TOP_EDGES) {
		table_add(table, row->direction);
		table_add(table, row->peer);
	}
	table_add(table, units_bytes(row->sent, text));
	table_add(table, units_bytes(row->received, text));
	if (t->view != TOP_CONNS) {
		table_add(table, row->udp ? NULL : units_rate(row->opened, text));
		if (row->udp)
			table_add(table, NULL);
		else
			table_addf(table, "%llu", (unsigned long long)row->totals.open);
		table_add(table, row->udp || row->live ? NULL : units_rate(row->failed, text));
	}
	table_add(table, units_rtt(row->rtt, text));
	table_add(table, row->udp ? NULL : units_rate(row->retransmitted, text));
	if (t->view >= TOP_EDGES)
		table_addf(table, "%.*s", (int)strcspn(row->via, "_"), row->via);
}

/* The sorted column's head is marked, as it is the one that < and > move. */
static void add_heads(struct table *table, const struct top *t)
{
	static const char *const firsts[] = { "WORKLOAD", "POD", "WORKLOAD", "POD" };

	table_add(table, firsts[t->view]);
	if (t->view >= TOP_EDGES) {
		table_add(table, "DIR");
		table_add(table, "PEER");
	}
	for (size_t i = 0; i < top_columns_n; i++) {
		const struct top_column *c = &top_columns[i];
		bool counts = c->compare == compare_opened || c->compare == compare_open ||
			      c->compare == compare_failed;

		if (c->compare == compare_name || !c->header || (t->view == TOP_CONNS && counts))
			continue;
		table_addf(table, "%s%s", i == t->sort ? "*" : "", c->header);
	}
	if (t->view >= TOP_EDGES)
		table_add(table, "VIA");
}

#define MAX_COLUMNS 11

void top_write(const struct top *t, size_t width, size_t skip, struct buf *out)
{
	static const size_t columns[TOP_VIEWS] = { 8, 8, 11, 8 };
	struct table_column layout[MAX_COLUMNS] = { { .shrinks = true } };
	struct table table = { .columns = columns[t->view], .layout = layout, .width = width };
	size_t n, first = t->view >= TOP_EDGES ? 3 : 1;
	_cleanup_free_ const struct top_row **rows = top_order(t, &n);
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	layout[2].shrinks = t->view >= TOP_EDGES;
	for (size_t c = first; c < table.columns; c++)
		layout[c].right = t->view < TOP_EDGES || c < table.columns - 1;
	write_head(t, rows, n, width, f);
	add_heads(&table, t);
	for (size_t i = skip; i < n; i++)
		add_row(&table, t, rows[i]);
	table_print(&table, f);
	fclose(f);
	buf_add(out, text, len);
	table_free(&table);
}

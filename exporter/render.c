/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/render.h"

#include <string.h>

#include "base/cleanup.h"
#include "exporter/families.h"
#include "exporter/labels.h"
#include "exporter/text.h"

enum kind { COUNTER, GAUGE, INFO, SECONDS, SECONDS_COUNTER, HISTOGRAM };

static const enum text_type kind_types[] = {
	[COUNTER] = TEXT_COUNTER,
	[GAUGE] = TEXT_GAUGE,
	[INFO] = TEXT_INFO,
	[SECONDS] = TEXT_GAUGE,
	[SECONDS_COUNTER] = TEXT_COUNTER,
	[HISTOGRAM] = TEXT_HISTOGRAM,
};

struct family {
	enum table_id table;
	enum column column;
	enum kind kind;
	const char *name;
	const char *help;
};

static const struct family families[] = {
#define METRIC(TABLE, COLUMN, KIND, name, help) \
	{ TABLE_##TABLE, COLUMN_##COLUMN, KIND, #name, help },
#include "exporter/metrics.def"
};

static void fill_verdicts(const struct snapshot *s, struct series_table *tables)
{
	for (size_t i = 0; i < s->n_verdicts; i++) {
		const struct weir_verdict_key *key = &s->verdicts[i].key;
		struct buf labels = { 0 };

		label_workload(&labels, s, key->workload);
		LABEL(&labels, "direction", name_direction(key->direction));
		LABEL(&labels, "verdict", name_verdict(key->verdict));
		LABEL(&labels, "reason", name_reason(key->reason));
		series_add(&tables[TABLE_VERDICTS], &labels)->values[COLUMN_COUNT].count =
			s->verdicts[i].count;
	}
}

static void fill_inputs(const struct snapshot_pod *pod, struct series_table *table)
{
	struct buf labels = { 0 };
	union value *v;

	if (!pod->errors && !pod->warnings)
		return;
	LABEL(&labels, "namespace", pod->namespace);
	LABEL(&labels, "pod", pod->pod);
	v = series_add(table, &labels)->values;
	v[COLUMN_ERRORS_NOW].count = pod->errors;
	v[COLUMN_WARNINGS].count = pod->warnings;
}

static void fill_pods(const struct snapshot *s, struct series_table *tables)
{
	for (size_t i = 0; i < s->n_pods; i++) {
		const struct snapshot_pod *pod = &s->pods[i];
		struct buf labels = { 0 };

		LABEL(&labels, "mesh", pod->mesh);
		LABEL(&labels, "state", pod->state);
		series_add(&tables[TABLE_PODS], &labels)->values[COLUMN_COUNT].count = 1;

		LABEL(&labels, "found_by", pod->found_by);
		series_add(&tables[TABLE_PODS_FOUND], &labels)->values[COLUMN_COUNT].count = 1;

		LABEL(&labels, "namespace", pod->namespace);
		LABEL(&labels, "pod", pod->pod);
		LABEL(&labels, "workload", pod->workload);
		LABEL(&labels, "mesh", pod->mesh);
		LABEL(&labels, "state", pod->state);
		LABEL(&labels, "node", pod->node);
		series_add(&tables[TABLE_POD_INFO], &labels);
		fill_inputs(pod, &tables[TABLE_POD_INPUTS]);
	}
	series_merge(&tables[TABLE_POD_INFO]);
	for (size_t i = 0; i < tables[TABLE_POD_INFO].n; i++)
		tables[TABLE_POD_INFO].rows[i].values[COLUMN_COUNT].count = 1;
}

static void fill_kernel(const struct snapshot *s, struct series_table *tables)
{
	const uint64_t *lost = s->counters;
	struct buf labels = { 0 };
	union value *v;

	for (size_t i = 0; i < s->n_hooks; i++) {
		LABEL(&labels, "hook", s->hooks[i].hook);
		v = series_add(&tables[TABLE_HOOKS], &labels)->values;
		v[COLUMN_COUNT].count = s->hooks[i].attached;
	}
	for (size_t i = 0; i < s->n_maps; i++) {
		LABEL(&labels, "map", s->maps[i].map);
		v = series_add(&tables[TABLE_MAPS], &labels)->values;
		v[COLUMN_COUNT].count = s->maps[i].entries;
		v[COLUMN_CAPACITY].count = s->maps[i].max_entries;
		if (s->maps[i].full < 0)
			continue;
		LABEL(&labels, "map", s->maps[i].map);
		v = series_add(&tables[TABLE_MAPS_FULL], &labels)->values;
		v[COLUMN_COUNT].count = (uint64_t)s->maps[i].full;
	}
	v = series_add(&tables[TABLE_LOSSES], &labels)->values;
	v[COLUMN_UNTRACKED].count = lost[WEIR_COUNTER_UNTRACKED_SOCKETS];
	v[COLUMN_OVERFLOW].count = lost[WEIR_COUNTER_FLOW_OVERFLOW];
	v[COLUMN_UDP_OVERFLOW].count = lost[WEIR_COUNTER_UDP_OVERFLOW];
	v[COLUMN_EVENTS_LOST].count = lost[WEIR_COUNTER_ORIGDST_LOST] +
				      lost[WEIR_COUNTER_LISTENER_LOST] +
				      lost[WEIR_COUNTER_VERDICT_LOST];
}

static void fill_kubernetes(const struct snapshot *s, struct series_table *tables)
{
	struct buf labels = { 0 };

	for (size_t i = 0; i < s->n_kubernetes; i++) {
		const struct snapshot_kubernetes *k = &s->kubernetes[i];
		union value *v;

		LABEL(&labels, "resource", k->resource);
		v = series_add(&tables[TABLE_KUBERNETES], &labels)->values;
		v[COLUMN_UP].count = k->up;
		v[COLUMN_OBJECTS].count = k->objects;
		v[COLUMN_BROKEN].count = k->broken;
		v[COLUMN_HEARD].seconds = k->last_sync;
		v[COLUMN_LISTS].count = k->lists;
		v[COLUMN_ERRORS].count = k->errors;
	}
}

static void fill_agent(const struct snapshot *s, struct series_table *tables)
{
	const struct snapshot_process *p = &s->process;
	const char *version = s->version ? s->version : "unknown";
	const char *revision = s->revision ? s->revision : "unknown";
	struct buf labels = { 0 };
	union value *v;

	LABEL(&labels, "version", version);
	LABEL(&labels, "revision", revision);
	series_add(&tables[TABLE_BUILD], &labels)->values[COLUMN_COUNT].count = 1;

	v = series_add(&tables[TABLE_SCRAPE], &labels)->values;
	v[COLUMN_SECONDS].seconds = s->scrape_duration;
	if (s->last_sync > 0) {
		v = series_add(&tables[TABLE_SYNC], &labels)->values;
		v[COLUMN_SECONDS].seconds = s->last_sync;
	}
	v = series_add(&tables[TABLE_PROCESS], &labels)->values;
	v[COLUMN_CPU].seconds = p->cpu_seconds;
	v[COLUMN_START].seconds = p->start_time_seconds;
	v[COLUMN_OPEN_FDS].count = p->open_fds;
	v[COLUMN_MAX_FDS].count = p->max_fds;
	v[COLUMN_VIRTUAL].count = p->virtual_bytes;
	v[COLUMN_RESIDENT].count = p->resident_bytes;
}

static void write_number(struct buf *out, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	buf_add(out, digits + at, sizeof(digits) - at);
}

static void write_labels(struct buf *out, const struct row *row)
{
	if (row->labels[0]) {
		buf_str(out, "{");
		buf_str(out, row->labels);
		buf_str(out, "}");
	}
	buf_str(out, " ");
}

static void write_sample(struct buf *out, const struct family *family, const struct row *row)
{
	const union value *value = &row->values[family->column];

	buf_str(out, family->name);
	write_labels(out, row);
	if (family->kind == SECONDS || family->kind == SECONDS_COUNTER)
		buf_printf(out, "%.6f", value->seconds);
	else
		write_number(out, value->count);
	buf_str(out, "\n");
}

/* As OpenMetrics wants them: the shortest number that has a point. */
static const char *const bounds[] = { "0.0001", "0.0005", "0.001", "0.005", "0.01", "0.05",
				      "0.1",	"0.5",	  "1.0",   "5.0",   "+Inf" };
_Static_assert(ARRAY_SIZE(bounds) == WEIR_TIME_BUCKETS, "one for each bucket");

static void write_histogram(struct buf *out, const struct family *family, const struct row *row)
{
	const union value *values = row->values;
	uint64_t count = 0;

	for (size_t i = 0; i < WEIR_TIME_BUCKETS; i++) {
		count += values[COLUMN_BUCKETS + i].count;
		buf_printf(out, "%s_bucket{%s%sle=\"%s\"} ", family->name, row->labels,
			   row->labels[0] ? "," : "", bounds[i]);
		write_number(out, count);
		buf_str(out, "\n");
	}
	buf_printf(out, "%s_sum", family->name);
	write_labels(out, row);
	buf_printf(out, "%.6f\n%s_count", (double)values[COLUMN_SUM_US].count / 1e6, family->name);
	write_labels(out, row);
	write_number(out, count);
	buf_str(out, "\n");
}

static void write_family(struct buf *out, enum render_format format, const struct family *family,
			 const struct series_table *table)
{
	if (!table->n)
		return;
	text_family(out, format, kind_types[family->kind], family->name, family->help);
	for (size_t i = 0; i < table->n; i++)
		if (family->kind == HISTOGRAM)
			write_histogram(out, family, &table->rows[i]);
		else
			write_sample(out, family, &table->rows[i]);
}

void render_snapshot(const struct snapshot *s, enum render_format format, struct buf *out)
{
	struct series_table tables[TABLE_MAX] = { 0 };

	fill_flows(s, tables);
	fill_istio(s, &tables[TABLE_ISTIO]);
	fill_verdicts(s, tables);
	fill_pods(s, tables);
	fill_kernel(s, tables);
	fill_kubernetes(s, tables);
	fill_agent(s, tables);
	for (size_t i = 0; i < TABLE_MAX; i++)
		series_merge(&tables[i]);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		write_family(out, format, &families[i], &tables[families[i].table]);
	if (format == RENDER_OPENMETRICS)
		buf_str(out, "# EOF\n");
	for (size_t i = 0; i < TABLE_MAX; i++)
		series_free(&tables[i]);
}

static const struct {
	const char *labels;
	const char *about;
} table_docs[] = {
#define METRIC_TABLE(TABLE, labels, about) { labels, about },
#include "exporter/metrics.def"
};

static const struct {
	const char *title;
	const char *text;
} notes[] = {
#define METRIC_NOTE(title, text) { title, text },
#include "exporter/metrics.def"
};

void metrics_markdown(struct buf *out)
{
	enum table_id last = TABLE_MAX;

	buf_str(out, "<!-- SPDX-License-Identifier: Apache-2.0 -->\n# Metrics\n\nMade from "
		     "exporter/metrics.def by `weir`; do not edit.\n");
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];

		if (f->table != last) {
			buf_printf(out, "\n%s\n\n", table_docs[f->table].about);
			if (table_docs[f->table].labels[0])
				buf_printf(out, "Labels: %s\n\n", table_docs[f->table].labels);
			buf_str(out, "| metric | type | meaning |\n|---|---|---|\n");
		}
		last = f->table;
		buf_printf(out, "| `%s` | %s | %s |\n", f->name,
			   text_type_name(kind_types[f->kind], RENDER_TEXT), f->help);
	}
	buf_str(out, "\n# What is counted exactly\n");
	for (size_t i = 0; i < ARRAY_SIZE(notes); i++)
		buf_printf(out, "\n## %s\n\n%s\n", notes[i].title, notes[i].text);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/render.h"

#include <string.h>

#include "base/cleanup.h"
#include "exporter/labels.h"
#include "exporter/table.h"
#include "exporter/text.h"

enum table_id {
#define METRIC_TABLE(TABLE, labels, about) TABLE_##TABLE,
#include "exporter/metrics.def"
	TABLE_MAX
};

/* Where in a row's values a family finds its own. */
enum column {
	COLUMN_COUNT = 0,
	COLUMN_SECONDS = 0,

	COLUMN_SENT = 0, /* FLOWS, LEGS */
	COLUMN_RECEIVED,
	COLUMN_OPENED,
	COLUMN_CLOSED,
	COLUMN_RETRANSMITTED,
	COLUMN_OPEN,

	COLUMN_ERRORS_NOW = 0, /* POD_INPUTS */
	COLUMN_WARNINGS,

	COLUMN_CAPACITY = 1, /* MAPS, with COUNT */

	COLUMN_UNTRACKED = 0, /* LOSSES */
	COLUMN_EVENTS_LOST,
	COLUMN_OVERFLOW,

	COLUMN_UP = 0, /* KUBERNETES */
	COLUMN_OBJECTS,
	COLUMN_BROKEN,
	COLUMN_HEARD,
	COLUMN_LISTS,
	COLUMN_ERRORS,

	COLUMN_CPU = 0, /* PROCESS */
	COLUMN_OPEN_FDS,
	COLUMN_MAX_FDS,
	COLUMN_VIRTUAL,
	COLUMN_RESIDENT,
	COLUMN_START,
};

_Static_assert(COLUMN_START < TABLE_COLUMNS, "a row is too narrow");

enum kind { COUNTER, GAUGE, INFO, SECONDS, SECONDS_COUNTER };

static const enum text_type kind_types[] = {
	[COUNTER] = TEXT_COUNTER,
	[GAUGE] = TEXT_GAUGE,
	[INFO] = TEXT_INFO,
	[SECONDS] = TEXT_GAUGE,
	[SECONDS_COUNTER] = TEXT_COUNTER,
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

#define LABEL(labels, name, text)	 text_label(labels, name, text, strlen(text))
#define LABEL_ARRAY(labels, name, array) text_label(labels, name, array, sizeof(array))

/* All labels of a flow but the last, `via` or `leg`. */
static void flow_labels(const struct snapshot *s, const struct weir_flow_key *key,
			struct buf *labels)
{
	const struct weir_name *workload = name_of(s, key->workload), *peer = name_of(s, key->peer);
	char port[16];

	LABEL_ARRAY(labels, "namespace", workload->namespace);
	LABEL_ARRAY(labels, "workload", workload->name);
	LABEL_ARRAY(labels, "workload_kind", workload->kind);
	LABEL(labels, "direction", name_direction(key->direction));
	LABEL_ARRAY(labels, "peer_namespace", peer->namespace);
	LABEL_ARRAY(labels, "peer_workload", peer->name);
	LABEL_ARRAY(labels, "peer_service", name_of_service(s, key->service)->name);
	LABEL(labels, "port", name_port(key->port, port));
}

static void fill_flow(const struct snapshot *s, const struct snapshot_flow *flow, int leg,
		      struct series_table *table)
{
	const struct weir_flow *from = &flow->value;
	struct buf labels = { 0 };
	union value *to;

	flow_labels(s, &flow->key, &labels);
	if (leg)
		LABEL(&labels, "leg", name_leg(flow->key.via));
	else
		LABEL(&labels, "via", name_via(flow->key.via));
	to = series_add(table, &labels)->values;
	to[COLUMN_SENT].count = from->sent;
	to[COLUMN_RECEIVED].count = from->received;
	to[COLUMN_OPENED].count = from->opened;
	to[COLUMN_CLOSED].count = from->closed;
	to[COLUMN_RETRANSMITTED].count = from->retransmitted;
}

static void fill_failed(const struct snapshot *s, const struct snapshot_flow *flow,
			struct series_table *table)
{
	for (int i = 0; i < WEIR_FAILED_MAX; i++) {
		struct buf labels = { 0 };

		if (!flow->value.failed[i])
			continue;
		flow_labels(s, &flow->key, &labels);
		LABEL(&labels, "via", name_via(flow->key.via));
		LABEL(&labels, "reason", name_failure((enum weir_failure)i));
		series_add(table, &labels)->values[COLUMN_COUNT].count = flow->value.failed[i];
	}
}

static void fill_flows(const struct snapshot *s, struct series_table *tables)
{
	struct series_table *own = &tables[TABLE_FLOWS];

	for (size_t i = 0; i < s->n_flows; i++) {
		const struct snapshot_flow *flow = &s->flows[i];
		int leg = flow->key.via == WEIR_VIA_LEG_NETWORK ||
			  flow->key.via == WEIR_VIA_LEG_APPLICATION;

		fill_flow(s, flow, leg, leg ? &tables[TABLE_LEGS] : own);
		if (!leg)
			fill_failed(s, flow, &tables[TABLE_FAILED]);
	}
	series_merge(own);
	for (size_t i = 0; i < own->n; i++) {
		union value *v = own->rows[i].values;
		uint64_t opened = v[COLUMN_OPENED].count, closed = v[COLUMN_CLOSED].count;

		/* Read while both move: closed may be the newer one. */
		v[COLUMN_OPEN].count = opened > closed ? opened - closed : 0;
	}
}

static void fill_verdicts(const struct snapshot *s, struct series_table *tables)
{
	for (size_t i = 0; i < s->n_verdicts; i++) {
		const struct weir_verdict_key *key = &s->verdicts[i].key;
		const struct weir_name *workload = name_of(s, key->workload);
		struct buf labels = { 0 };

		LABEL_ARRAY(&labels, "namespace", workload->namespace);
		LABEL_ARRAY(&labels, "workload", workload->name);
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
	}
	v = series_add(&tables[TABLE_LOSSES], &labels)->values;
	v[COLUMN_UNTRACKED].count = lost[WEIR_COUNTER_UNTRACKED_SOCKETS];
	v[COLUMN_OVERFLOW].count = lost[WEIR_COUNTER_FLOW_OVERFLOW];
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

static void write_sample(struct buf *out, const struct family *family, const struct row *row)
{
	const union value *value = &row->values[family->column];

	buf_str(out, family->name);
	if (row->labels[0]) {
		buf_str(out, "{");
		buf_str(out, row->labels);
		buf_str(out, "}");
	}
	buf_str(out, " ");
	if (family->kind == SECONDS || family->kind == SECONDS_COUNTER)
		buf_printf(out, "%.6f", value->seconds);
	else
		write_number(out, value->count);
	buf_str(out, "\n");
}

static void write_family(struct buf *out, enum render_format format, const struct family *family,
			 const struct series_table *table)
{
	if (!table->n)
		return;
	text_family(out, format, kind_types[family->kind], family->name, family->help);
	for (size_t i = 0; i < table->n; i++)
		write_sample(out, family, &table->rows[i]);
}

void render_snapshot(const struct snapshot *s, enum render_format format, struct buf *out)
{
	struct series_table tables[TABLE_MAX] = { 0 };

	fill_flows(s, tables);
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
}

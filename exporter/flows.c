/* SPDX-License-Identifier: Apache-2.0 */
/* Flows as series: a workload's own connections in one set of tables, its proxy's legs in another.
 */
#include <string.h>

#include "exporter/families.h"
#include "exporter/labels.h"

/* The tables of one kind of leg; each flow has a row in the first, in the others when it has such.
 */
struct kind_tables {
	enum table_id totals, failed, found, connect, rtt, tls;
};

static const struct kind_tables own_tables = { TABLE_FLOWS,   TABLE_FAILED, TABLE_FOUND,
					       TABLE_CONNECT, TABLE_RTT,    TABLE_TLS };
static const struct kind_tables leg_tables = { TABLE_LEGS,	  TABLE_LEG_FAILED, TABLE_LEG_FOUND,
					       TABLE_LEG_CONNECT, TABLE_LEG_RTT,    TABLE_LEG_TLS };

static bool is_leg(const struct weir_flow_key *key)
{
	return key->via == WEIR_VIA_LEG_NETWORK || key->via == WEIR_VIA_LEG_APPLICATION;
}

static struct buf flow_labels(const struct snapshot *s, const struct weir_flow_key *key)
{
	const struct weir_name *workload = name_of(s, key->workload), *peer = name_of(s, key->peer);
	struct buf labels = { 0 };
	char port[16];

	label_workload(&labels, s, key->workload);
	LABEL_ARRAY(&labels, "workload_kind", workload->kind);
	LABEL(&labels, "direction", name_direction(key->direction));
	LABEL_ARRAY(&labels, "peer_namespace", peer->namespace);
	LABEL_ARRAY(&labels, "peer_workload", peer->name);
	LABEL_ARRAY(&labels, "peer_service", name_of_service(s, key->service)->name);
	LABEL(&labels, "port", name_port(key->port, port));
	if (is_leg(key))
		LABEL(&labels, "leg", name_leg(key->via));
	else
		LABEL(&labels, "via", name_via(key->via));
	return labels;
}

static void fill_totals(const struct snapshot *s, const struct snapshot_flow *flow,
			struct series_table *table)
{
	struct buf labels = flow_labels(s, &flow->key);
	const struct weir_flow *from = &flow->value;
	union value *to = series_add(table, &labels)->values;
	uint64_t opened = flow_opened(from);

	to[COLUMN_SENT].count = from->sent;
	to[COLUMN_RECEIVED].count = from->received;
	to[COLUMN_OPENED].count = opened;
	to[COLUMN_CLOSED].count = from->closed;
	to[COLUMN_OPEN].count = opened - from->closed;
	to[COLUMN_RETRANSMITTED].count = from->retransmitted;
}

static void fill_failed(const struct snapshot *s, const struct snapshot_flow *flow,
			struct series_table *table)
{
	for (int i = 0; i < WEIR_FAILED_MAX; i++) {
		struct buf labels;

		if (!flow->value.failed[i])
			continue;
		labels = flow_labels(s, &flow->key);
		LABEL(&labels, "reason", name_failure((enum weir_failure)i));
		series_add(table, &labels)->values[COLUMN_COUNT].count = flow->value.failed[i];
	}
}

static void fill_found(const struct snapshot *s, const struct snapshot_flow *flow,
		       struct series_table *table)
{
	struct buf labels;

	if (!flow->value.found)
		return;
	labels = flow_labels(s, &flow->key);
	series_add(table, &labels)->values[COLUMN_COUNT].count = flow->value.found;
}

static void fill_tls(const struct snapshot *s, const struct snapshot_flow *flow,
		     struct series_table *table)
{
	for (int i = 0; i < WEIR_TLS_MAX; i++) {
		struct buf labels;

		if (!flow->value.tls[i])
			continue;
		labels = flow_labels(s, &flow->key);
		LABEL(&labels, "tls", name_tls((enum weir_tls)i));
		series_add(table, &labels)->values[COLUMN_COUNT].count = flow->value.tls[i];
	}
}

static void fill_times(const struct snapshot *s, const struct weir_flow_key *key,
		       const struct weir_times *times, struct series_table *table)
{
	static const struct weir_times none;
	struct buf labels;
	union value *to;

	if (!memcmp(times->count, none.count, sizeof(none.count)))
		return;
	labels = flow_labels(s, key);
	to = series_add(table, &labels)->values;
	to[COLUMN_SUM_US].count = times->sum_us;
	for (int i = 0; i < WEIR_TIME_BUCKETS; i++)
		to[COLUMN_BUCKETS + i].count = times->count[i];
}

static void fill_datagrams(const struct snapshot *s, const struct snapshot_udp_flow *flow,
			   struct series_table *table)
{
	struct buf labels = flow_labels(s, &flow->key);
	const struct weir_udp_flow *from = &flow->value;
	union value *to = series_add(table, &labels)->values;

	to[COLUMN_SENT].count = from->sent;
	to[COLUMN_RECEIVED].count = from->received;
	to[COLUMN_SENT_DATAGRAMS].count = from->sent_datagrams;
	to[COLUMN_RECEIVED_DATAGRAMS].count = from->received_datagrams;
	to[COLUMN_DROPPED].count = from->dropped;
	to[COLUMN_DROPPED_DATAGRAMS].count = from->dropped_datagrams;
}

void fill_flows(const struct snapshot *s, struct series_table tables[TABLE_MAX])
{
	for (size_t i = 0; i < s->n_flows; i++) {
		const struct snapshot_flow *flow = &s->flows[i];
		const struct kind_tables *to = is_leg(&flow->key) ? &leg_tables : &own_tables;

		fill_totals(s, flow, &tables[to->totals]);
		fill_failed(s, flow, &tables[to->failed]);
		fill_found(s, flow, &tables[to->found]);
		fill_tls(s, flow, &tables[to->tls]);
		fill_times(s, &flow->key, &flow->value.connect, &tables[to->connect]);
		fill_times(s, &flow->key, &flow->value.rtt, &tables[to->rtt]);
	}
	for (size_t i = 0; i < s->n_udp_flows; i++) {
		const struct snapshot_udp_flow *flow = &s->udp_flows[i];

		fill_datagrams(s, flow, &tables[is_leg(&flow->key) ? TABLE_LEG_UDP : TABLE_UDP]);
	}
}

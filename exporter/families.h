/* SPDX-License-Identifier: Apache-2.0 */
/* The tables that metrics.def names, and where in a row each of their families finds its value. */
#ifndef WEIR_EXPORTER_FAMILIES_H
#define WEIR_EXPORTER_FAMILIES_H

#include "exporter/snapshot.h"
#include "exporter/table.h"

enum table_id {
#define METRIC_TABLE(TABLE, labels, about) TABLE_##TABLE,
#include "exporter/metrics.def"
	TABLE_MAX
};

/* Where in a row's values a family finds its own. */
enum column {
	COLUMN_COUNT = 0,
	COLUMN_SECONDS = 0,

	COLUMN_SENT = 0, /* FLOWS, LEGS, ISTIO */
	COLUMN_RECEIVED,
	COLUMN_OPENED,
	COLUMN_CLOSED,
	COLUMN_RETRANSMITTED,
	COLUMN_OPEN,

	COLUMN_SENT_DATAGRAMS = 2, /* UDP, LEG_UDP, with SENT and RECEIVED */
	COLUMN_RECEIVED_DATAGRAMS,
	COLUMN_DROPPED,
	COLUMN_DROPPED_DATAGRAMS,

	COLUMN_ERRORS_NOW = 0, /* POD_INPUTS */
	COLUMN_WARNINGS,

	COLUMN_SUM_US = 0, /* histograms */
	COLUMN_BUCKETS, /* WEIR_TIME_BUCKETS of them */

	COLUMN_CAPACITY = 1, /* MAPS, with COUNT */

	COLUMN_UNTRACKED = 0, /* LOSSES */
	COLUMN_EVENTS_LOST,
	COLUMN_OVERFLOW,
	COLUMN_UDP_OVERFLOW,

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
_Static_assert(COLUMN_BUCKETS + WEIR_TIME_BUCKETS <= TABLE_COLUMNS, "a row is too narrow");

/* Read while both moved, closed may be the newer one: so many were opened by then. */
static inline uint64_t flow_opened(const struct weir_flow *flow)
{
	return flow->opened > flow->closed ? flow->opened : flow->closed;
}

/* Fills the tables of workloads' and proxies' connections and datagrams (flows.c). */
void fill_flows(const struct snapshot *s, struct series_table tables[TABLE_MAX]);

/* Fills Istio's own metrics, if they are wanted (istio.c). */
void fill_istio(const struct snapshot *s, struct series_table *table);

#endif

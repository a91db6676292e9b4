/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <time.h>

#include "cli/top.h"

static bool has_peer(const struct top *t)
{
	return t->view >= TOP_EDGES;
}

static void add_edge(json_t *json, const struct top_row *row)
{
	json_object_set_new(json, "direction",
			    json_string(*row->direction == 'i' ? "inbound" : "outbound"));
	json_object_set_new(json, "peer", json_string(row->peer));
	json_object_set_new(json, "protocol", json_string(row->udp ? "udp" : "tcp"));
	json_object_set_new(json, "via", json_string(row->via));
}

static json_t *row_json(const struct top *t, const struct top_row *row)
{
	json_t *json = json_pack("{s:s}", "name", row->name);

	if (has_peer(t))
		add_edge(json, row);
	json_object_set_new(json, "sent_bytes_per_second", json_real(row->sent));
	json_object_set_new(json, "received_bytes_per_second", json_real(row->received));
	json_object_set_new(json, "retransmitted_segments_per_second",
			    row->udp ? json_null() : json_real(row->retransmitted));
	json_object_set_new(json, "rtt_seconds",
			    row->rtt ? json_real(row->rtt / 1e6) : json_null());
	if (t->view == TOP_CONNS)
		return json;
	json_object_set_new(json, "opened_per_second",
			    row->udp ? json_null() : json_real(row->opened));
	json_object_set_new(json, "open",
			    row->udp ? json_null() : json_integer((json_int_t)row->totals.open));
	json_object_set_new(json, "failed_per_second",
			    row->udp || row->live ? json_null() : json_real(row->failed));
	return json;
}

json_t *top_json(const struct top *t)
{
	json_t *list = json_array();
	size_t n;
	_cleanup_free_ const struct top_row **rows = top_order(t, &n);

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, row_json(t, rows[i]));
	return json_pack("{s:I, s:f, s:s, s:s, s:b, s:o}", "time", (json_int_t)t->taken,
			 "interval_seconds", t->interval, "view", top_view_names[t->view], "sort",
			 top_columns[t->sort].name, "reverse", t->reverse, "rows", list);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of weir explain, for people and for machines. */
#include <stdio.h>

#include "base/inet.h"
#include "cli/ctl.h"
#include "cli/explain.h"
#include "cli/columns.h"

static const char *direction_name(const struct explain_query *q)
{
	return q->direction == WEIR_OUTBOUND ? "outbound" : "inbound";
}

static void print_json(const struct explain_query *q, const struct explain_result *r, bool line)
{
	char to[INET_TEXT], dialled[INET_TEXT], from[INET_TEXT];
	_cleanup_json_ json_t *json =
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O}", "verdict",
			  explain_verdict_name(r->answer.verdict), "to",
			  inet_format_endpoint(r->to.addr.ip, r->to.port, to), "reason",
			  explain_reason_name(r->answer.reason), "because", r->because, "pod",
			  r->pod, "direction", direction_name(q), "proto", q->udp ? "udp" : "tcp",
			  "dialled", inet_format_endpoint(q->to.ip, q->port, dialled), "assumed",
			  r->texts.assumed, "notes", r->texts.notes);

	if (q->has_from)
		json_object_set_new(json, "from", json_string(inet_format(q->from.ip, from)));
	if (q->direction == WEIR_OUTBOUND) {
		json_object_set_new(json, "uid", json_integer(q->uid));
		json_object_set_new(json, "gid", json_integer(q->gid));
	}
	if (line)
		json_print_line(json);
	else
		json_print(json);
}

static void add_question(struct table *t, const struct explain_query *q,
			 const struct explain_result *r)
{
	char dialled[INET_TEXT], from[INET_TEXT] = "outside the pod";

	inet_format_endpoint(q->to.ip, q->port, dialled);
	if (q->has_from)
		inet_format(q->from.ip, from);
	table_add(t, "asked");
	if (q->direction == WEIR_INBOUND)
		table_addf(t, "inbound %s to %s at %s, from %s", q->udp ? "udp" : "tcp", r->pod,
			   dialled, from);
	else
		table_addf(t, "outbound %s from %s%s%s to %s, uid %u, gid %u",
			   q->udp ? "udp" : "tcp", r->pod, q->has_from ? " at " : "",
			   q->has_from ? from : "", dialled, q->uid, q->gid);
}

static void add_texts(struct table *t, const char *label, const json_t *texts)
{
	json_t *text;
	size_t i;

	json_array_foreach ((json_t *)texts, i, text) {
		table_add(t, label);
		table_add(t, json_string_value(text));
	}
}

static void print_text(const struct explain_query *q, const struct explain_result *r)
{
	_cleanup_table_ struct table t = { .columns = 2 };
	char to[INET_TEXT];

	table_add(&t, "verdict");
	table_addf(&t, r->answer.verdict == WEIR_REFUSE ? "%s (would have gone to %s)" : "%s to %s",
		   explain_verdict_name(r->answer.verdict),
		   inet_format_endpoint(r->to.addr.ip, r->to.port, to));
	table_add(&t, "reason");
	table_add(&t, explain_reason_name(r->answer.reason));
	table_add(&t, "because");
	table_add(&t, r->because);
	add_question(&t, q, r);
	add_texts(&t, "assumed", r->texts.assumed);
	add_texts(&t, "note", r->texts.notes);
	table_print(&t, stdout);
}

void explain_print(const struct explain_query *q, const struct explain_result *result,
		   enum output output, bool one_of_several)
{
	if (output == OUTPUT_JSON)
		print_json(q, result, one_of_several);
	else
		print_text(q, result);
	if (output != OUTPUT_JSON && one_of_several)
		putchar('\n');
}

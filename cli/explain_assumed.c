/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer takes for granted. Pure. */
#include "base/cleanup.h"
#include "base/inet.h"
#include "cli/explain.h"

static void assume(const struct explain_result *r, char *text)
{
	json_array_append_new(r->texts.assumed, json_string(text));
	free(text);
}

/* Reasons that are the same whoever opens the socket. */
static bool owner_matters(const struct explain_facts *f, enum weir_reason reason)
{
	switch (reason) {
	case WEIR_REASON_NOT_CAPTURED:
	case WEIR_REASON_FAMILY_OFF:
	case WEIR_REASON_NOT_TCP:
	case WEIR_REASON_NOT_UNICAST:
	case WEIR_REASON_SOURCE_LOOPBACK:
	case WEIR_REASON_POLICY_FAILED:
		return false;
	case WEIR_REASON_PORT_EXCLUDED: /* Linkerd asks for the owner first */
	case WEIR_REASON_PASSTHROUGH_SOURCE:
		return f->pod.rules == WEIR_RULES_LINKERD || f->pod.flags & WEIR_POD_TPROXY;
	default:
		return true;
	}
}

static void assume_owner(const struct explain_query *q, const struct explain_facts *f,
			 const struct explain_result *r)
{
	if (q->direction != WEIR_OUTBOUND || !owner_matters(f, r->answer.reason))
		return;
	if (!q->has_uid)
		assume(r, xasprintf("the socket was opened by uid %u (--uid)", q->uid));
	if (!q->has_gid)
		assume(r, xasprintf("the socket was opened by gid %u (--gid)", q->gid));
}

/* Redirected connections stay in the pod and end at a listener that was looked up. */
static void assume_network(const struct explain_query *q, const struct explain_facts *f,
			   const struct explain_result *r)
{
	bool lo = q->direction == WEIR_INBOUND || f->local || weir_addr_is_loopback(&q->to);
	char text[INET_TEXT];

	if (r->answer.verdict != WEIR_DIRECT)
		return;
	if (!lo)
		assume(r, xasprintf("a route leads to %s", inet_format(q->to.ip, text)));
	assume(r, xasprintf("something %s %s", q->udp ? "answers at" : "listens on",
			    inet_format_endpoint(r->to.addr.ip, r->to.port, text)));
}

void explain_assume(const struct explain_query *q, const struct explain_facts *f,
		    const struct explain_result *r)
{
	assume_owner(q, f, r);
	if (q->direction == WEIR_INBOUND && !q->has_from)
		assume(r, xstrdup("it comes from outside the pod (--from)"));
	assume_network(q, f, r);
}

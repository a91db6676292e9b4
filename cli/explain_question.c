/* SPDX-License-Identifier: Apache-2.0 */
/* From a question and the maps' facts to the decision, and to words. Pure. */
#include <string.h>

#include "base/cleanup.h"
#include "cli/explain.h"
#include "maps/link.h"

#define OUT WEIR_OUTBOUND
#define IN  WEIR_INBOUND

const struct explain_list explain_lists[] = {
	{ WEIR_LIST_OUT_PORT_EXCLUDE, WEIR_POD_OUT_PORTS_EXCLUDE, OUT, EXPLAIN_PORT },
	{ WEIR_LIST_OUT_PORT_INCLUDE, WEIR_POD_OUT_PORTS, OUT, EXPLAIN_PORT },
	{ WEIR_LIST_OUT_CIDR_EXCLUDE, WEIR_POD_OUT_CIDRS_EXCLUDE, OUT, EXPLAIN_TO },
	{ WEIR_LIST_OUT_CIDR_INCLUDE, WEIR_POD_OUT_CIDRS, OUT, EXPLAIN_TO },
	{ WEIR_LIST_DNS_SERVER, WEIR_POD_DNS, OUT, EXPLAIN_TO },
	{ WEIR_LIST_PROXY_UID, WEIR_POD_PROXY_UIDS, OUT, EXPLAIN_UID },
	{ WEIR_LIST_PROXY_GID, WEIR_POD_PROXY_GIDS, OUT, EXPLAIN_GID },
	{ WEIR_LIST_GROUP_INCLUDE, WEIR_POD_GROUPS_INCLUDE, OUT, EXPLAIN_GID },
	{ WEIR_LIST_GROUP_EXCLUDE, WEIR_POD_GROUPS_EXCLUDE, OUT, EXPLAIN_GID },
	{ WEIR_LIST_IN_PORT_EXCLUDE, WEIR_POD_IN_PORTS_EXCLUDE, IN, EXPLAIN_PORT },
	{ WEIR_LIST_IN_PORT_INCLUDE, WEIR_POD_IN_PORTS, IN, EXPLAIN_PORT },
	{ WEIR_LIST_IN_SOURCE_EXCLUDE, WEIR_POD_IN_SOURCES_EXCLUDE, IN, EXPLAIN_FROM },
	/* A virtual machine's traffic is outbound, wherever it goes. */
	{ WEIR_LIST_OUT_CIDR_INCLUDE, WEIR_POD_OUT_CIDRS, IN, EXPLAIN_TO },
	/* TPROXY asks the inbound rules about what the proxy sends over lo. */
	{ WEIR_LIST_IN_PORT_EXCLUDE, WEIR_POD_TPROXY, OUT, EXPLAIN_PORT },
	{ WEIR_LIST_IN_PORT_INCLUDE, WEIR_POD_TPROXY, OUT, EXPLAIN_PORT },
};
const size_t explain_lists_n = ARRAY_SIZE(explain_lists);

static void set_loopback(struct weir_addr *addr, bool v6)
{
	*addr = (struct weir_addr){ 0 };
	if (v6)
		addr->ip[15] = 1;
	else
		weir_addr_from_v4(addr, WEIR_WORD(127, 0, 0, 1));
}

void explain_resolve_any(struct explain_query *q)
{
	bool v6 = !weir_addr_is_v4(&q->to);

	if (!weir_addr_is_any(&q->to))
		return;
	if (!v6 && q->has_from && !weir_addr_is_any(&q->from))
		q->to = q->from;
	else
		set_loopback(&q->to, v6);
}

void explain_set_inbound_to(struct explain_query *q, const struct weir_addr *ip4,
			    const struct weir_addr *ip6)
{
	bool v4;

	if (q->has_to)
		return;
	v4 = q->has_from ? weir_addr_is_v4(&q->from)
			 : !weir_addr_is_any(ip4) || weir_addr_is_any(ip6);

	q->to = v4 ? *ip4 : *ip6;
	if (v4 && weir_addr_is_any(ip4))
		weir_addr_from_v4(&q->to, 0);
}

static uint8_t proxy_id(bool first, bool later)
{
	return first ? WEIR_ID_PROXY_FIRST : later ? WEIR_ID_PROXY_LATER : WEIR_ID_NOT_PROXY;
}

static struct weir_answer decide_outbound(const struct explain_query *q,
					  const struct explain_facts *f)
{
	const struct weir_pod *pod = &f->pod;
	struct weir_connect c = {
		.port = q->port,
		.has_owner = 1,
		.udp = q->udp,
		.uid_is_proxy =
			proxy_id((pod->flags & WEIR_POD_PROXY_UID) && q->uid == pod->proxy_uid,
				 f->listed[WEIR_LIST_PROXY_UID]),
		.gid_is_proxy =
			proxy_id((pod->flags & WEIR_POD_PROXY_GID) && q->gid == pod->proxy_gid,
				 f->listed[WEIR_LIST_PROXY_GID]),
		.port_excluded = f->listed[WEIR_LIST_OUT_PORT_EXCLUDE],
		.port_included = f->listed[WEIR_LIST_OUT_PORT_INCLUDE],
		.cidr_excluded = f->listed[WEIR_LIST_OUT_CIDR_EXCLUDE],
		.cidr_included = f->listed[WEIR_LIST_OUT_CIDR_INCLUDE],
		.group_included = f->listed[WEIR_LIST_GROUP_INCLUDE],
		.group_excluded = f->listed[WEIR_LIST_GROUP_EXCLUDE],
		.if_excluded = !!(f->link_flags & WEIR_LINK_EXCLUDED),
		.dns_server = f->listed[WEIR_LIST_DNS_SERVER],
		.in_port_excluded = f->listed[WEIR_LIST_IN_PORT_EXCLUDE],
		.in_port_included = f->listed[WEIR_LIST_IN_PORT_INCLUDE],
	};

	weir_connect_set_addrs(&c, pod, &q->from, &q->to, f->local);
	return weir_decide_outbound(pod, &c);
}

static struct weir_answer decide_inbound(const struct explain_query *q,
					 const struct explain_facts *f)
{
	struct weir_syn s = {
		.port = q->port,
		.v6 = !weir_addr_is_v4(&q->to),
		.lo = q->direction == IN && q->has_from &&
		      (f->local || weir_addr_is_loopback(&q->from)),
		.port_excluded = f->listed[WEIR_LIST_IN_PORT_EXCLUDE],
		.port_included = f->listed[WEIR_LIST_IN_PORT_INCLUDE],
		.source_excluded = f->listed[WEIR_LIST_IN_SOURCE_EXCLUDE],
		.if_excluded = !!(f->link_flags & WEIR_LINK_EXCLUDED),
		.if_virtual = !!(f->link_flags & WEIR_LINK_VIRTUAL),
		.cidr_included = f->listed[WEIR_LIST_OUT_CIDR_INCLUDE],
	};

	return weir_decide_inbound(&f->pod, &s);
}

struct weir_answer explain_decide(const struct explain_query *q, const struct explain_facts *f)
{
	if (q->direction == OUT && !q->interface)
		return decide_outbound(q, f);
	if (q->udp)
		return WEIR_GO_DIRECT(NOT_TCP);
	if (q->direction == OUT && f->pod.mode != WEIR_MODE_OBSERVE &&
	    !(f->link_flags & WEIR_LINK_VIRTUAL))
		return WEIR_GO_DIRECT(FORWARDED); /* no socket of the pod's takes part */
	return decide_inbound(q, f);
}

void explain_landing(const struct explain_query *q, const struct weir_answer *answer,
		     struct weir_endpoint *ret)
{
	ret->addr = q->to;
	ret->port = q->port;
	if (answer->verdict != WEIR_REDIRECT)
		return;
	ret->port = answer->port;
	if (q->direction == OUT && !q->interface && !answer->in_place)
		set_loopback(&ret->addr, !weir_addr_is_v4(&q->to));
}

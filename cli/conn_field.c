/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conn_field.h"

#include <stdlib.h>
#include <string.h>

#include "base/inet.h"
#include "cli/units.h"

static void add_path(struct buf *out, const char *namespace, const char *name)
{
	buf_printf(out, "%s%s%s", namespace, *namespace ? "/" : "", *name ? name : "-");
}

static void add_endpoint(struct buf *out, const struct weir_endpoint *e)
{
	char text[INET_TEXT];

	buf_str(out, inet_format_endpoint(e->addr.ip, e->port, text));
}

static void add_bytes(struct buf *out, uint64_t bytes, bool exact)
{
	char text[UNITS_TEXT];

	if (exact)
		buf_printf(out, "%llu", (unsigned long long)bytes);
	else
		buf_str(out, units_bytes((double)bytes, text));
}

static void format_pod(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	add_path(out, c->namespace, c->pod);
}

static void format_workload(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	add_path(out, c->workload_namespace, c->workload);
}

static void format_direction(struct buf *out, const struct conn *c, bool exact)
{
	buf_str(out, exact ? c->direction : *c->direction == 'i' ? "in" : "out");
}

/* A peer without a name of its own is best known by its address. */
static void format_peer(struct buf *out, const struct conn *c, bool exact)
{
	_cleanup_free_ char *name = conn_peer_name(c);
	char text[INET_TEXT];

	(void)exact;
	if (*c->service || *c->peer_namespace)
		buf_printf(out, "%s:%u", name, c->dialled.port);
	else
		buf_str(out, inet_format_endpoint(c->peer.addr.ip, c->dialled.port, text));
}

static void format_peer_name(struct buf *out, const struct conn *c, bool exact)
{
	_cleanup_free_ char *name = conn_peer_name(c);

	(void)exact;
	buf_str(out, name);
}

static void format_peer_address(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	add_endpoint(out, &c->peer);
}

static void format_dialled(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	add_endpoint(out, &c->dialled);
}

static void format_real(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	add_endpoint(out, &c->real);
}

static void format_protocol(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	buf_str(out, c->protocol);
}

static void format_state(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	buf_str(out, conn_state_short(c));
}

static void format_sent(struct buf *out, const struct conn *c, bool exact)
{
	add_bytes(out, c->row.sent, exact);
}

static void format_received(struct buf *out, const struct conn *c, bool exact)
{
	add_bytes(out, c->row.received, exact);
}

static void format_rtt(struct buf *out, const struct conn *c, bool exact)
{
	char text[UNITS_TEXT];

	(void)exact;
	buf_str(out, units_rtt(c->row.srtt_us, text));
}

static void format_retransmits(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	if (!conn_is_udp(c)) /* has none, as it has no round-trip time */
		buf_printf(out, "%u", c->row.retransmitted);
}

static void format_age(struct buf *out, const struct conn *c, bool exact)
{
	char text[UNITS_TEXT];

	(void)exact;
	buf_str(out, units_age(c->row.age_ns, text));
}

static void format_via(struct buf *out, const struct conn *c, bool exact)
{
	size_t len = strcspn(c->via, exact ? "" : "_");

	buf_add(out, c->via, len);
}

static void format_reason(struct buf *out, const struct conn *c, bool exact)
{
	(void)exact;
	buf_str(out, c->reason);
}

static int compare_numbers(uint64_t a, uint64_t b)
{
	return a < b ? 1 : a > b ? -1 : 0; /* the greatest first */
}

#define COMPARE_NUMBER(name, value)                                           \
	static int compare_##name(const struct conn *a, const struct conn *b) \
	{                                                                     \
		uint64_t x = ({                                               \
			const struct conn *c = a;                             \
			value;                                                \
		}),                                                           \
			 y = ({                                               \
				 const struct conn *c = b;                    \
				 value;                                       \
			 });                                                  \
                                                                              \
		return compare_numbers(x, y);                                 \
	}

/* clang-format off */
COMPARE_NUMBER(sent, c->row.sent)
COMPARE_NUMBER(received, c->row.received)
COMPARE_NUMBER(bytes, c->row.sent + c->row.received)
COMPARE_NUMBER(rtt, c->row.srtt_us)
COMPARE_NUMBER(retransmits, c->row.retransmitted)
COMPARE_NUMBER(age, c->row.age_ns)
/* clang-format on */

static int compare_path(const char *ns_a, const char *a, const char *ns_b, const char *b)
{
	int r = strcmp(ns_a, ns_b);

	return r ? r : strcmp(a, b);
}

static int compare_pod(const struct conn *a, const struct conn *b)
{
	return compare_path(a->namespace, a->pod, b->namespace, b->pod);
}

static int compare_workload(const struct conn *a, const struct conn *b)
{
	return compare_path(a->workload_namespace, a->workload, b->workload_namespace, b->workload);
}

static int compare_port(const struct conn *a, const struct conn *b)
{
	return (int)a->dialled.port - (int)b->dialled.port;
}

static int compare_address(const struct conn *a, const struct conn *b)
{
	return memcmp(a->peer.addr.ip, b->peer.addr.ip, sizeof(a->peer.addr.ip));
}

static int compare_peer(const struct conn *a, const struct conn *b)
{
	int r = compare_path(*a->service ? a->service_namespace : a->peer_namespace,
			     *a->service ? a->service : a->peer_workload,
			     *b->service ? b->service_namespace : b->peer_namespace,
			     *b->service ? b->service : b->peer_workload);

	return r ? r : compare_address(a, b);
}

static int compare_dialled(const struct conn *a, const struct conn *b)
{
	int r = memcmp(a->dialled.addr.ip, b->dialled.addr.ip, sizeof(a->dialled.addr.ip));

	return r ? r : compare_port(a, b);
}

static int compare_real(const struct conn *a, const struct conn *b)
{
	int r = memcmp(a->real.addr.ip, b->real.addr.ip, sizeof(a->real.addr.ip));

	return r ? r : (int)a->real.port - (int)b->real.port;
}

static int compare_direction(const struct conn *a, const struct conn *b)
{
	return strcmp(a->direction, b->direction);
}

static int compare_state(const struct conn *a, const struct conn *b)
{
	return strcmp(a->state, b->state);
}

static int compare_protocol(const struct conn *a, const struct conn *b)
{
	return strcmp(a->protocol, b->protocol);
}

static int compare_via(const struct conn *a, const struct conn *b)
{
	return strcmp(a->via, b->via);
}

static int compare_reason(const struct conn *a, const struct conn *b)
{
	return strcmp(a->reason, b->reason);
}

static const struct conn_field fields[] = {
	{ "pod", "POD", false, true, format_pod, compare_pod },
	{ "workload", "WORKLOAD", false, true, format_workload, compare_workload },
	{ "direction", "DIR", false, false, format_direction, compare_direction },
	{ "peer", "PEER", false, true, format_peer, compare_peer },
	{ "name", "PEER NAME", false, true, format_peer_name, compare_peer },
	{ "address", "PEER ADDRESS", false, false, format_peer_address, compare_address },
	{ "dialled", "DIALLED", false, false, format_dialled, compare_dialled },
	{ "real", "REAL", false, false, format_real, compare_real },
	{ "port", NULL, false, false, NULL, compare_port },
	{ "protocol", "PROTO", false, false, format_protocol, compare_protocol },
	{ "state", "STATE", false, false, format_state, compare_state },
	{ "sent", "SENT", true, false, format_sent, compare_sent },
	{ "received", "RECV", true, false, format_received, compare_received },
	{ "bytes", NULL, true, false, NULL, compare_bytes },
	{ "rtt", "RTT", true, false, format_rtt, compare_rtt },
	{ "retransmits", "RETR", true, false, format_retransmits, compare_retransmits },
	{ "age", "AGE", true, false, format_age, compare_age },
	{ "via", "VIA", false, false, format_via, compare_via },
	{ "reason", "REASON", false, false, format_reason, compare_reason },
};

const struct conn_field *conn_field_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!strcmp(fields[i].name, name))
			return &fields[i];
	return NULL;
}

struct order {
	const struct conn_field *by;
	bool reverse;
};

static int compare(const void *a, const void *b, void *ctx)
{
	const struct order *order = ctx;
	int r = order->by->compare(a, b);

	if (r)
		return order->reverse ? -r : r;
	r = compare_pod(a, b);
	return r ? r : compare_age(a, b);
}

void conn_sort(struct conn *conns, size_t n, const struct conn_field *by, bool reverse)
{
	struct order order = { by, reverse };

	if (n)
		qsort_r(conns, n, sizeof(*conns), compare, &order);
}

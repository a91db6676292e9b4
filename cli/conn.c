/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/buf.h"
#include "base/inet.h"

static const struct {
	const char *name;
	const char *brief; /* as ss(8) has it */
} states[] = {
	[TCP_ESTABLISHED] = { "established", "ESTAB" },
	[TCP_SYN_SENT] = { "syn_sent", "SYN-SENT" },
	[TCP_SYN_RECV] = { "syn_recv", "SYN-RECV" },
	[TCP_FIN_WAIT1] = { "fin_wait1", "FIN-WAIT-1" },
	[TCP_FIN_WAIT2] = { "fin_wait2", "FIN-WAIT-2" },
	[TCP_TIME_WAIT] = { "time_wait", "TIME-WAIT" },
	[TCP_CLOSE_WAIT] = { "close_wait", "CLOSE-WAIT" },
	[TCP_LAST_ACK] = { "last_ack", "LAST-ACK" },
	[TCP_CLOSING] = { "closing", "CLOSING" },
	[TCP_CLOSE] = { "unconnected", "UNCONN" }, /* of UDP; one of TCP is no connection */
};

static const char *const vias[] = {
	[WEIR_VIA_DIRECT] = "direct",
	[WEIR_VIA_PROXY] = "proxy",
	[WEIR_VIA_LEG_NETWORK] = "network_leg",
	[WEIR_VIA_LEG_APPLICATION] = "application_leg",
};

static const char *const reasons[] = {
#define X(number, NAME, name, text) [number] = #name,
	WEIR_REASONS(X)
#undef X
};

_Static_assert(ARRAY_SIZE(reasons) == WEIR_REASON_MAX, "a name for each");

#define LOOKUP(table, number) \
	((size_t)(number) < ARRAY_SIZE(table) && (table)[number] ? (table)[number] : "unknown")

static bool is_state(const struct conn *c)
{
	return c->row.state < ARRAY_SIZE(states) && states[c->row.state].name;
}

bool conn_is_udp(const struct conn *c)
{
	return c->row.protocol == IPPROTO_UDP;
}

bool conn_counted(const struct conn *c)
{
	return c->row.flags & WEIR_CONN_COUNTED;
}

const char *conn_state_short(const struct conn *c)
{
	return is_state(c) ? states[c->row.state].brief : "?";
}

static void describe_owner(struct conn *c, const struct pod_entry *pod, struct directory *d)
{
	uint32_t id = conn_counted(c)	       ? c->row.flow.workload
		      : pod && pod->has_policy ? pod->policy.workload
					       : WEIR_ID_UNKNOWN;
	const struct weir_name *workload = directory_name(d, id);

	c->namespace = pod ? pod->names.namespace : "";
	c->pod = pod ? pod->names.name : "";
	c->workload_namespace = workload->namespace;
	c->workload = workload->name;
	c->workload_kind = workload->kind;
}

/* The other end of what stays within the pod is the pod itself. */
static void describe_peer(struct conn *c, struct directory *d)
{
	const struct weir_name *name;

	c->peer_namespace = c->workload_namespace;
	c->peer_workload = c->workload;
	c->peer_kind = c->workload_kind;
	c->service_namespace = c->service = "";
	if (!conn_counted(c))
		return;
	name = directory_name(d, c->row.flow.peer);
	c->peer_namespace = name->namespace;
	c->peer_workload = name->name;
	c->peer_kind = name->kind;
	if (c->row.flow.service == WEIR_ID_NONE)
		return;
	name = directory_name(d, c->row.flow.service);
	c->service_namespace = name->namespace;
	c->service = name->name;
}

static void describe_dialler(struct conn *c)
{
	const struct weir_live *row = &c->row;

	c->dialled = weir_addr_is_any(&row->dialled.addr) ? row->remote : row->dialled;
	c->peer = c->dialled;
	c->real = row->remote;
}

/*
 * What an accepted socket calls its own address is what the peer dialled: nothing is rewritten. The
 * proxy's end of an outbound connection that was redirected knows better.
 */
static void describe_acceptor(struct conn *c, const struct pod_entry *pod)
{
	const struct weir_live *row = &c->row;

	c->dialled = row->flags & WEIR_CONN_REDIRECTED ? row->dialled : row->local;
	c->peer = row->remote;
	c->real = row->local;
	if (conn_counted(c) && row->flow.via == WEIR_VIA_PROXY && !conn_is_udp(c) && pod &&
	    pod->has_policy)
		c->real.port = pod->policy.inbound_port;
}

/* A leg to the application belongs to an inbound connection, although the proxy has dialled. */
static const char *direction_of(const struct conn *c)
{
	if (conn_counted(c))
		return c->row.flow.direction == WEIR_OUTBOUND ? "outbound" : "inbound";
	return c->row.flags & WEIR_CONN_ACTIVE ? "outbound" : "inbound";
}

/* A virtual machine in the pod has dialled what this socket accepted: of a listener's own port. */
static void describe_machine(struct conn *c, const struct pod_entry *pod)
{
	c->dialled = c->peer = c->real = c->row.local;
	if (c->row.flow.via == WEIR_VIA_PROXY && pod && pod->has_policy)
		c->real.port = pod->policy.outbound_port;
}

void conn_describe(struct conn *ret, const struct weir_live *row, struct directory *d)
{
	const struct pod_entry *pod = directory_pod(d, row->netns_cookie);

	*ret = (struct conn){ .row = *row };
	describe_owner(ret, pod, d);
	describe_peer(ret, d);
	ret->protocol = conn_is_udp(ret) ? "udp" : "tcp";
	if (row->flags & WEIR_CONN_ACTIVE)
		describe_dialler(ret);
	else if (row->flags & WEIR_CONN_MACHINE)
		describe_machine(ret, pod);
	else
		describe_acceptor(ret, pod);
	ret->direction = direction_of(ret);
	ret->via = conn_counted(ret) ? LOOKUP(vias, row->flow.via) : "local";
	ret->state = is_state(ret) ? states[row->state].name : "unknown";
	ret->reason = LOOKUP(reasons, row->reason);
}

char *conn_peer_name(const struct conn *c)
{
	const char *namespace = *c->service ? c->service_namespace : c->peer_namespace;
	const char *name = *c->service ? c->service : c->peer_workload;

	return xasprintf("%s%s%s", namespace, *namespace ? "/" : "", name);
}

static json_t *endpoint_json(const struct weir_endpoint *e)
{
	char text[INET_TEXT];

	return json_string(inet_format_endpoint(e->addr.ip, e->port, text));
}

static json_t *addr_json(const struct weir_addr *addr)
{
	char text[INET_TEXT];

	return json_string(inet_format(addr->ip, text));
}

/* Seconds, as Prometheus would have it; null without a sample. */
static json_t *rtt_json(uint32_t srtt_us)
{
	return srtt_us ? json_real(srtt_us / 1e6) : json_null();
}

json_t *conn_json(const struct conn *c)
{
	const struct weir_live *row = &c->row;
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s}", "namespace",
		c->namespace, "pod", c->pod, "workload", c->workload, "workload_kind",
		c->workload_kind, "direction", c->direction, "peer_namespace", c->peer_namespace,
		"peer_workload", c->peer_workload, "peer_kind", c->peer_kind, "peer_service",
		c->service, "peer_service_namespace", c->service_namespace, "via", c->via,
		"through_proxy", conn_counted(c) && row->flow.via == WEIR_VIA_PROXY, "state",
		c->state);

	if (!json) /* a name that is not UTF-8: no name of Kubernetes' */
		json = json_object();
	json_object_set_new(json, "protocol", json_string(c->protocol));
	json_object_set_new(json, "reason", json_string(c->reason));
	json_object_set_new(json, "peer_address", addr_json(&c->peer.addr));
	json_object_set_new(json, "peer_port", json_integer(c->peer.port));
	json_object_set_new(json, "port", json_integer(c->dialled.port));
	json_object_set_new(json, "dialled", endpoint_json(&c->dialled));
	json_object_set_new(json, "real", endpoint_json(&c->real));
	json_object_set_new(json, "local", endpoint_json(&row->local));
	json_object_set_new(json, "remote", endpoint_json(&row->remote));
	json_object_set_new(json, "sent_bytes", json_integer((json_int_t)row->sent));
	json_object_set_new(json, "received_bytes", json_integer((json_int_t)row->received));
	json_object_set_new(json, "rtt_seconds", rtt_json(row->srtt_us));
	json_object_set_new(json, "retransmitted_segments",
			    conn_is_udp(c) ? json_null() : json_integer(row->retransmitted));
	json_object_set_new(json, "age_seconds", json_real((double)row->age_ns / 1e9));
	json_object_set_new(json, "socket_cookie", json_integer((json_int_t)row->socket_cookie));
	json_object_set_new(json, "netns_cookie", json_integer((json_int_t)row->netns_cookie));
	return json;
}

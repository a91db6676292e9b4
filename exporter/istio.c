/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows in Istio's terms (istio.io/latest/docs/reference/config/metrics; ztunnel:
 * src/proxy/metrics.rs). Both reporters count from the client's side: received is what went to the
 * server.
 */
#include <string.h>

#include "exporter/families.h"
#include "exporter/labels.h"

#define UNKNOWN "unknown"

/* What a map holds may lack its end. */
#define LABEL_NAME(labels, label, text) \
	text_label(labels, label, text, sizeof(((struct weir_name *)0)->name))
#define LABEL_NAMESPACE(labels, label, text) \
	text_label(labels, label, text, sizeof(((struct weir_name *)0)->namespace))
#define LABEL_CANONICAL(labels, label, text) \
	text_label(labels, label, text, sizeof(((struct weir_traits *)0)->canonical_service))

/* One end of a connection; an end that is not known has these labels, too. */
struct end {
	const char *workload, *namespace, *canonical_service, *canonical_revision, *cluster,
		*network;
};

/* The names of what is no workload ("external", "several") are weir's own. */
static struct end end_of(const struct snapshot *s, uint32_t id)
{
	const struct weir_name *name = name_of(s, id);
	const struct weir_traits *traits = traits_of(s, id);
	struct end end = { UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN };

	if (!name->namespace[0])
		return end;
	end.workload = end.canonical_service = name->name;
	end.namespace = name->namespace;
	end.canonical_revision = "latest";
	if (traits && traits->canonical_service[0]) {
		end.canonical_service = traits->canonical_service;
		end.canonical_revision = traits->canonical_revision;
	}
	end.cluster = s->istio->cluster;
	end.network = s->istio->network;
	return end;
}

static void label_source(struct buf *labels, const struct end *end)
{
	LABEL_NAME(labels, "source_workload", end->workload);
	LABEL_CANONICAL(labels, "source_canonical_service", end->canonical_service);
	LABEL_CANONICAL(labels, "source_canonical_revision", end->canonical_revision);
	LABEL_NAMESPACE(labels, "source_workload_namespace", end->namespace);
	LABEL(labels, "source_principal", UNKNOWN);
	LABEL_CANONICAL(labels, "source_app", end->canonical_service);
	LABEL_CANONICAL(labels, "source_version", end->canonical_revision);
	LABEL(labels, "source_cluster", end->cluster);
}

static void label_destination(struct buf *labels, const struct end *end,
			      const struct weir_name *service)
{
	_cleanup_buf_ struct buf host = { 0 };

	if (service)
		buf_printf(&host, "%.*s.%.*s.svc.cluster.local", (int)sizeof(service->name),
			   service->name, (int)sizeof(service->namespace), service->namespace);
	LABEL_NAME(labels, "destination_workload", end->workload);
	LABEL_NAMESPACE(labels, "destination_workload_namespace", end->namespace);
	LABEL(labels, "destination_principal", UNKNOWN);
	LABEL_CANONICAL(labels, "destination_app", end->canonical_service);
	LABEL_CANONICAL(labels, "destination_version", end->canonical_revision);
	LABEL(labels, "destination_service", service ? buf_text(&host) : UNKNOWN);
	LABEL_CANONICAL(labels, "destination_canonical_service", end->canonical_service);
	LABEL_CANONICAL(labels, "destination_canonical_revision", end->canonical_revision);
	LABEL_NAME(labels, "destination_service_name", service ? service->name : UNKNOWN);
	LABEL_NAMESPACE(labels, "destination_service_namespace",
			service ? service->namespace : end->namespace);
	LABEL(labels, "destination_cluster", end->cluster);
}

static struct buf istio_labels(const struct snapshot *s, const struct weir_flow_key *key,
			       const struct weir_name *service)
{
	const struct weir_traits *traits = traits_of(s, key->workload);
	struct end own = end_of(s, key->workload), peer = end_of(s, key->peer);
	int outbound = key->direction == WEIR_OUTBOUND;
	const struct end *from = outbound ? &own : &peer, *to = outbound ? &peer : &own;
	struct buf labels = { 0 };

	LABEL(&labels, "reporter", outbound ? "source" : "destination");
	label_source(&labels, from);
	label_destination(&labels, to, service);
	LABEL(&labels, "request_protocol", "tcp");
	LABEL(&labels, "response_flags", "-");
	LABEL(&labels, "connection_security_policy", UNKNOWN);
	if (s->istio->network) {
		LABEL(&labels, "source_network", from->network);
		LABEL(&labels, "destination_network", to->network);
	}
	if (traits->pod[0])
		LABEL_ARRAY(&labels, "pod", traits->pod);
	return labels;
}

/* A workload's own connection, which no proxy of Istio's tells of. Not until that is known. */
static bool is_ours(const struct snapshot *s, const struct snapshot_flow *flow)
{
	const struct weir_traits *traits = traits_of(s, flow->key.workload);

	return traits && traits->canonical_service[0] && !traits->reported &&
	       (flow->key.via == WEIR_VIA_DIRECT || flow->key.via == WEIR_VIA_PROXY) &&
	       flow->value.opened;
}

void fill_istio(const struct snapshot *s, struct series_table *table)
{
	for (size_t i = 0; s->istio && i < s->n_flows; i++) {
		const struct snapshot_flow *flow = &s->flows[i];
		const struct weir_flow *from = &flow->value;
		int outbound = flow->key.direction == WEIR_OUTBOUND;
		const struct weir_name *service = s->served ? s->served[i] : NULL;
		struct buf labels;
		union value *to;

		if (!is_ours(s, flow))
			continue;
		if (flow->key.service != WEIR_ID_NONE)
			service = name_of(s, flow->key.service);
		labels = istio_labels(s, &flow->key, service);
		to = series_add(table, &labels)->values;
		to[COLUMN_SENT].count = outbound ? from->received : from->sent;
		to[COLUMN_RECEIVED].count = outbound ? from->sent : from->received;
		to[COLUMN_OPENED].count = flow_opened(from);
		to[COLUMN_CLOSED].count = from->closed;
	}
}

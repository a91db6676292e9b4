/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/peers.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload.h"
#include "base/buf.h"

/* Who wins when several claim a key; below one of these the order of names decides. */
enum rank {
	RANK_SERVICE, /* kube-proxy may put ClusterIPs on a node's interface, so they come first */
	RANK_HEADLESS,
	RANK_POD,
	RANK_NODE,
};

/* A pod whose object is the one that counts for its name, and its workload. */
struct known {
	const struct pod *pod;
	uint32_t workload;
};

/* Who has an address now: a pod that is not in its node's network namespace. */
struct holder {
	struct weir_addr addr;
	const struct known *known;
};

struct build {
	const struct peers_naming *naming;
	struct known *pods; /* by namespace and name */
	size_t n_pods;
	struct holder *holders; /* by address */
	size_t n_holders;
	struct weir_addr *nodes; /* in order */
	size_t n_nodes;
	const struct endpoint_slice **slices; /* by namespace and Service */
	size_t n_slices;
	const struct service **services; /* by namespace and name */
	size_t n_services;
	struct peers *out;
};

static int compare_names(const char *ns_a, const char *a, const char *ns_b, const char *b)
{
	int r = strcmp(ns_a, ns_b);

	return r ? r : strcmp(a, b);
}

int peers_compare_key(const struct weir_peer_key *a, const struct weir_peer_key *b)
{
	int r = memcmp(&a->addr, &b->addr, sizeof(a->addr));

	if (!r)
		r = (int)a->port - (int)b->port;
	return r ? r : (int)a->protocol - (int)b->protocol;
}

/* -- what is known, in order, so that it is found -------------------------------------------- */

static int compare_known(const void *a, const void *b)
{
	const struct pod *p = ((const struct known *)a)->pod, *q = ((const struct known *)b)->pod;
	int r = compare_names(p->namespace, p->name, q->namespace, q->name);

	return r ? r : pod_supersedes(p, q) ? -1 : 1;
}

static int compare_holders(const void *a, const void *b)
{
	const struct holder *p = a, *q = b;
	int r = memcmp(&p->addr, &q->addr, sizeof(p->addr));

	if (r || p->known == q->known)
		return r;
	return pod_supersedes(p->known->pod, q->known->pod) ? -1 : 1;
}

static int compare_slices(const void *a, const void *b)
{
	const struct endpoint_slice *p = *(const struct endpoint_slice *const *)a,
				    *q = *(const struct endpoint_slice *const *)b;

	return compare_names(p->namespace, p->service, q->namespace, q->service);
}

static int compare_services(const void *a, const void *b)
{
	const struct service *p = *(const struct service *const *)a,
			     *q = *(const struct service *const *)b;

	return compare_names(p->namespace, p->name, q->namespace, q->name);
}

static int compare_addrs(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct weir_addr));
}

#define SORT(items, n, compare)                                           \
	({                                                                \
		if (n)                                                    \
			qsort((items), (n), sizeof(*(items)), (compare)); \
	})

static uint32_t workload_id(const struct build *b, const struct pod *pod)
{
	_cleanup_free_ char *name = NULL, *kind = NULL;

	pod_workload(pod, &name, &kind);
	return b->naming->id(b->naming->ctx, kind, pod->namespace, name);
}

/* A finished pod has neither address nor ports: they may already be another's. */
static void know_pods(struct build *b, const struct source *source)
{
	size_t kept = 0;

	for (const struct source_file *f = source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_pods; i++)
			if (!pod_finished(f->objects.pods[i]))
				list_append(b->pods, b->n_pods,
					    ((struct known){ .pod = f->objects.pods[i] }));
	SORT(b->pods, b->n_pods, compare_known);
	for (size_t i = 0; i < b->n_pods; i++) {
		const struct pod *pod = b->pods[i].pod, *last = kept ? b->pods[kept - 1].pod : NULL;

		if (last && !compare_names(last->namespace, last->name, pod->namespace, pod->name))
			continue;
		b->pods[kept++] = (struct known){ pod, workload_id(b, pod) };
	}
	b->n_pods = kept;
}

static void know_addresses(struct build *b)
{
	for (size_t i = 0; i < b->n_pods; i++) {
		const struct pod *pod = b->pods[i].pod;

		for (size_t j = 0; j < pod->n_ips; j++)
			if (pod->host_network)
				list_append(b->nodes, b->n_nodes, pod->ips[j]);
			else
				list_append(b->holders, b->n_holders,
					    ((struct holder){ pod->ips[j], &b->pods[i] }));
		for (size_t j = 0; j < pod->n_host_ips; j++)
			if (!j || !weir_addr_equal(&pod->host_ips[j], &pod->host_ips[j - 1]))
				list_append(b->nodes, b->n_nodes, pod->host_ips[j]);
	}
	SORT(b->holders, b->n_holders, compare_holders);
}

static void know_nodes(struct build *b, const struct source *source, const struct weir_addr *own,
		       size_t n_own)
{
	size_t kept = 0;

	for (const struct source_file *f = source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_nodes; i++)
			for (size_t j = 0; j < f->objects.nodes[i]->n_addresses; j++)
				list_append(b->nodes, b->n_nodes,
					    f->objects.nodes[i]->addresses[j]);
	for (size_t i = 0; i < n_own; i++)
		list_append(b->nodes, b->n_nodes, own[i]);
	SORT(b->nodes, b->n_nodes, compare_addrs);
	for (size_t i = 0; i < b->n_nodes; i++)
		if (!kept || !weir_addr_equal(&b->nodes[kept - 1], &b->nodes[i]))
			b->nodes[kept++] = b->nodes[i];
	b->n_nodes = kept;
}

static void know_services(struct build *b, const struct source *source)
{
	for (const struct source_file *f = source->files; f; f = f->next) {
		for (size_t i = 0; i < f->objects.n_slices; i++)
			if (f->objects.slices[i]->service)
				list_append(b->slices, b->n_slices, f->objects.slices[i]);
		for (size_t i = 0; i < f->objects.n_services; i++)
			list_append(b->services, b->n_services, f->objects.services[i]);
	}
	SORT(b->slices, b->n_slices, compare_slices);
	SORT(b->services, b->n_services, compare_services);
}

/* -- finding it ------------------------------------------------------------------------------- */

static const struct known *find_pod(const struct build *b, const char *namespace, const char *name)
{
	size_t lo = 0, hi = b->n_pods;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct pod *pod = b->pods[mid].pod;
		int order = compare_names(namespace, name, pod->namespace, pod->name);

		if (!order)
			return &b->pods[mid];
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

static const struct known *find_holder(const struct build *b, const struct weir_addr *addr)
{
	size_t lo = 0, hi = b->n_holders;

	while (lo < hi) { /* the first of them */
		size_t mid = (lo + hi) / 2;

		if (memcmp(&b->holders[mid].addr, addr, sizeof(*addr)) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < b->n_holders && weir_addr_equal(&b->holders[lo].addr, addr))
		return b->holders[lo].known;
	return NULL;
}

/* The slices of a Service lie side by side: where they begin; *ret_n may be 0. */
static size_t find_slices(const struct build *b, const struct service *service, size_t *ret_n)
{
	size_t lo = 0, hi = b->n_slices, n = 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct endpoint_slice *s = b->slices[mid];

		if (compare_names(s->namespace, s->service, service->namespace, service->name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (lo + n < b->n_slices && !strcmp(b->slices[lo + n]->namespace, service->namespace) &&
	       !strcmp(b->slices[lo + n]->service, service->name))
		n++;
	*ret_n = n;
	return lo;
}

static bool selects(const struct service *service, const struct pod *pod)
{
	for (size_t i = 0; i < service->selector.n; i++) {
		const char *have = pod_label(pod, service->selector.items[i].key);

		if (!have || strcmp(have, service->selector.items[i].value))
			return false;
	}
	return service->selector.n && !strcmp(service->namespace, pod->namespace);
}

/* -- rows ------------------------------------------------------------------------------------- */

static void append_row(struct build *b, struct weir_peer_key key, struct weir_peer value,
		       enum rank rank, size_t order)
{
	struct peer_row row = { key, value, (uint64_t)rank << 32 | order };

	list_append(b->out->rows, b->out->n, row);
}

/* All ports of an address. */
static void add_row(struct build *b, const struct weir_addr *addr, struct weir_peer value,
		    enum rank rank, size_t order)
{
	append_row(b, (struct weir_peer_key){ .addr = *addr }, value, rank, order);
}

/* One port of it; addr: NULL for every node. What is neither TCP nor UDP is asked for by nobody. */
static void add_port(struct build *b, const struct weir_addr *addr, struct slice_port port,
		     struct weir_peer value, enum rank rank, size_t order)
{
	struct weir_peer_key key = { .port = port.port };

	if (port.protocol != IPPROTO_TCP && port.protocol != IPPROTO_UDP)
		return;
	if (addr)
		key.addr = *addr;
	key.protocol = port.protocol == IPPROTO_TCP ? 0 : port.protocol;
	append_row(b, key, value, rank, order);
}

/* Where the pods that a Service selects listen for it. */
static struct slice_port target_of(const struct service_port *port)
{
	return (struct slice_port){ port->target_port ?: port->port, port->protocol };
}

static void name_port(struct build *b, uint16_t port)
{
	b->out->ports[port / 64] |= 1ULL << (port % 64);
}

static void name_ports(struct build *b, const struct pod_containers *containers)
{
	for (size_t i = 0; i < containers->n; i++)
		for (size_t j = 0; j < containers->items[i].n_ports; j++)
			name_port(b, containers->items[i].ports[j].port);
}

static void add_pods(struct build *b)
{
	for (size_t i = 0; i < b->n_holders; i++) { /* the first of each address counts */
		const struct holder *h = &b->holders[i];

		if (i && weir_addr_equal(&h->addr, &h[-1].addr))
			continue;
		add_row(b, &h->addr, (struct weir_peer){ .workload = h->known->workload }, RANK_POD,
			0);
	}
	for (size_t i = 0; i < b->n_pods; i++) {
		name_ports(b, &b->pods[i].pod->containers);
		name_ports(b, &b->pods[i].pod->init_containers);
	}
	for (size_t i = 0; i < b->n_nodes; i++)
		add_row(b, &b->nodes[i], (struct weir_peer){ .workload = WEIR_ID_HOST }, RANK_NODE,
			0);
}

/* The workload at one end of a Service. A slice may name a pod that is not known (yet). */
static uint32_t endpoint_workload(const struct build *b, const struct endpoint_slice *slice,
				  const struct endpoint *e)
{
	const struct known *known =
		e->pod ? find_pod(b, slice->namespace, e->pod) : find_holder(b, &e->addr);

	if (known)
		return known->workload;
	if (e->pod)
		return WEIR_ID_UNKNOWN;
	if (b->n_nodes && bsearch(&e->addr, b->nodes, b->n_nodes, sizeof(e->addr), compare_addrs))
		return WEIR_ID_HOST;
	return weir_addr_is_private(&e->addr) ? WEIR_ID_UNKNOWN : WEIR_ID_EXTERNAL;
}

/* What several ends have in common; those that nothing is known of do not count. */
static uint32_t join(uint32_t so_far, uint32_t id)
{
	if (so_far == WEIR_ID_UNKNOWN || so_far == id)
		return id;
	return id == WEIR_ID_UNKNOWN ? so_far : WEIR_ID_SEVERAL;
}

/* By its EndpointSlices; by its selector while there are none. */
static uint32_t service_workload(const struct build *b, const struct service *service)
{
	uint32_t id = WEIR_ID_UNKNOWN;
	size_t n, first = find_slices(b, service, &n);

	for (size_t i = first; i < first + n; i++)
		for (size_t j = 0; j < b->slices[i]->n_endpoints; j++)
			id = join(id,
				  endpoint_workload(b, b->slices[i], &b->slices[i]->endpoints[j]));
	for (size_t i = 0; !n && service->selector.n && i < b->n_pods; i++)
		if (selects(service, b->pods[i].pod))
			id = join(id, b->pods[i].workload);
	return id;
}

static bool is_headless(const struct service *service)
{
	return !service->n_cluster_ips && strcmp(service->type, "ExternalName");
}

/* A slice lags behind: the pod that it names may have left this address to another. */
static bool is_stale(const struct build *b, const struct endpoint_slice *slice,
		     const struct endpoint *e)
{
	const struct known *holder = find_holder(b, &e->addr);

	return e->pod && holder && holder != find_pod(b, slice->namespace, e->pod);
}

static void add_headless_end(struct build *b, const struct endpoint_slice *slice,
			     const struct endpoint *e, uint32_t id, size_t order)
{
	struct weir_peer value = { .workload = endpoint_workload(b, slice, e), .service = id };

	for (size_t i = 0; i < slice->n_ports; i++)
		add_port(b, &e->addr, slice->ports[i], value, RANK_HEADLESS, order);
	if (!slice->n_ports)
		add_row(b, &e->addr, value, RANK_HEADLESS, order);
}

/* Its name has the addresses of the pods, and theirs are the ports. */
static void add_headless(struct build *b, const struct service *service, uint32_t id, size_t order)
{
	size_t n, first = find_slices(b, service, &n);

	for (size_t i = first; i < first + n; i++) {
		const struct endpoint_slice *slice = b->slices[i];

		for (size_t j = 0; j < slice->n_endpoints; j++)
			if (!is_stale(b, slice, &slice->endpoints[j]))
				add_headless_end(b, slice, &slice->endpoints[j], id, order);
	}
	for (size_t i = 0; !n && service->selector.n && i < b->n_pods; i++) {
		const struct pod *pod = b->pods[i].pod;

		for (size_t j = 0; selects(service, pod) && j < pod->n_ips; j++)
			for (size_t k = 0; k < service->n_ports; k++)
				add_port(b, &pod->ips[j], target_of(&service->ports[k]),
					 (struct weir_peer){ .workload = b->pods[i].workload,
							     .service = id },
					 RANK_HEADLESS, order);
	}
}

static void add_served(struct build *b, uint32_t workload, struct slice_port port, uint32_t service,
		       uint32_t rank)
{
	if (workload >= WEIR_ID_FIRST && port.protocol == IPPROTO_TCP)
		list_append(b->out->served, b->out->n_served,
			    ((struct peer_served){ workload, port.port, service, rank }));
}

/* Where the workloads behind a Service listen for it: by its slices, or by what it selects. */
static void add_serving(struct build *b, const struct service *service, uint32_t id, size_t order)
{
	uint32_t rank = (uint32_t)order | (is_headless(service) ? 1U << 31 : 0);
	size_t n, first = find_slices(b, service, &n);

	list_append(b->out->services, b->out->n_services, id);
	for (size_t i = first; i < first + n; i++) {
		const struct endpoint_slice *slice = b->slices[i];

		for (size_t j = 0; j < slice->n_endpoints; j++) {
			uint32_t workload = endpoint_workload(b, slice, &slice->endpoints[j]);

			for (size_t k = 0; k < slice->n_ports; k++)
				add_served(b, workload, slice->ports[k], id, rank);
		}
	}
	for (size_t i = 0; !n && service->selector.n && i < b->n_pods; i++)
		for (size_t k = 0; selects(service, b->pods[i].pod) && k < service->n_ports; k++)
			add_served(b, b->pods[i].workload, target_of(&service->ports[k]), id, rank);
}

static void add_service(struct build *b, const struct service *service, size_t order)
{
	struct weir_peer value = { .service = b->naming->id(b->naming->ctx, "Service",
							    service->namespace, service->name) };

	value.workload = service_workload(b, service);
	for (size_t i = 0; i < service->n_cluster_ips; i++)
		add_row(b, &service->cluster_ips[i], value, RANK_SERVICE, order);
	for (size_t i = 0; i < service->n_ports; i++) {
		const struct service_port *port = &service->ports[i];
		struct slice_port dialled = { port->port, port->protocol },
				  on_nodes = { port->node_port, port->protocol };

		name_port(b, port->port);
		name_port(b, port->target_port);
		for (size_t j = 0; j < service->n_external_ips; j++)
			add_port(b, &service->external_ips[j], dialled, value, RANK_SERVICE, order);
		if (!port->node_port)
			continue;
		name_port(b, port->node_port);
		add_port(b, NULL, on_nodes, value, RANK_SERVICE, order);
	}
	if (is_headless(service))
		add_headless(b, service, value.service, order);
	if (b->naming->served)
		add_serving(b, service, value.service, order);
}

static void name_slice_ports(struct build *b)
{
	for (size_t i = 0; i < b->n_slices; i++)
		for (size_t j = 0; j < b->slices[i]->n_ports; j++)
			name_port(b, b->slices[i]->ports[j].port);
}

static int compare_rows(const void *a, const void *b)
{
	const struct peer_row *p = a, *q = b;
	int r = peers_compare_key(&p->key, &q->key);

	return r ? r : p->rank < q->rank ? -1 : p->rank > q->rank;
}

int peers_compare_served(const struct peer_served *a, const struct peer_served *b)
{
	if (a->workload != b->workload)
		return a->workload < b->workload ? -1 : 1;
	return a->port < b->port ? -1 : a->port > b->port;
}

static int compare_serving(const void *a, const void *b)
{
	const struct peer_served *p = a, *q = b;
	int r = peers_compare_served(p, q);

	return r ? r : p->rank < q->rank ? -1 : p->rank > q->rank;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void order_served(struct peers *p)
{
	size_t kept = 0;

	SORT(p->services, p->n_services, compare_ids);
	SORT(p->served, p->n_served, compare_serving);
	for (size_t i = 0; i < p->n_served; i++)
		if (!kept || peers_compare_served(&p->served[kept - 1], &p->served[i]))
			p->served[kept++] = p->served[i];
	p->n_served = kept;
}

static void keep_first(struct peers *p)
{
	size_t kept = 0;

	SORT(p->rows, p->n, compare_rows);
	for (size_t i = 0; i < p->n; i++)
		if (!kept || peers_compare_key(&p->rows[kept - 1].key, &p->rows[i].key))
			p->rows[kept++] = p->rows[i];
	p->n = kept;
}

/* Rows of one address lie side by side, that of port 0 first. */
static void mark_alone(struct peers *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct weir_peer_key *key = &p->rows[i].key;

		p->rows[i].value.alone =
			!key->port &&
			(i + 1 == p->n || !weir_addr_equal(&key->addr, &p->rows[i + 1].key.addr));
	}
}

void peers_build(const struct source *source, const struct peers_naming *naming,
		 const struct weir_addr *own, size_t n_own, struct peers *ret)
{
	struct build b = { .naming = naming, .out = ret };

	*ret = (struct peers){ 0 };
	know_pods(&b, source);
	know_addresses(&b);
	know_nodes(&b, source, own, n_own);
	know_services(&b, source);
	add_pods(&b);
	name_slice_ports(&b);
	for (size_t i = 0; i < b.n_services; i++)
		if (strcmp(b.services[i]->type, "ExternalName"))
			add_service(&b, b.services[i], i);
	keep_first(ret);
	mark_alone(ret);
	order_served(ret);
	free(b.pods);
	free(b.holders);
	free(b.nodes);
	free(b.slices);
	free(b.services);
}

void peers_free(struct peers *p)
{
	free(p->rows);
	free(p->served);
	free(p->services);
	*p = (struct peers){ 0 };
}

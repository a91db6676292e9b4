/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/identity.h"

#include <stdlib.h>
#include <string.h>

#include "agent/map.h"
#include "agent/workload.h"
#include "base/buf.h"
#include "maps/flow.h"

struct sync {
	struct names *names;
	const struct source *source;
	struct desired peers;
	uint64_t ports[WEIR_NAMED_PORT_WORDS];
};

uint32_t identity_workload(struct names *names, const struct pod *pod)
{
	_cleanup_free_ char *name = NULL, *kind = NULL;

	pod_workload(pod, &name, &kind);
	return names_id(names, kind, pod->namespace, name);
}

static void add_peer(struct sync *s, const struct weir_addr *addr, uint32_t workload,
		     uint32_t service)
{
	struct weir_peer peer = { .workload = workload, .service = service };

	desired_add(&s->peers, addr, &peer);
}

static void name_port(struct sync *s, uint16_t port)
{
	s->ports[port / 64] |= 1ULL << (port % 64);
}

/* A finished pod's address may already be another's. */
static void add_pod(struct sync *s, const struct pod *pod)
{
	uint32_t id;

	if (pod_finished(pod))
		return;
	id = pod->host_network ? WEIR_ID_HOST : identity_workload(s->names, pod);
	for (size_t i = 0; i < pod->n_ips; i++)
		add_peer(s, &pod->ips[i], id, WEIR_ID_NONE);
	for (size_t i = 0; i < pod->containers.n; i++)
		for (size_t j = 0; j < pod->containers.items[i].n_ports; j++)
			name_port(s, pod->containers.items[i].ports[j].port);
}

typedef void (*pod_fn)(const struct pod *pod, void *ctx);

static void each_pod(const struct source *source, pod_fn fn, void *ctx)
{
	for (const struct source_file *f = source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_pods; i++)
			fn(f->objects.pods[i], ctx);
}

/* The one workload behind a Service, as far as it has one. */
struct backing {
	struct names *names;
	const struct service *service;
	const struct endpoint_slice *slice;
	uint32_t id; /* WEIR_ID_NONE: nothing seen yet */
};

static void add_backing(struct backing *b, uint32_t id)
{
	b->id = b->id == WEIR_ID_NONE || b->id == id ? id : WEIR_ID_SEVERAL;
}

static void match_address(const struct pod *pod, void *ctx)
{
	struct backing *b = ctx;

	if (pod_finished(pod) || pod->host_network)
		return;
	for (size_t i = 0; i < b->slice->n_addresses; i++)
		for (size_t j = 0; j < pod->n_ips; j++)
			if (weir_addr_equal(&b->slice->addresses[i], &pod->ips[j]))
				add_backing(b, identity_workload(b->names, pod));
}

static void match_selector(const struct pod *pod, void *ctx)
{
	struct backing *b = ctx;

	if (!b->service->selector.n || strcmp(pod->namespace, b->service->namespace) ||
	    pod_finished(pod))
		return;
	for (size_t i = 0; i < b->service->selector.n; i++) {
		const struct pod_pair *want = &b->service->selector.items[i];
		const char *have = pod_label(pod, want->key);

		if (!have || strcmp(have, want->value))
			return;
	}
	add_backing(b, identity_workload(b->names, pod));
}

/* By its EndpointSlices; by its selector while there are none. */
static uint32_t service_workload(struct sync *s, const struct service *service)
{
	struct backing b = { .names = s->names, .service = service };
	bool slices = false;

	for (const struct source_file *f = s->source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_slices; i++) {
			b.slice = f->objects.slices[i];
			if (!b.slice->service || strcmp(b.slice->service, service->name) ||
			    strcmp(b.slice->namespace, service->namespace))
				continue;
			slices = true;
			each_pod(s->source, match_address, &b);
		}
	if (!slices)
		each_pod(s->source, match_selector, &b);
	return b.id == WEIR_ID_NONE ? WEIR_ID_UNKNOWN : b.id;
}

static void add_service(struct sync *s, const struct service *service)
{
	uint32_t id = names_id(s->names, "Service", service->namespace, service->name);
	uint32_t workload = service_workload(s, service);

	for (size_t i = 0; i < service->n_cluster_ips; i++)
		add_peer(s, &service->cluster_ips[i], workload, id);
	for (size_t i = 0; i < service->n_external_ips; i++)
		add_peer(s, &service->external_ips[i], workload, id);
	for (size_t i = 0; i < service->n_ports; i++) {
		name_port(s, service->ports[i].port);
		if (service->ports[i].node_port)
			name_port(s, service->ports[i].node_port);
	}
}

static void add_pod_of(const struct pod *pod, void *ctx)
{
	add_pod(ctx, pod);
}

static int sync_ports(int fd, const uint64_t ports[WEIR_NAMED_PORT_WORDS])
{
	int changes = 0;

	for (uint32_t i = 0; i < WEIR_NAMED_PORT_WORDS; i++) {
		int err = map_put(fd, &i, &ports[i], sizeof(ports[i]));

		if (err < 0)
			return err;
		changes += err;
	}
	return changes;
}

int identity_sync(const struct loader *loader, struct names *names, const struct source *source)
{
	struct sync *s = xcalloc(1, sizeof(*s));
	int peers, ports;

	s->names = names;
	s->source = source;
	desired_init(&s->peers, sizeof(struct weir_addr), sizeof(struct weir_peer));
	for (const struct source_file *f = source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_services; i++)
			add_service(s, f->objects.services[i]);
	each_pod(source, add_pod_of, s);
	peers = map_sync(loader_map(loader, "weir_peers"), &s->peers);
	ports = sync_ports(loader_map(loader, "weir_named_ports"), s->ports);
	desired_free(&s->peers);
	free(s);
	if (peers < 0 || ports < 0)
		return peers < 0 ? peers : ports;
	return peers + ports;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/collect.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "exporter/mapread.h"
#include "exporter/process.h"

/* What map_read() returns is an array of these. */
_Static_assert(sizeof(struct snapshot_flow) ==
		       sizeof(struct weir_flow_key) + sizeof(struct weir_flow),
	       "padding between key and value");
_Static_assert(sizeof(struct snapshot_udp_flow) ==
		       sizeof(struct weir_flow_key) + sizeof(struct weir_udp_flow),
	       "padding between key and value");
_Static_assert(sizeof(struct snapshot_verdict) ==
		       sizeof(struct weir_verdict_key) + sizeof(uint64_t),
	       "padding between key and value");

#define _cleanup_snapshot_ _cleanup_(snapshot_free)

/* Places for what does not fit are kept for every workload; as long as nothing is in them, nobody
 * asks. */
static void drop_unused(struct snapshot *s)
{
	static const struct weir_flow zero;
	static const struct weir_udp_flow udp_zero;
	size_t n = 0, n_udp = 0;

	for (size_t i = 0; i < s->n_flows; i++)
		if (memcmp(&s->flows[i].value, &zero, sizeof(zero)))
			s->flows[n++] = s->flows[i];
	for (size_t i = 0; i < s->n_udp_flows; i++)
		if (memcmp(&s->udp_flows[i].value, &udp_zero, sizeof(udp_zero)))
			s->udp_flows[n_udp++] = s->udp_flows[i];
	s->n_flows = n;
	s->n_udp_flows = n_udp;
}

static int read_flows(int fd, struct snapshot *s)
{
	void *entries;
	int err;

	if (fd < 0)
		return 0;
	err = map_read(fd, sizeof(struct weir_flow_key), sizeof(struct weir_flow), &entries,
		       &s->n_flows);
	if (err)
		return err;
	s->flows = entries;
	return 0;
}

static int read_udp_flows(int fd, struct snapshot *s)
{
	void *entries;
	int err;

	if (fd < 0)
		return 0;
	err = map_read(fd, sizeof(struct weir_flow_key), sizeof(struct weir_udp_flow), &entries,
		       &s->n_udp_flows);
	if (!err)
		s->udp_flows = entries;
	return err;
}

static int read_verdicts(int fd, struct snapshot *s)
{
	void *entries;
	int err;

	if (fd < 0)
		return 0;
	err = map_read(fd, sizeof(struct weir_verdict_key), sizeof(uint64_t), &entries,
		       &s->n_verdicts);
	if (!err)
		s->verdicts = entries;
	return err;
}

static int read_counters(int fd, struct snapshot *s)
{
	if (fd < 0)
		return 0;
	for (uint32_t i = 0; i < WEIR_COUNTER_MAX; i++)
		/* A map that an older agent made has fewer. */
		if (bpf_map_lookup_elem(fd, &i, &s->counters[i]) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static size_t add_ids(const struct weir_flow_key *key, uint32_t ids[3])
{
	ids[0] = key->workload;
	ids[1] = key->peer;
	ids[2] = key->service;
	return 3;
}

/* Every id that the snapshot speaks of, sorted, some of them often. */
static size_t list_ids(const struct snapshot *s, uint32_t **ret_ids)
{
	uint32_t *ids = xcalloc((s->n_flows + s->n_udp_flows) * 3 + s->n_verdicts, sizeof(*ids));
	size_t n = 0;

	for (size_t i = 0; i < s->n_flows; i++)
		n += add_ids(&s->flows[i].key, ids + n);
	for (size_t i = 0; i < s->n_udp_flows; i++)
		n += add_ids(&s->udp_flows[i].key, ids + n);
	for (size_t i = 0; i < s->n_verdicts; i++)
		ids[n++] = s->verdicts[i].key.workload;
	qsort(ids, n, sizeof(*ids), compare_ids);
	*ret_ids = ids;
	return n;
}

static struct weir_traits *read_traits(int fd, uint32_t id)
{
	struct weir_traits *traits;

	if (fd < 0)
		return NULL;
	traits = xcalloc(1, sizeof(*traits));
	if (bpf_map_lookup_elem(fd, &id, traits) == 0)
		return traits;
	free(traits);
	return NULL;
}

static int read_names(int fd, int traits_fd, struct snapshot *s)
{
	_cleanup_free_ uint32_t *ids = NULL;
	size_t n, distinct = 0;

	if (fd < 0)
		return 0;
	n = list_ids(s, &ids);
	for (size_t i = 0; i < n; i++)
		if (ids[i] >= WEIR_ID_FIRST && (!distinct || ids[distinct - 1] != ids[i]))
			ids[distinct++] = ids[i];
	s->names = xcalloc(distinct, sizeof(*s->names));
	for (size_t i = 0; i < distinct; i++) {
		struct snapshot_name *name = &s->names[s->n_names];

		if (bpf_map_lookup_elem(fd, &ids[i], &name->name) == 0) {
			name->id = ids[i];
			name->traits = read_traits(traits_fd, ids[i]);
			s->n_names++;
		} else if (errno != ENOENT) {
			return -errno;
		}
	}
	return 0;
}

/* Where a flow goes: the workload that is dialled, here or there. */
static uint32_t flow_destination(const struct weir_flow_key *key)
{
	return key->direction == WEIR_OUTBOUND ? key->peer : key->workload;
}

static void ask_served(const struct exporter_source *source, struct snapshot *s)
{
	s->istio = source->istio;
	if (!s->istio || !source->served)
		return;
	s->served = xcalloc(s->n_flows, sizeof(*s->served));
	for (size_t i = 0; i < s->n_flows; i++)
		s->served[i] = source->served(source->ctx, flow_destination(&s->flows[i].key),
					      s->flows[i].key.port);
}

static int read_maps(const struct exporter_source *source, struct snapshot *s)
{
	int err;

	err = read_flows(source->flows, s);
	if (!err)
		err = read_udp_flows(source->udp_flows, s);
	if (err)
		return err;
	drop_unused(s);
	err = read_verdicts(source->verdicts, s);
	if (!err)
		err = read_counters(source->counters, s);
	if (!err)
		err = read_names(source->names, source->traits, s);
	return err;
}

/* Room for one more element of size bytes behind the n that array has. */
static void *grow(void *array, size_t n, size_t size)
{
	if (n & (n - 1)) /* room doubles at powers of two */
		return array;
	return xrealloc(array, (n ? n * 2 : 1) * size);
}

static char *copy(const char *text)
{
	return xstrdup(text ? text : "");
}

static void add_pod(void *arg, const struct exporter_pod *pod)
{
	struct snapshot *s = arg;

	s->pods = grow(s->pods, s->n_pods, sizeof(*s->pods));
	s->pods[s->n_pods++] = (struct snapshot_pod){
		.namespace = copy(pod->namespace),
		.pod = copy(pod->pod),
		.workload = copy(pod->workload),
		.mesh = copy(pod->mesh),
		.state = copy(pod->state),
		.found_by = copy(pod->found_by),
		.node = copy(pod->node),
		.errors = pod->errors,
		.warnings = pod->warnings,
	};
}

static void add_hook(void *arg, const char *hook, bool attached)
{
	struct snapshot *s = arg;

	s->hooks = grow(s->hooks, s->n_hooks, sizeof(*s->hooks));
	s->hooks[s->n_hooks++] = (struct snapshot_hook){ copy(hook), attached };
}

static void add_map(void *arg, const struct snapshot_map *map)
{
	struct snapshot *s = arg;

	s->maps = grow(s->maps, s->n_maps, sizeof(*s->maps));
	s->maps[s->n_maps] = *map;
	s->maps[s->n_maps++].map = copy(map->map);
}

static void add_kubernetes(void *arg, const struct snapshot_kubernetes *resource)
{
	struct snapshot *s = arg;

	s->kubernetes = grow(s->kubernetes, s->n_kubernetes, sizeof(*s->kubernetes));
	s->kubernetes[s->n_kubernetes++] = *resource;
}

static void ask_agent(const struct exporter_source *source, struct snapshot *s)
{
	s->version = source->version;
	s->revision = source->revision;
	if (source->pods)
		source->pods(source->ctx, add_pod, s);
	if (source->hooks)
		source->hooks(source->ctx, add_hook, s);
	if (source->maps)
		source->maps(source->ctx, add_map, s);
	if (source->kubernetes)
		source->kubernetes(source->ctx, add_kubernetes, s);
	if (source->last_sync)
		s->last_sync = source->last_sync(source->ctx);
}

int exporter_collect(const struct exporter_source *source, struct snapshot *ret_snapshot)
{
	_cleanup_snapshot_ struct snapshot s = { 0 };
	double start = clock_seconds();
	int err;

	if (source->fold)
		source->fold(source->ctx);
	err = read_maps(source, &s);
	if (err)
		return err;
	ask_served(source, &s);
	ask_agent(source, &s);
	err = process_read(&s.process);
	if (err)
		return err;
	s.scrape_duration = clock_seconds() - start;
	*ret_snapshot = s;
	s = (struct snapshot){ 0 };
	return 0;
}

static void free_pod(struct snapshot_pod *pod)
{
	free(pod->namespace);
	free(pod->pod);
	free(pod->workload);
	free(pod->mesh);
	free(pod->state);
	free(pod->found_by);
	free(pod->node);
}

void snapshot_free(struct snapshot *s)
{
	for (size_t i = 0; i < s->n_pods; i++)
		free_pod(&s->pods[i]);
	for (size_t i = 0; i < s->n_hooks; i++)
		free(s->hooks[i].hook);
	for (size_t i = 0; i < s->n_maps; i++)
		free((char *)s->maps[i].map);
	for (size_t i = 0; i < s->n_names; i++)
		free(s->names[i].traits);
	free(s->served);
	free(s->flows);
	free(s->udp_flows);
	free(s->verdicts);
	free(s->names);
	free(s->pods);
	free(s->hooks);
	free(s->maps);
	free(s->kubernetes);
	*s = (struct snapshot){ 0 };
}

int exporter_write(const struct exporter_source *source, enum render_format format, struct buf *out,
		   uint64_t *ret_number)
{
	_cleanup_snapshot_ struct snapshot s = { 0 };
	int err;

	err = exporter_collect(source, &s);
	if (err)
		return err;
	render_snapshot(&s, format, out);
	*ret_number = source->scraped ? source->scraped(source->ctx, &s) : 0;
	return 0;
}

int exporter_map_entries(int fd, uint64_t *ret_entries, uint64_t *ret_max_entries)
{
	return map_count(fd, ret_entries, ret_max_entries);
}

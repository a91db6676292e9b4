/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/retire.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent/apply.h"
#include "agent/map.h"
#include "agent/reconcile.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "exporter/mapread.h"

static void add_id(struct keyset *ids, uint32_t id)
{
	keyset_add(ids, &id);
}

static uint32_t id_at(const struct keyset *ids, size_t i)
{
	uint32_t id;

	memcpy(&id, ids->keys + i * sizeof(id), sizeof(id));
	return id;
}

static void add_key(struct keyset *ids, const struct weir_flow_key *key)
{
	add_id(ids, key->workload);
	add_id(ids, key->peer);
	add_id(ids, key->service);
}

/* Workloads that have a pod on this node: in the kernel's tables, or about to be. */
static int list_present(const struct loader *l, struct names *names, const struct reconciler *r,
			struct keyset *ids)
{
	_cleanup_free_ void *entries = NULL;
	size_t size = sizeof(struct weir_netns) + sizeof(struct weir_pod), n = 0;
	int err = map_read(loader_map(l, "weir_pods"), sizeof(struct weir_netns),
			   sizeof(struct weir_pod), &entries, &n);

	for (size_t i = 0; !err && i < n; i++) {
		struct weir_pod pod;

		memcpy(&pod, (char *)entries + i * size + sizeof(struct weir_netns), sizeof(pod));
		add_id(ids, pod.workload);
	}
	for (const struct managed *m = r->pods; !err && m; m = m->next)
		add_id(ids, traits_workload(names, &r->traits, m));
	return err;
}

/* The same for the same bytes (FNV-1a), so that sums of them do not depend on an order. */
static int64_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec;
}

/* What is known of a workload that has left; made when it is new. */
static struct retiree *find_retiree(struct retire *r, uint32_t workload)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->items[i].workload == workload)
			return &r->items[i];
	r->items = xrealloc(r->items, (r->n + 1) * sizeof(*r->items));
	r->items[r->n] = (struct retiree){ .workload = workload, .left_s = now_s() };
	return &r->items[r->n++];
}

struct figures {
	uint64_t print;
	bool open; /* a connection has not ended */
	bool any;
};

/*
 * The rows of a workload, in a table of the snapshot: those are sorted by the bytes of their keys,
 * which begin with it. A node may lose hundreds of pods at once, each with an id of its own.
 */
struct rows {
	const char *first;
	size_t n, size;
};

static struct rows rows_of(const void *table, size_t n, size_t size, uint32_t workload)
{
	const char *rows = table;
	size_t lo = 0, hi = n;
	struct rows found;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (memcmp(rows + mid * size, &workload, sizeof(workload)) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	found = (struct rows){ .first = rows + lo * size, .size = size };
	while (lo + found.n < n &&
	       !memcmp(found.first + found.n * size, &workload, sizeof(workload)))
		found.n++;
	return found;
}

#define ROWS_OF(table, n, workload) rows_of(table, n, sizeof(*(table)), workload)

static struct rows flows_of(const struct snapshot *s, uint32_t workload)
{
	return ROWS_OF(s->flows, s->n_flows, workload);
}

static struct rows udp_flows_of(const struct snapshot *s, uint32_t workload)
{
	return ROWS_OF(s->udp_flows, s->n_udp_flows, workload);
}

static struct rows verdicts_of(const struct snapshot *s, uint32_t workload)
{
	return ROWS_OF(s->verdicts, s->n_verdicts, workload);
}

static void add_rows(struct figures *f, struct rows rows)
{
	f->any = f->any || rows.n;
	for (size_t i = 0; i < rows.n; i++)
		f->print += hash_bytes(HASH_BEGIN, rows.first + i * rows.size, rows.size);
}

static struct figures figures_of(const struct snapshot *s, uint32_t workload)
{
	struct rows flows = flows_of(s, workload);
	const struct snapshot_flow *flow = (const void *)flows.first;
	struct figures f = { 0 };

	for (size_t i = 0; i < flows.n; i++)
		f.open = f.open || flow[i].value.opened != flow[i].value.closed;
	add_rows(&f, flows);
	add_rows(&f, udp_flows_of(s, workload));
	add_rows(&f, verdicts_of(s, workload));
	return f;
}

/*
 * Deletes an entry that is still as it was scraped. What a straggler adds between the look and the
 * deletion would be lost; its workload has no pod and no connection any more.
 */
static bool forget(int fd, const void *key, const void *scraped, size_t size)
{
	_cleanup_free_ void *now = xcalloc(1, size);

	return bpf_map_lookup_elem(fd, key, now) == 0 && !memcmp(now, scraped, size) &&
	       bpf_map_delete_elem(fd, key) == 0;
}

/* The hooks count what they add; they do so at any moment, so this must be one atomic step. */
static void uncount_flows(const struct loader *l, enum weir_counter counter, uint64_t n)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t *counters = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				  loader_map(l, "weir_counters"), 0);

	if (counters == MAP_FAILED)
		return;
	__atomic_fetch_sub(&counters[counter], n, __ATOMIC_RELAXED);
	munmap(counters, size);
}

/* Flows that are as they were scraped are deleted; how many of those that are counted. */
static uint64_t forget_flows(int fd, struct rows rows)
{
	uint64_t n = 0;

	for (size_t i = 0; i < rows.n; i++) {
		const struct weir_flow_key *key = (const void *)(rows.first + i * rows.size);

		n += forget(fd, key, key + 1, rows.size - sizeof(*key)) &&
		     key->peer != WEIR_ID_OTHER;
	}
	return n;
}

/* All flows of the workload go, and so do the ports that they were counted for. */
static void forget_ports(const struct loader *l, struct rows rows)
{
	int fd = loader_map(l, "weir_flow_ports");

	for (size_t i = 0; i < rows.n; i++) {
		const struct weir_flow_key *flow = (const void *)(rows.first + i * rows.size);
		struct weir_flow_port key = { .workload = flow->workload,
					      .direction = (uint16_t)flow->direction,
					      .port = (uint16_t)flow->port };

		if (flow->port <= UINT16_MAX)
			bpf_map_delete_elem(fd, &key);
		key.port = 0;
		bpf_map_delete_elem(fd, &key);
	}
}

static void free_workload(const struct loader *l, const struct snapshot *s, uint32_t workload)
{
	struct rows verdicts = verdicts_of(s, workload);
	const struct snapshot_verdict *v = (const void *)verdicts.first;
	uint64_t freed = forget_flows(loader_map(l, "weir_flows"), flows_of(s, workload));
	uint64_t udp_freed =
		forget_flows(loader_map(l, "weir_udp_flows"), udp_flows_of(s, workload));

	for (size_t i = 0; i < verdicts.n; i++)
		forget(loader_map(l, "weir_verdicts"), &v[i].key, &v[i].count, sizeof(v[i].count));
	forget_ports(l, flows_of(s, workload));
	forget_ports(l, udp_flows_of(s, workload));
	uncount_flows(l, WEIR_COUNTER_FLOWS, freed);
	uncount_flows(l, WEIR_COUNTER_UDP_FLOWS, udp_freed);
	apply_unreserve(l, workload);
}

/* The workload of each row of the snapshot, once. */
static void list_scraped(const struct snapshot *s, struct keyset *ids)
{
	for (size_t i = 0; i < s->n_flows; i++)
		add_id(ids, s->flows[i].key.workload);
	for (size_t i = 0; i < s->n_udp_flows; i++)
		add_id(ids, s->udp_flows[i].key.workload);
	for (size_t i = 0; i < s->n_verdicts; i++)
		add_id(ids, s->verdicts[i].key.workload);
}

/* Whether the last figures are where they are wanted. */
static bool is_over(const struct retire *r, struct retiree *one, struct figures f)
{
	if (f.open || one->open || f.print != one->print || !one->since) {
		one->since = r->number;
		one->seen = 0;
	}
	one->open = f.open;
	one->print = f.print;
	return !f.open && one->seen >= RETIRE_SCRAPES && scrapers_have(&r->scrapers, one->since) &&
	       now_s() - one->left_s >= RETIRE_HOLD_S;
}

/* Frees a workload that has left. */
static void judge(struct retire *r, const struct loader *l, const struct snapshot *s,
		  uint32_t workload)
{
	if (!is_over(r, find_retiree(r, workload), figures_of(s, workload)))
		return;
	free_workload(l, s, workload);
	retire_soon(r);
}

void retire_delivered(struct retire *r, uint64_t number, const uint8_t client[16])
{
	scrapers_delivered(&r->scrapers, number, client);
	for (size_t i = 0; i < r->n; i++)
		r->items[i].seen += number >= r->items[i].since;
	for (size_t i = 0; i < r->n_bygone; i++)
		r->bygone[i].seen += number >= r->bygone[i].since;
}

/* A workload that came back starts anew when it leaves again; one that is freed is forgotten. */
static void drop_former(struct retire *r, struct keyset *present, const struct snapshot *s)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		if (!keyset_has(present, &r->items[i].workload) &&
		    figures_of(s, r->items[i].workload).any)
			r->items[n++] = r->items[i];
	r->n = n;
}

static bool is_used(uint32_t id, void *ctx)
{
	return keyset_has(ctx, &id);
}

struct freeing {
	const struct loader *loader;
	struct identity *identity;
};

static void free_name(uint32_t id, void *ctx)
{
	const struct freeing *f = ctx;

	apply_unreserve(f->loader, id);
	identity_forget(f->identity, id);
}

/* Whom an address that is known leads to. */
static int list_peers(const struct loader *l, struct keyset *ids)
{
	_cleanup_free_ void *peers = NULL;
	size_t n = 0, size = sizeof(struct weir_peer_key) + sizeof(struct weir_peer);
	int err = map_read(loader_map(l, "weir_peers"), sizeof(struct weir_peer_key),
			   sizeof(struct weir_peer), &peers, &n);

	for (size_t i = 0; !err && i < n; i++) {
		struct weir_peer peer;

		memcpy(&peer, (char *)peers + i * size + sizeof(struct weir_peer_key),
		       sizeof(peer));
		add_id(ids, peer.workload);
		add_id(ids, peer.service);
	}
	return err;
}

/* Names that no pod, flow, verdict or peer bears. */
static void sweep_names(const struct loader *l, struct names *names, struct identity *identity,
			const struct snapshot *s, struct keyset *used)
{
	struct freeing freeing = { l, identity };

	if (list_peers(l, used))
		return;
	for (size_t i = 0; i < s->n_flows; i++)
		add_key(used, &s->flows[i].key);
	for (size_t i = 0; i < s->n_udp_flows; i++)
		add_key(used, &s->udp_flows[i].key);
	for (size_t i = 0; i < s->n_verdicts; i++)
		add_id(used, s->verdicts[i].key.workload);
	names_sweep(names, RETIRE_SCRAPES, is_used, used, free_name, &freeing);
}

/* -- peers that have left the cluster -----------------------------------------------------------
 */

enum { TCP_FLOWS, UDP_FLOWS, FLOW_TABLES };

static const struct {
	const char *map;
	enum weir_counter number;
} flow_tables[FLOW_TABLES] = {
	[TCP_FLOWS] = { "weir_flows", WEIR_COUNTER_FLOWS },
	[UDP_FLOWS] = { "weir_udp_flows", WEIR_COUNTER_UDP_FLOWS },
};

/* A flow of the snapshot, and who has left. */
struct bygone_flow {
	uint32_t id;
	int table;
	const struct weir_flow_key *key; /* the value is behind it */
};

struct bygone_flows {
	struct bygone_flow *items; /* owned */
	size_t n;
};

static struct rows all_flows(const struct snapshot *s, int table)
{
	if (table == TCP_FLOWS)
		return (struct rows){ (const char *)s->flows, s->n_flows, sizeof(*s->flows) };
	return (struct rows){ (const char *)s->udp_flows, s->n_udp_flows, sizeof(*s->udp_flows) };
}

static bool is_crowded(const struct loader *l, int table)
{
	uint32_t number = flow_tables[table].number, limit = WEIR_COUNTER_FLOWS_LIMIT;
	uint64_t used = 0, most = 0;
	int fd = loader_map(l, "weir_counters");

	return !bpf_map_lookup_elem(fd, &number, &used) &&
	       !bpf_map_lookup_elem(fd, &limit, &most) &&
	       used > most / RETIRE_CROWDED_DEN * RETIRE_CROWDED_NUM;
}

static bool has_left(struct keyset *known, uint32_t id)
{
	return id >= WEIR_ID_FIRST && !keyset_has(known, &id);
}

/* No new connection can be counted in such a flow. */
static uint32_t who_left(struct keyset *known, const struct weir_flow_key *key)
{
	if (has_left(known, key->peer))
		return key->peer;
	return has_left(known, key->service) ? key->service : WEIR_ID_NONE;
}

static int compare_bygone(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Those of crowded tables, by who has left. `present` gets the peers that are known as well. */
static void list_bygone(const struct loader *l, const struct snapshot *s, struct keyset *present,
			struct bygone_flows *ret)
{
	bool crowded[FLOW_TABLES] = { is_crowded(l, TCP_FLOWS), is_crowded(l, UDP_FLOWS) };

	if ((!crowded[TCP_FLOWS] && !crowded[UDP_FLOWS]) || list_peers(l, present))
		return;
	for (int t = 0; t < FLOW_TABLES; t++) {
		struct rows rows = all_flows(s, t);

		for (size_t i = 0; crowded[t] && i < rows.n; i++) {
			const struct weir_flow_key *key =
				(const void *)(rows.first + i * rows.size);
			uint32_t id = who_left(present, key);

			if (id != WEIR_ID_NONE)
				list_append(ret->items, ret->n,
					    ((struct bygone_flow){ id, t, key }));
		}
	}
	if (ret->n)
		qsort(ret->items, ret->n, sizeof(*ret->items), compare_bygone);
}

static struct figures bygone_figures(const struct snapshot *s, const struct bygone_flow *flows,
				     size_t n)
{
	struct figures f = { .any = n };

	for (size_t i = 0; i < n; i++) {
		const struct snapshot_flow *flow = (const void *)flows[i].key;
		struct rows rows = all_flows(s, flows[i].table);

		f.print += hash_bytes(HASH_BEGIN, flow, rows.size);
		f.open = f.open ||
			 (flows[i].table == TCP_FLOWS && flow->value.opened != flow->value.closed);
	}
	return f;
}

static void free_bygone(const struct loader *l, const struct snapshot *s,
			const struct bygone_flow *flows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int t = flows[i].table;
		const struct rows one = { (const char *)flows[i].key, 1, all_flows(s, t).size };

		uncount_flows(l, flow_tables[t].number,
			      forget_flows(loader_map(l, flow_tables[t].map), one));
	}
}

/* What was known of it in the last scrape. */
static struct retiree former_bygone(const struct retire *r, uint32_t id)
{
	const struct retiree *old =
		r->n_bygone ? bsearch(&id, r->bygone, r->n_bygone, sizeof(*old), compare_bygone)
			    : NULL;

	return old ? *old : (struct retiree){ .workload = id, .left_s = now_s() };
}

/* Where room is short, flows that nothing more will be counted in go when all have seen them. */
static void retire_bygone(struct retire *r, const struct loader *l, const struct snapshot *s,
			  struct keyset *present)
{
	struct bygone_flows flows = { 0 };
	struct retiree *now = NULL;
	size_t n = 0;

	list_bygone(l, s, present, &flows);
	for (size_t i = 0, of; i < flows.n; i += of) {
		struct retiree one = former_bygone(r, flows.items[i].id);

		for (of = 1; i + of < flows.n && flows.items[i + of].id == one.workload; of++)
			;
		if (is_over(r, &one, bygone_figures(s, &flows.items[i], of))) {
			free_bygone(l, s, &flows.items[i], of);
			retire_soon(r);
		}
		list_append(now, n, one);
	}
	free(flows.items);
	free(r->bygone);
	r->bygone = now;
	r->n_bygone = n;
}

/* Workloads that are in the snapshot and not on this node, each once, by id. */
static void list_departed(const struct snapshot *s, struct keyset *present, struct keyset *ids)
{
	_cleanup_keyset_ struct keyset scraped;
	uint32_t last = WEIR_ID_NONE;

	keyset_init(&scraped, sizeof(uint32_t));
	list_scraped(s, &scraped);
	keyset_sort(&scraped);
	for (size_t i = 0; i < scraped.n; i++) {
		uint32_t workload = id_at(&scraped, i);

		if (workload != last && !keyset_has(present, &workload))
			add_id(ids, workload);
		last = workload;
	}
}

uint64_t retire_scraped(struct retire *r, const struct loader *l, struct names *names,
			const struct reconciler *reconciler, const struct snapshot *s)
{
	_cleanup_keyset_ struct keyset present, departed;

	keyset_init(&present, sizeof(uint32_t));
	keyset_init(&departed, sizeof(uint32_t));
	r->number++;
	if (list_present(l, names, reconciler, &present))
		return r->number;
	drop_former(r, &present, s);
	list_departed(s, &present, &departed);
	for (size_t i = 0; i < departed.n; i++)
		judge(r, l, s, id_at(&departed, i));
	if (!identity_left_out(reconciler->identity)) /* else an address may only be missing */
		retire_bygone(r, l, s, &present);
	if (r->sweeps) {
		r->sweeps--;
		sweep_names(l, names, reconciler->identity, s, &present);
	}
	return r->number;
}

bool retire_must_make_room(struct retire *r, const struct loader *l, const struct names *names)
{
	return scrapers_none(&r->scrapers) &&
	       (names_left_out(names) != r->left_out || apply_is_full(l));
}

int retire_make_room(struct retire *r, const struct loader *l, struct names *names,
		     const struct reconciler *reconciler, const struct snapshot *now)
{
	_cleanup_keyset_ struct keyset present, departed;
	int err, freed = 0;

	keyset_init(&present, sizeof(uint32_t));
	keyset_init(&departed, sizeof(uint32_t));
	r->left_out = names_left_out(names);
	err = list_present(l, names, reconciler, &present);
	if (err)
		return err;
	list_departed(now, &present, &departed);
	for (size_t i = 0; i < departed.n; i++) {
		uint32_t workload = id_at(&departed, i);

		if (figures_of(now, workload).open)
			continue;
		free_workload(l, now, workload);
		freed++;
	}
	sweep_names(l, names, reconciler->identity, now, &present);
	return freed;
}

void retire_soon(struct retire *r)
{
	r->sweeps = RETIRE_SCRAPES + 1;
}

void retire_clear(struct retire *r)
{
	free(r->items);
	free(r->bygone);
	*r = (struct retire){ 0 };
}

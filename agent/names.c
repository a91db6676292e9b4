/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/names.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

struct named {
	struct weir_name name;
	struct weir_traits *traits; /* NULL: none; owned */
	uint32_t id;
	unsigned int unused; /* sweeps in which nobody bore it */
};

struct names {
	struct names_maps maps;
	uint32_t next;
	uint64_t left_out; /* names for which there was no room, each time */
	void *tree; /* by name and pod */
	void *ids; /* the same, by id */
};

static const char *pod_of(const struct named *e)
{
	return e->traits ? e->traits->pod : "";
}

static int compare(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int r = memcmp(&x->name, &y->name, sizeof(x->name));

	return r ? r : strncmp(pod_of(x), pod_of(y), sizeof(x->traits->pod));
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = ((const struct named *)a)->id, y = ((const struct named *)b)->id;

	return x < y ? -1 : x > y;
}

static void keep(void *element)
{
	(void)element; /* the other tree's */
}

static void forget(void *element)
{
	struct named *e = element;

	free(e->traits);
	free(e);
}

static struct weir_traits *copy_traits(const struct weir_traits *traits)
{
	struct weir_traits *copy = xcalloc(1, sizeof(*copy));

	*copy = *traits;
	return copy;
}

/* Takes nothing; what is there already stays. */
static struct named *remember(struct names *n, const struct named *like)
{
	struct named *e = xcalloc(1, sizeof(*e)), **at;

	*e = *like;
	if (like->traits)
		e->traits = copy_traits(like->traits);
	at = tsearch(e, &n->tree, compare);
	if (e->id >= n->next)
		n->next = e->id + 1;
	if (*at == e)
		tsearch(e, &n->ids, compare_ids);
	else
		forget(e);
	return *at;
}

/* What cannot be kept is found again as the highest id in use, at worst. */
static void keep_next(const struct names *n)
{
	uint32_t index = WEIR_COUNTER_NEXT_NAME;
	uint64_t next = n->next;

	bpf_map_update_elem(n->maps.counters, &index, &next, BPF_ANY);
}

struct names *names_open(const struct names_maps *maps)
{
	struct names *n = xcalloc(1, sizeof(*n));
	uint32_t index = WEIR_COUNTER_NEXT_NAME, key, *from = NULL, next;
	uint64_t kept = 0;

	n->maps = *maps;
	bpf_map_lookup_elem(maps->counters, &index, &kept);
	n->next = kept > WEIR_ID_FIRST ? (uint32_t)kept : WEIR_ID_FIRST;
	while (bpf_map_get_next_key(maps->names, from, &next) == 0) {
		struct named e = { .id = next };
		struct weir_traits traits;

		if (maps->traits >= 0 && bpf_map_lookup_elem(maps->traits, &next, &traits) == 0)
			e.traits = &traits;
		if (bpf_map_lookup_elem(maps->names, &next, &e.name) == 0)
			remember(n, &e);
		key = next;
		from = &key;
	}
	return n;
}

void names_free(struct names *n)
{
	if (n) {
		tdestroy(n->ids, keep);
		tdestroy(n->tree, forget);
	}
	free(n);
}

/* Traits come before the name: an id that has a name has them, whenever the agent is killed. */
static int write_new(const struct names *n, const struct named *e)
{
	if (n->maps.traits >= 0 && !e->traits)
		bpf_map_delete_elem(n->maps.traits, &e->id);
	if (e->traits && bpf_map_update_elem(n->maps.traits, &e->id, e->traits, BPF_ANY) < 0)
		return -errno;
	return bpf_map_update_elem(n->maps.names, &e->id, &e->name, BPF_NOEXIST) < 0 ? -errno : 0;
}

static struct named *find_or_make(struct names *n, struct named *key)
{
	struct named **found = tfind(key, &n->tree, compare), *e;

	if (found)
		return *found;
	key->id = n->next;
	if (write_new(n, key)) {
		/* said once: a cluster has as many names as it has, and each is asked for again */
		if (!n->left_out++)
			log_error("weir_names is full", "kind", key->name.kind, "namespace",
				  key->name.namespace, "name", key->name.name, "effect",
				  "counted as other", NULL);
		return NULL;
	}
	e = remember(n, key);
	keep_next(n);
	return e;
}

static void set_name(struct weir_name *name, const char *kind, const char *namespace,
		     const char *text)
{
	strncpy(name->kind, kind, sizeof(name->kind) - 1);
	strncpy(name->namespace, namespace, sizeof(name->namespace) - 1);
	strncpy(name->name, text, sizeof(name->name) - 1);
}

uint32_t names_id(struct names *n, const char *kind, const char *namespace, const char *name)
{
	struct named key = { 0 }, *e;

	set_name(&key.name, kind, namespace, name);
	e = find_or_make(n, &key);
	return e ? e->id : WEIR_ID_OTHER;
}

uint32_t names_pod_id(struct names *n, const char *kind, const char *namespace, const char *name,
		      const char *pod)
{
	struct weir_traits traits = { 0 };
	struct named key = { .traits = &traits }, *e;

	set_name(&key.name, kind, namespace, name);
	strncpy(traits.pod, pod, sizeof(traits.pod) - 1);
	e = find_or_make(n, &key);
	return e ? e->id : WEIR_ID_OTHER;
}

uint32_t names_describe(struct names *n, const char *kind, const char *namespace, const char *name,
			const struct weir_traits *traits)
{
	struct weir_traits copy = *traits;
	struct named key = { .traits = &copy }, *e;

	set_name(&key.name, kind, namespace, name);
	e = find_or_make(n, &key);
	if (!e)
		return WEIR_ID_OTHER;
	if (e->traits && !memcmp(e->traits, traits, sizeof(*traits)))
		return e->id;
	if (bpf_map_update_elem(n->maps.traits, &e->id, traits, BPF_ANY) < 0)
		return e->id; /* it is told as before */
	free(e->traits);
	e->traits = copy_traits(traits);
	return e->id;
}

uint64_t names_left_out(const struct names *n)
{
	return n->left_out;
}

const struct weir_name *names_name(const struct names *n, uint32_t id)
{
	struct named key = { .id = id }, **found = tfind(&key, &n->ids, compare_ids);

	return found ? &(*found)->name : NULL;
}

uint32_t names_workload(const struct names *n, uint32_t id)
{
	const struct weir_name *name = names_name(n, id);
	struct named key = { 0 }, **found;

	if (!name)
		return id;
	key.name = *name;
	found = tfind(&key, &n->tree, compare);
	return found ? (*found)->id : id;
}

struct sweep {
	unsigned int times;
	bool (*used)(uint32_t id, void *ctx);
	void *used_ctx;
	struct named **doomed;
	size_t n;
};

static void look(const void *node, VISIT visit, void *closure)
{
	struct named *e = *(struct named *const *)node;
	struct sweep *s = closure;

	if (visit != postorder && visit != leaf)
		return;
	e->unused = s->used(e->id, s->used_ctx) ? 0 : e->unused + 1;
	if (e->unused < s->times)
		return;
	s->doomed = xrealloc(s->doomed, (s->n + 1) * sizeof(struct named *));
	s->doomed[s->n++] = e;
}

void names_sweep(struct names *n, unsigned int times, bool (*used)(uint32_t id, void *ctx),
		 void *used_ctx, void (*freed)(uint32_t id, void *ctx), void *freed_ctx)
{
	struct sweep s = { .times = times, .used = used, .used_ctx = used_ctx };

	twalk_r(n->tree, look, &s);
	for (size_t i = 0; i < s.n; i++) {
		struct named *e = s.doomed[i];

		freed(e->id, freed_ctx);
		bpf_map_delete_elem(n->maps.names, &e->id);
		if (n->maps.traits >= 0)
			bpf_map_delete_elem(n->maps.traits, &e->id);
		tdelete(e, &n->ids, compare_ids);
		tdelete(e, &n->tree, compare);
		forget(e);
	}
	free(s.doomed);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/names.h"

#include <bpf/bpf.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "maps/flow.h"

struct named {
	struct weir_name name; /* first: what the tree compares */
	uint32_t id;
	unsigned int unused; /* sweeps in which nobody bore it */
};

struct names {
	int fd;
	int counters_fd;
	uint32_t next;
	void *tree;
};

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct weir_name));
}

static void remember(struct names *n, const struct weir_name *name, uint32_t id)
{
	struct named *e = xcalloc(1, sizeof(*e));

	e->name = *name;
	e->id = id;
	tsearch(e, &n->tree, compare);
	if (id >= n->next)
		n->next = id + 1;
}

/* What cannot be kept is found again as the highest id in use, at worst. */
static void keep_next(const struct names *n)
{
	uint32_t index = WEIR_COUNTER_NEXT_NAME;
	uint64_t next = n->next;

	bpf_map_update_elem(n->counters_fd, &index, &next, BPF_ANY);
}

struct names *names_open(int map_fd, int counters_fd)
{
	struct names *n = xcalloc(1, sizeof(*n));
	uint32_t index = WEIR_COUNTER_NEXT_NAME, key, *from = NULL, next;
	struct weir_name name;
	uint64_t kept = 0;

	n->fd = map_fd;
	n->counters_fd = counters_fd;
	bpf_map_lookup_elem(counters_fd, &index, &kept);
	n->next = kept > WEIR_ID_FIRST ? (uint32_t)kept : WEIR_ID_FIRST;
	while (bpf_map_get_next_key(map_fd, from, &next) == 0) {
		if (bpf_map_lookup_elem(map_fd, &next, &name) == 0)
			remember(n, &name, next);
		key = next;
		from = &key;
	}
	return n;
}

void names_free(struct names *n)
{
	if (n)
		tdestroy(n->tree, free);
	free(n);
}

uint32_t names_id(struct names *n, const char *kind, const char *namespace, const char *name)
{
	struct weir_name key = { 0 };
	struct named **found;
	uint32_t id = n->next;

	strncpy(key.kind, kind, sizeof(key.kind) - 1);
	strncpy(key.namespace, namespace, sizeof(key.namespace) - 1);
	strncpy(key.name, name, sizeof(key.name) - 1);
	found = tfind(&key, &n->tree, compare);
	if (found)
		return (*found)->id;
	if (bpf_map_update_elem(n->fd, &id, &key, BPF_NOEXIST) < 0) {
		log_error("weir_names is full", "kind", kind, "namespace", namespace, "name", name,
			  "effect", "counted as other", NULL);
		return WEIR_ID_OTHER;
	}
	remember(n, &key, id);
	keep_next(n);
	return id;
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
		bpf_map_delete_elem(n->fd, &e->id);
		tdelete(e, &n->tree, compare);
		free(e);
	}
	free(s.doomed);
}

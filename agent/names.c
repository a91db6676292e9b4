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
};

struct names {
	int fd;
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

struct names *names_open(int map_fd)
{
	struct names *n = xcalloc(1, sizeof(*n));
	uint32_t key, *from = NULL, next;
	struct weir_name name;

	n->fd = map_fd;
	n->next = WEIR_ID_FIRST;
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
	return id;
}

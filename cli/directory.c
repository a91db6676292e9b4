/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/directory.h"

#include <bpf/bpf.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static const struct weir_name fixed[WEIR_ID_FIRST] = {
	[WEIR_ID_UNKNOWN] = { .name = "unknown" }, [WEIR_ID_EXTERNAL] = { .name = "external" },
	[WEIR_ID_HOST] = { .name = "host" },	   [WEIR_ID_SEVERAL] = { .name = "several" },
	[WEIR_ID_OTHER] = { .name = "other" },
};

struct named {
	uint32_t id; /* first: what the tree compares */
	uint32_t same; /* id of the first that had this name */
	struct weir_name name;
};

static int compare_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_name(const void *a, const void *b)
{
	return memcmp(&((const struct named *)a)->name, &((const struct named *)b)->name,
		      sizeof(struct weir_name));
}

static int compare_cookie(const void *a, const void *b)
{
	uint64_t x = ((const struct pod_entry *)a)->cookie,
		 y = ((const struct pod_entry *)b)->cookie;

	return x < y ? -1 : x > y;
}

int directory_open(const char *bpf_dir, struct directory *ret)
{
	struct directory d = { .bpf_dir = bpf_dir };
	int r;

	d.names_fd = maps_open(bpf_dir, "weir_names", sizeof(uint32_t), sizeof(struct weir_name));
	if (d.names_fd < 0)
		return d.names_fd;
	r = directory_refresh(&d);
	if (r < 0)
		directory_close(&d);
	else
		*ret = d;
	return r;
}

static void keep(void *element)
{
	(void)element; /* the other tree's */
}

void directory_close(struct directory *d)
{
	pod_list_free(&d->pods);
	tdestroy(d->same, keep);
	tdestroy(d->names, free);
	d->names = d->same = NULL;
	close_fd(&d->names_fd);
}

int directory_refresh(struct directory *d)
{
	struct pod_list pods;
	int r = maps_pods(d->bpf_dir, &pods);

	if (r < 0)
		return r;
	pod_list_free(&d->pods);
	d->pods = pods;
	if (pods.n)
		qsort(pods.items, pods.n, sizeof(*pods.items), compare_cookie);
	return 0;
}

const struct pod_entry *directory_pod(const struct directory *d, uint64_t cookie)
{
	const struct pod_entry key = { .cookie = cookie };

	if (!d->pods.n)
		return NULL;
	return bsearch(&key, d->pods.items, d->pods.n, sizeof(key), compare_cookie);
}

#define TERMINATE(array) ((array)[sizeof(array) - 1] = '\0')

/* NULL for an id that is fixed, or that nothing names. */
static const struct named *find_name(struct directory *d, uint32_t id)
{
	struct named **found = tfind(&id, &d->names, compare_id);
	struct named *e;

	if (found || id < WEIR_ID_FIRST)
		return found ? *found : NULL;
	e = xcalloc(1, sizeof(*e));
	e->id = id;
	if (bpf_map_lookup_elem(d->names_fd, &id, &e->name) < 0) {
		free(e);
		return NULL;
	}
	TERMINATE(e->name.namespace);
	TERMINATE(e->name.name);
	TERMINATE(e->name.kind);
	tsearch(e, &d->names, compare_id);
	found = tsearch(e, &d->same, compare_name);
	e->same = (*found)->id;
	return e;
}

const struct weir_name *directory_name(struct directory *d, uint32_t id)
{
	const struct named *e = find_name(d, id);

	return e ? &e->name
		 : &fixed[id < WEIR_ID_FIRST && fixed[id].name[0] ? id : WEIR_ID_UNKNOWN];
}

uint32_t directory_same(struct directory *d, uint32_t id)
{
	const struct named *e = find_name(d, id);

	return e ? e->same : id;
}

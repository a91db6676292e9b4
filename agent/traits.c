/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/traits.h"

#include <stdlib.h>
#include <string.h>

#include "agent/workload.h"
#include "base/buf.h"

uint32_t traits_workload(struct names *names, const struct traits_options *o,
			 const struct managed *m)
{
	if (!o->pod_label)
		return names_id(names, m->workload_kind, m->namespace, m->workload);
	if (o->istio && !m->guard)
		return names_describe(names, m->workload_kind, m->namespace, m->workload,
				      &m->traits);
	return names_pod_id(names, m->workload_kind, m->namespace, m->workload, m->name);
}

/* A pod, and the workload that it is of. */
struct member {
	const struct pod *pod;
	char *name, *kind; /* owned */
};

static int compare_workloads(const struct member *a, const struct member *b)
{
	int r = strcmp(a->pod->namespace, b->pod->namespace);

	r = r ? r : strcmp(a->name, b->name);
	return r ? r : strcmp(a->kind, b->kind);
}

static int compare_members(const void *a, const void *b)
{
	const struct member *p = a, *q = b;
	int r = compare_workloads(p, q);

	return r ? r : pod_supersedes(p->pod, q->pod) ? -1 : 1;
}

static struct member *list_members(const struct source *source, size_t *ret_n)
{
	struct member *list = NULL;
	size_t n = 0;

	for (const struct source_file *f = source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_pods; i++) {
			struct member m = { .pod = f->objects.pods[i] };

			if (pod_finished(m.pod))
				continue;
			pod_workload(m.pod, &m.name, &m.kind);
			list_append(list, n, m);
		}
	if (n)
		qsort(list, n, sizeof(*list), compare_members);
	*ret_n = n;
	return list;
}

/* The pods of one workload stand side by side, the one that counts first; how many they are. */
static size_t describe(struct names *names, const struct member *first, size_t left)
{
	struct weir_traits traits, other;
	size_t n = 1;

	pod_traits(first->pod, first->name, &traits);
	memset(traits.pod, 0, sizeof(traits.pod));
	for (; n < left && !compare_workloads(first, &first[n]); n++) {
		pod_traits(first[n].pod, first->name, &other);
		traits.reported |= other.reported;
	}
	names_describe(names, first->kind, first->pod->namespace, first->name, &traits);
	return n;
}

void traits_sync(struct names *names, const struct traits_options *o, const struct source *source)
{
	struct member *members;
	size_t n;

	if (!o->istio)
		return;
	members = list_members(source, &n);
	for (size_t i = 0; i < n;)
		i += describe(names, &members[i], n - i);
	for (size_t i = 0; i < n; i++) {
		free(members[i].name);
		free(members[i].kind);
	}
	free(members);
}

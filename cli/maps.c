/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static const char *const mesh_names[] = {
	[WEIR_MESH_NONE] = "none",
	[WEIR_MESH_ISTIO] = "istio",
	[WEIR_MESH_LINKERD] = "linkerd",
	[WEIR_MESH_CUSTOM] = "custom",
};

static const char *const state_names[] = {
	[WEIR_MODE_OBSERVE] = "not_captured",
	[WEIR_MODE_CAPTURE] = "captured",
	[WEIR_MODE_REFUSE] = "failed",
};

int maps_open(const char *bpf_dir, const char *name, uint32_t key_size, uint32_t value_size)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", bpf_dir, name);
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	if (info.key_size != key_size || info.value_size != value_size)
		return -EPROTO;
	return TAKE_FD(fd);
}

char *maps_error(const char *bpf_dir, const char *name, int err)
{
	if (err == -ENOENT || err == -ENOTDIR)
		return xasprintf("no weir maps under %s: is the agent running? (--bpf-dir)",
				 bpf_dir);
	if (err == -EACCES || err == -EPERM)
		return xasprintf("%s/%s: permission denied: run as root", bpf_dir, name);
	if (err == -EPROTO)
		return xasprintf(
			"%s/%s was made by another version of weir: use that version's command",
			bpf_dir, name);
	return xasprintf("%s/%s: %s", bpf_dir, name, strerror(-err));
}

void pod_list_free(struct pod_list *pods)
{
	free(pods->items);
	*pods = (struct pod_list){ 0 };
}

static bool is_listed(const struct pod_list *pods, uint64_t cookie)
{
	for (size_t i = 0; i < pods->n; i++)
		if (pods->items[i].cookie == cookie)
			return true;
	return false;
}

#define TERMINATE(array) ((array)[sizeof(array) - 1] = '\0')

static void add_pod(struct pod_list *pods, int names_fd, int pods_fd, struct weir_netns key)
{
	struct pod_entry *pod;

	pods->items = xrealloc(pods->items, (pods->n + 1) * sizeof(*pods->items));
	pod = &pods->items[pods->n];
	*pod = (struct pod_entry){ .cookie = key.cookie };
	if (bpf_map_lookup_elem(names_fd, &key, &pod->names) < 0)
		return; /* gone meanwhile */
	TERMINATE(pod->names.namespace);
	TERMINATE(pod->names.name);
	TERMINATE(pod->names.uid);
	TERMINATE(pod->names.netns);
	pod->has_policy = pods_fd >= 0 && bpf_map_lookup_elem(pods_fd, &key, &pod->policy) == 0;
	pods->n++;
}

static int by_name(const void *a, const void *b)
{
	const struct pod_entry *p = a, *q = b;
	int r = strcmp(p->names.namespace, q->names.namespace);

	if (r == 0)
		r = strcmp(p->names.name, q->names.name);
	if (r == 0)
		r = p->cookie < q->cookie ? 1 : p->cookie > q->cookie ? -1 : 0;
	return r;
}

int maps_pods(const char *bpf_dir, struct pod_list *ret)
{
	_cleanup_close_ int names_fd =
		maps_open(bpf_dir, "weir_pod_names", sizeof(struct weir_netns),
			  sizeof(struct weir_pod_names));
	_cleanup_close_ int pods_fd =
		maps_open(bpf_dir, "weir_pods", sizeof(struct weir_netns), sizeof(struct weir_pod));
	_cleanup_pods_ struct pod_list pods = { 0 };
	struct weir_netns key, *last = NULL;

	if (names_fd < 0)
		return names_fd;
	if (pods_fd < 0 && pods_fd != -ENOENT)
		return pods_fd;
	/* A key that is deleted under way makes the walk start again: known ones are passed over.
	 */
	while (bpf_map_get_next_key(names_fd, last, &key) == 0) {
		if (!is_listed(&pods, key.cookie))
			add_pod(&pods, names_fd, pods_fd, key);
		last = &key;
	}
	if (pods.n)
		qsort(pods.items, pods.n, sizeof(*pods.items), by_name);
	*ret = pods;
	pods = (struct pod_list){ 0 };
	return 0;
}

const char *maps_mesh_name(enum weir_mesh mesh)
{
	return mesh < ARRAY_SIZE(mesh_names) ? mesh_names[mesh] : "unknown";
}

const char *maps_state_name(const struct pod_entry *pod)
{
	enum weir_mode mode = pod->has_policy ? pod->policy.mode : WEIR_MODE_OBSERVE;

	return mode < ARRAY_SIZE(state_names) ? state_names[mode] : "unknown";
}

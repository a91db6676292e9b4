/* SPDX-License-Identifier: Apache-2.0 */
/* sk_lookup of each captured pod: a program and a link for its network namespace. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/loader_private.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "netns.skel.h"

static char *netns_path(const struct loader *l, uint64_t cookie)
{
	return xasprintf("%s/netns/%llu", l->bpf_dir, (unsigned long long)cookie);
}

/* Loads sk_lookup for one namespace, on the maps that the main object has open. */
static int load_netns(const struct loader *l, uint64_t cookie, struct netns_bpf **ret)
{
	struct netns_bpf *skel = netns_bpf__open();
	struct bpf_map *map;
	int err = skel ? 0 : -errno;

	if (err)
		return err;
	skel->rodata->netns_cookie = cookie;
	bpf_object__for_each_map (map, skel->obj) {
		int fd = loader_map(l, bpf_map__name(map));

		if (!loader_owns(map))
			continue; /* its own .rodata */
		bpf_map__set_pin_path(map, NULL);
		err = err
			      ?: fd < 0 ? bpf_map__set_autocreate(map, false)
					: bpf_map__reuse_fd(map, fd);
	}
	err = err ?: netns_bpf__load(skel);
	if (err)
		netns_bpf__destroy(skel);
	else
		*ret = skel;
	return err;
}

static bool link_alive(struct bpf_link *link)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) == 0 && info.netns.netns_ino;
}

static bool is_fresh(const struct loader *l, uint64_t cookie)
{
	for (size_t i = 0; i < l->n_fresh; i++)
		if (l->fresh[i] == cookie)
			return true;
	return false;
}

static void set_fresh(struct loader *l, uint64_t cookie, bool fresh)
{
	for (size_t i = 0; i < l->n_fresh; i++) {
		if (l->fresh[i] != cookie)
			continue;
		l->fresh[i] = l->fresh[--l->n_fresh];
		break;
	}
	if (!fresh)
		return;
	l->fresh = xrealloc(l->fresh, (l->n_fresh + 1) * sizeof(*l->fresh));
	l->fresh[l->n_fresh++] = cookie;
}

static int attach_new(const char *path, struct bpf_program *prog, int netns_fd)
{
	struct bpf_link *link = bpf_program__attach_netns(prog, netns_fd);
	int err = link ? 0 : -errno;

	if (link) {
		err = bpf_link__pin(link, path);
		bpf_link__destroy(link);
	}
	return err;
}

int loader_attach_netns(struct loader *l, int netns_fd, uint64_t cookie)
{
	_cleanup_free_ char *path = netns_path(l, cookie);
	struct bpf_link *link = bpf_link__open(path);
	struct netns_bpf *skel = NULL;
	int err;

	if (link && is_fresh(l, cookie) && link_alive(link)) {
		bpf_link__destroy(link);
		return 0;
	}
	err = load_netns(l, cookie, &skel);
	if (!err && link && bpf_link__update_program(link, skel->progs.weir_lookup) < 0) {
		unlink(path); /* its network namespace is gone */
		err = attach_new(path, skel->progs.weir_lookup, netns_fd);
	} else if (!err && !link) {
		err = attach_new(path, skel->progs.weir_lookup, netns_fd);
	}
	if (link)
		bpf_link__destroy(link);
	netns_bpf__destroy(skel);
	if (!err)
		set_fresh(l, cookie, true);
	return err;
}

int loader_detach_netns(struct loader *l, uint64_t cookie)
{
	_cleanup_free_ char *path = netns_path(l, cookie);
	struct bpf_link *link = bpf_link__open(path);

	set_fresh(l, cookie, false);
	if (!link)
		return -ENOENT;
	bpf_link__detach(link);
	unlink(path);
	bpf_link__destroy(link);
	return 0;
}

bool loader_netns_alive(const struct loader *l, uint64_t cookie)
{
	_cleanup_free_ char *path = netns_path(l, cookie);
	struct bpf_link *link = bpf_link__open(path);
	bool alive = link && link_alive(link);

	if (link)
		bpf_link__destroy(link);
	return alive;
}

int loader_list_netns(const struct loader *l, uint64_t **ret, size_t *ret_n)
{
	_cleanup_free_ char *path = xasprintf("%s/netns", l->bpf_dir);
	_cleanup_closedir_ DIR *dir = opendir(path);
	uint64_t *list = NULL;
	size_t n = 0;

	if (!dir)
		return -errno;
	for (struct dirent *e; (e = readdir(dir));) {
		char *end;
		uint64_t cookie = strtoull(e->d_name, &end, 10);

		if (end == e->d_name || *end)
			continue;
		list = xrealloc(list, (n + 1) * sizeof(*list));
		list[n++] = cookie;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

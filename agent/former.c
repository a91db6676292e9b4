/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/former.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/layout.h"
#include "agent/map.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "exporter/mapread.h"
#include "maps/flow.h"

/* What is set aside has a pin that `weir cleanup` removes like the others. */
static const struct {
	const char *name, *aside;
} tables[FORMER_TABLES] = {
	[FORMER_FLOWS] = { "weir_flows", "weir_flows_old" },
	[FORMER_UDP_FLOWS] = { "weir_udp_flows", "weir_udp_flows_old" },
};

/* FORMER_TABLES: none of these. */
static enum former_table table_of(const struct bpf_map *map)
{
	int i = 0;

	while (i < FORMER_TABLES && strcmp(bpf_map__name(map), tables[i].name))
		i++;
	return i;
}

static int pinned_info(const char *path, struct bpf_map_info *ret)
{
	_cleanup_close_ int fd = bpf_obj_get(path);
	__u32 len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	if (fd < 0)
		return -errno;
	return bpf_obj_get_info_by_fd(fd, ret, &len) < 0 ? -errno : 0;
}

static char *path_of(const char *bpf_dir, const char *name)
{
	return xasprintf("%s/%s", bpf_dir, name);
}

/* Flows begin alike in all versions; of everything else the layout is what it is. */
static bool is_known_layout(const struct bpf_map *map, const struct bpf_map_info *pinned)
{
	return pinned->type == bpf_map__type(map) && pinned->key_size == bpf_map__key_size(map) &&
	       pinned->map_flags == bpf_map__map_flags(map) &&
	       (pinned->value_size == bpf_map__value_size(map) ||
		(table_of(map) != FORMER_TABLES && pinned->value_size % sizeof(uint64_t) == 0));
}

static int refuse(const char *path, const char *why, char **ret_error)
{
	*ret_error = xasprintf("%s is pinned by another version of weir with another layout (%s): "
			       "run that version, or weir cleanup, with which its figures are lost",
			       path, why);
	return -EEXIST;
}

static char *unlike_sizes(const struct bpf_map *map, const struct bpf_map_info *pinned)
{
	return xasprintf("key and value of %u and %u bytes, not %u and %u", pinned->key_size,
			 pinned->value_size, bpf_map__key_size(map), bpf_map__value_size(map));
}

/* NULL when the members are the same, or when the kernel does not tell what they were. */
static char *unlike_members(const struct bpf_object *obj, const struct bpf_map *map,
			    const struct bpf_map_info *pinned)
{
	struct btf *former = pinned->btf_id ? btf__load_from_kernel_by_id(pinned->btf_id) : NULL;
	const struct btf *now = bpf_object__btf(obj);
	const char *name = "its type";
	char *why = NULL;

	if (former && now &&
	    (!layout_is_kept(former, pinned->btf_key_type_id, now, bpf_map__btf_key_type_id(map),
			     &name) ||
	     !layout_is_kept(former, pinned->btf_value_type_id, now,
			     bpf_map__btf_value_type_id(map), &name)))
		why = xasprintf("%s is not what or where it was", name);
	btf__free(former);
	return why;
}

/* 0, or -EEXIST with *ret_error: what is pinned is not to be read as this version would. */
static int check_layout(const char *path, const struct bpf_object *obj, const struct bpf_map *map,
			const struct bpf_map_info *pinned, char **ret_error)
{
	_cleanup_free_ char *why = NULL;

	if (!is_known_layout(map, pinned))
		why = unlike_sizes(map, pinned);
	else if (pinned->value_size == bpf_map__value_size(map))
		why = unlike_members(obj, map, pinned);
	return why ? refuse(path, why, ret_error) : 0;
}

/* Has to be replaced, and not by one that is to be replaced itself. */
static bool must_grow(const struct bpf_map *map, const struct bpf_map_info *pinned, uint32_t flows,
		      const char *aside)
{
	if (pinned->value_size != bpf_map__value_size(map))
		return true;
	return pinned->max_entries < flows && access(aside, F_OK) != 0;
}

static int adopt_flows(const char *bpf_dir, struct bpf_map *map, const struct bpf_map_info *pinned,
		       uint32_t flows)
{
	_cleanup_free_ char *path = path_of(bpf_dir, bpf_map__name(map)),
			    *aside = path_of(bpf_dir, tables[table_of(map)].aside);

	if (!must_grow(map, pinned, flows, aside))
		return bpf_map__set_max_entries(map, pinned->max_entries);
	if (access(aside, F_OK) == 0)
		return -EEXIST;
	if (rename(path, aside) < 0)
		return -errno;
	return bpf_map__set_max_entries(map,
					flows > pinned->max_entries ? flows : pinned->max_entries);
}

static int adopt_map(const char *bpf_dir, const struct bpf_object *obj, struct bpf_map *map,
		     uint32_t flows, char **ret_error)
{
	_cleanup_free_ char *path = path_of(bpf_dir, bpf_map__name(map));
	bool is_flows = table_of(map) != FORMER_TABLES;
	struct bpf_map_info pinned;
	int err = pinned_info(path, &pinned);

	if (err == -ENOENT)
		return is_flows ? bpf_map__set_max_entries(map, flows) : 0;
	if (!err && check_layout(path, obj, map, &pinned, ret_error))
		return -EEXIST;
	if (!err)
		err = is_flows ? adopt_flows(bpf_dir, map, &pinned, flows)
			       : bpf_map__set_max_entries(map, pinned.max_entries);
	if (err)
		*ret_error = xasprintf("cannot take over %s: %s", path, strerror(-err));
	return err;
}

int former_adopt(const char *bpf_dir, struct bpf_object *obj, uint32_t flows, struct former *ret,
		 char **ret_error)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, obj) {
		int err = 0;

		if (!bpf_map__is_internal(map) && bpf_map__autocreate(map))
			err = adopt_map(bpf_dir, obj, map, flows, ret_error);
		if (err)
			return err;
	}
	*ret = (struct former){ 0 };
	for (int i = 0; i < FORMER_TABLES; i++) {
		_cleanup_free_ char *aside = path_of(bpf_dir, tables[i].aside);
		struct bpf_map_info info;

		map = bpf_object__find_map_by_name(obj, tables[i].name);
		if (map && bpf_map__autocreate(map) && pinned_info(aside, &info) == 0)
			ret->words[i] = info.value_size / (uint32_t)sizeof(uint64_t);
	}
	return 0;
}

/* Not a figure is left in it. */
static bool is_moved(int fd, uint32_t words)
{
	size_t value = words * sizeof(uint64_t), row = sizeof(struct weir_flow_key) + value;
	_cleanup_free_ char *entries = NULL;
	size_t n = 0;

	if (map_read(fd, sizeof(struct weir_flow_key), (uint32_t)value, (void **)&entries, &n))
		return false;
	for (size_t i = 0; i < n * row; i++)
		if (i % row >= sizeof(struct weir_flow_key) && entries[i])
			return false;
	return true;
}

static int run_merge(const struct bpf_program *merge, int fd)
{
	union bpf_iter_link_info info = { .map.map_fd = (__u32)fd };
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info,
			    .link_info_len = sizeof(info));
	struct bpf_link *link = bpf_program__attach_iter(merge, &opts);
	_cleanup_close_ int run = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	char none[64];
	ssize_t n = run < 0 ? -1 : 1;

	while (run >= 0 && (n > 0 || (n < 0 && errno == EAGAIN)))
		n = read(run, none, sizeof(none));
	if (n < 0)
		n = -errno;
	bpf_link__destroy(link);
	return (int)n;
}

int former_merge(const char *bpf_dir, const struct former *former, enum former_table table,
		 const struct bpf_program *merge)
{
	_cleanup_free_ char *aside = path_of(bpf_dir, tables[table].aside);
	_cleanup_close_ int fd = former->words[table] ? bpf_obj_get(aside) : -1;
	int err;

	if (!former->words[table])
		return 0;
	if (fd < 0)
		return -errno;
	/* Programs that had begun before their update still count there: all have ended then. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	err = run_merge(merge, fd);
	if (!err && !is_moved(fd, former->words[table]))
		err = -ENOSPC;
	if (!err && unlink(aside) < 0)
		err = -errno;
	return err;
}

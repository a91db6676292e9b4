/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sizes.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

/*
 * Not among them: weir_flows (--metrics.max-flows), weir_origdst (handshakes under way, bounded for
 * each pod besides), and arrays, whose size is part of their meaning.
 */
static const char *const resizable[] = {
	"weir_pods",  "weir_pod_names", "weir_pending",	  "weir_seen",
	"weir_local", "weir_ports",	"weir_cidrs",	  "weir_ids",
	"weir_links", "weir_routes",	"weir_names",	  "weir_traits",
	"weir_peers", "weir_verdicts",	"weir_listeners", "weir_flow_ports",
};

static const char *find_resizable(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(resizable); i++)
		if (strlen(resizable[i]) == len && !strncmp(resizable[i], name, len))
			return resizable[i];
	return NULL;
}

static char *list_resizable(void)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(resizable); i++)
		buf_printf(&b, "%s%s", i ? ", " : "", resizable[i]);
	return b.data;
}

int sizes_parse(struct sizes *sizes, const char *arg, char **ret_error)
{
	const char *equals = strchrnul(arg, '=');
	const char *map = find_resizable(arg, (size_t)(equals - arg));
	char *end = NULL;
	unsigned long n = *equals ? strtoul(equals + 1, &end, 10) : 0;

	if (!map || !end || end == equals + 1 || *end || n < 1 || n > 100000000 ||
	    sizes->n == SIZES_MAX) {
		_cleanup_free_ char *maps = list_resizable();

		*ret_error = xasprintf(
			"--map-size=%s: MAP=N, with a number from 1 to 100000000 and one of %s",
			arg, maps);
		return -EINVAL;
	}
	strncpy(sizes->items[sizes->n].map, map, sizeof(sizes->items[0].map) - 1);
	sizes->items[sizes->n++].entries = (uint32_t)n;
	return 0;
}

/* 0: it is not pinned. */
static uint32_t pinned_size(const char *bpf_dir, const char *map)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", bpf_dir, map);
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0 ? 0 : info.max_entries;
}

static uint32_t wanted_size(const struct sizes *sizes, const char *map)
{
	uint32_t n = 0;

	for (size_t i = 0; i < sizes->n; i++)
		if (!strcmp(sizes->items[i].map, map))
			n = sizes->items[i].entries;
	return n;
}

int sizes_apply(const struct sizes *sizes, struct bpf_object *obj, const char *bpf_dir)
{
	for (size_t i = 0; i < ARRAY_SIZE(resizable); i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, resizable[i]);
		uint32_t wanted = wanted_size(sizes, resizable[i]);
		uint32_t pinned = pinned_size(bpf_dir, resizable[i]);
		int err = 0;

		if (map && (pinned || wanted))
			err = bpf_map__set_max_entries(map, pinned ?: wanted);
		if (err)
			return err;
		if (wanted && pinned && wanted != pinned) {
			_cleanup_free_ char *text = xasprintf("%u", pinned);

			log_warn("--map-size: the table that an earlier agent left keeps its size "
				 "until weir cleanup",
				 "map", resizable[i], "entries", text, NULL);
		}
	}
	return 0;
}

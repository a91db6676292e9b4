/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/leftover.h"

#include <stdlib.h>
#include <string.h>

#include "agent/apply.h"
#include "agent/claim.h"
#include "agent/map.h"
#include "base/buf.h"
#include "maps/link.h"

/* What an earlier agent knew and nobody names now. A file that cannot be read may name it. */
static bool is_stranger(const void *key, const void *value, void *ctx)
{
	(void)value;
	return !claim_holder(ctx, ((const struct weir_netns *)key)->cookie, NULL);
}

int leftover_strangers(struct reconciler *r)
{
	_cleanup_free_ uint64_t *links = NULL;
	size_t n = 0;
	int changes;

	if (source_incomplete(r->source))
		return 0;
	loader_list_netns(r->loader, &links, &n);
	for (size_t i = 0; i < n; i++)
		if (!claim_holder(r, links[i], NULL))
			loader_detach_netns(r->loader, links[i]);
	changes = map_prune(loader_map(r->loader, "weir_pods"), sizeof(struct weir_netns),
			    sizeof(struct weir_pod), is_stranger, r);
	map_prune(loader_map(r->loader, "weir_pod_names"), sizeof(struct weir_netns),
		  sizeof(struct weir_pod_names), is_stranger, r);
	r->adopted = true;
	return changes;
}

/* A table of what is in the pods' networks, and where its keys have the cookie. */
struct network_map {
	const char *name;
	struct desired *desired;
	size_t cookie_offset;
	struct reconciler *r;
};

/* An address that a pod had once may be another pod's now: it is no longer within the first one. */
static bool is_former(const void *key, const void *value, void *ctx)
{
	struct network_map *map = ctx;
	const struct managed *m;
	uint64_t cookie;

	(void)value;
	if (desired_has(map->desired, key))
		return false;
	memcpy(&cookie, (const char *)key + map->cookie_offset, sizeof(cookie));
	m = claim_holder(map->r, cookie, NULL);
	return m ? m->written : !apply_known(map->r->loader, cookie);
}

int leftover_former(struct reconciler *r)
{
	struct network_map maps[] = {
		{ "weir_local", &r->addresses, offsetof(struct weir_local_addr, netns_cookie), r },
		{ "weir_links", &r->links.links, offsetof(struct weir_link_key, netns_cookie), r },
		{ "weir_routes", &r->links.routes, offsetof(struct weir_route_entry, netns_cookie),
		  r },
	};
	int changes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		int n = map_prune(loader_map(r->loader, maps[i].name), maps[i].desired->key_size,
				  maps[i].desired->value_size, is_former, &maps[i]);

		changes += n > 0 ? n : 0;
		desired_free(maps[i].desired);
	}
	return changes;
}

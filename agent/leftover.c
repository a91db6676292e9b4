/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/leftover.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "agent/apply.h"
#include "agent/claim.h"
#include "agent/map.h"
#include "base/buf.h"
#include "base/netns.h"
#include "exporter/mapread.h"
#include "maps/flow.h"
#include "maps/link.h"

static const struct {
	enum policy_state state;
	const char *reason;
} recalled[] = {
	[WEIR_MODE_OBSERVE] = { POLICY_NOT_CAPTURED, "an earlier agent did not capture it; its "
						     "object is not known yet" },
	[WEIR_MODE_CAPTURE] = { POLICY_CAPTURED, "an earlier agent captured it, and it stays so; "
						 "its object is not known yet" },
	[WEIR_MODE_REFUSE] = { POLICY_FAILED, "an earlier agent had its connections refused, and "
					      "it stays so; its object is not known yet" },
};

/* To be shown, not to be written anywhere: its lists are in the kernel alone. */
static struct policy *recalled_policy(const struct weir_pod *pod,
				      const struct weir_pod_names *names)
{
	struct policy *policy = xcalloc(1, sizeof(*policy));

	policy->state = recalled[pod->mode].state;
	policy->reason = xstrdup(recalled[pod->mode].reason);
	policy->mesh = names->mesh;
	policy->pod = *pod;
	return policy;
}

static enum place_how recalled_how(const struct reconciler *r, const char *netns)
{
	for (const struct sandbox *s = r->places->sandboxes->list; s; s = s->next)
		if (!strcmp(s->netns, netns))
			return PLACE_CNI;
	return strncmp(netns, "/proc/", 6) ? PLACE_FILE : PLACE_PROCESS;
}

static void recall(struct reconciler *r, uint64_t cookie, const struct weir_pod *pod)
{
	const struct source_file said = { .name = (char *)"weir_pods" };
	struct weir_netns key = { .cookie = cookie };
	struct weir_pod_names names = { 0 };
	struct weir_name workload = { 0 };
	struct weir_addr ips[2];
	struct pod as_pod = { .namespace = names.namespace,
			      .name = names.name,
			      .uid = names.uid,
			      .node_name = (char *)r->places->node,
			      .ips = ips };
	struct place place = { 0 };
	struct managed *m;

	if (pod->mode >= ARRAY_SIZE(recalled))
		return; /* of a later version */
	bpf_map_lookup_elem(loader_map(r->loader, "weir_pod_names"), &key, &names);
	bpf_map_lookup_elem(loader_map(r->loader, "weir_names"), &pod->workload, &workload);
	if (!weir_addr_is_any(&pod->ip4))
		ips[as_pod.n_ips++] = pod->ip4;
	if (!weir_addr_is_any(&pod->ip6))
		ips[as_pod.n_ips++] = pod->ip6;
	place.netns = xstrdup(names.netns);
	place.cgroup = xstrdup(discovery_cgroup(r->places->discovery, names.uid) ?: "");
	place.how = recalled_how(r, names.netns);
	m = reconciler_add(r);
	managed_take(m, &as_pod, &said, &place);
	free(m->workload);
	free(m->workload_kind);
	m->workload = xstrdup(workload.name);
	m->workload_kind = xstrdup(workload.kind);
	m->policy = recalled_policy(pod, &names);
	m->state = m->policy->state;
	m->reason = xstrdup(m->policy->reason);
	m->cookie = cookie;
	m->applied = true;
	m->recalled = true;
}

static bool is_nameless(const void *key, const void *value, void *ctx)
{
	(void)value;
	return !claim_holder(ctx, ((const struct weir_netns *)key)->cookie, NULL);
}

/* What an agent that was killed between two steps has left. */
static void drop_halves(struct reconciler *r)
{
	_cleanup_free_ uint64_t *links = NULL;
	size_t n = 0;

	loader_list_netns(r->loader, &links, &n);
	for (size_t i = 0; i < n; i++)
		if (!claim_holder(r, links[i], NULL))
			loader_detach_netns(r->loader, links[i]);
	map_prune(loader_map(r->loader, "weir_pod_names"), sizeof(struct weir_netns),
		  sizeof(struct weir_pod_names), is_nameless, r);
	apply_prune(r->loader);
}

int leftover_recall(struct reconciler *r)
{
	size_t size = sizeof(struct weir_netns) + sizeof(struct weir_pod), n = 0;
	_cleanup_free_ void *entries = NULL;
	int err = map_read(loader_map(r->loader, "weir_pods"), sizeof(struct weir_netns),
			   sizeof(struct weir_pod), &entries, &n);

	if (err)
		return err;
	discovery_scan(r->places->discovery);
	for (size_t i = 0; i < n; i++) {
		const char *entry = (const char *)entries + i * size;
		struct weir_netns key;
		struct weir_pod pod;

		memcpy(&key, entry, sizeof(key));
		memcpy(&pod, entry + sizeof(key), sizeof(pod));
		recall(r, key.cookie, &pod);
	}
	drop_halves(r);
	return 0;
}

/* A link ends with its network namespace; or somebody has detached it, and the path still leads
 * there. */
bool leftover_ended(const struct reconciler *r, const struct managed *m)
{
	_cleanup_close_ int fd = -1;
	uint64_t cookie;

	if (m->policy->pod.mode == WEIR_MODE_OBSERVE || loader_netns_alive(r->loader, m->cookie))
		return false;
	fd = netns_open(m->netns);
	return fd < 0 || netns_cookie(fd, &cookie) || cookie != m->cookie;
}

/* A table of what is in the pods' networks, and where its keys have the cookie. */
struct network_map {
	const char *name;
	size_t value_size;
	size_t cookie_offset;
	struct keyset *desired;
	struct reconciler *r;
};

#define NETWORK_MAP(map, key, value) #map, sizeof(value), offsetof(struct key, netns_cookie)

/* An address that a pod had once may be another pod's now: it is no longer within the first one. */
static bool is_former(const void *key, const void *value, void *ctx)
{
	struct network_map *map = ctx;
	const struct managed *m;
	uint64_t cookie;

	(void)value;
	if (keyset_has(map->desired, key))
		return false;
	memcpy(&cookie, (const char *)key + map->cookie_offset, sizeof(cookie));
	m = claim_holder(map->r, cookie, NULL);
	return m ? m->written : !apply_known(map->r->loader, cookie);
}

int leftover_former(struct reconciler *r)
{
	struct network_map maps[] = {
		{ NETWORK_MAP(weir_local, weir_local_addr, uint32_t), &r->addresses, r },
		{ NETWORK_MAP(weir_links, weir_link_key, struct weir_link), &r->links.links, r },
		{ NETWORK_MAP(weir_routes, weir_route_entry, struct weir_route), &r->links.routes,
		  r },
	};
	int changes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		int n = map_prune(loader_map(r->loader, maps[i].name), maps[i].desired->key_size,
				  maps[i].value_size, is_former, &maps[i]);

		changes += n > 0 ? n : 0;
		keyset_free(maps[i].desired);
	}
	return changes;
}

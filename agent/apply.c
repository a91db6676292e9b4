/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/apply.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/addresses.h"
#include "agent/idmap.h"
#include "agent/map.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/netns.h"
#include "maps/datagram.h"
#include "maps/flow.h"
#include "maps/origdst.h"

static bool get_pod(const struct loader *l, uint64_t cookie, struct weir_pod *ret)
{
	struct weir_netns key = { .cookie = cookie };

	return bpf_map_lookup_elem(loader_map(l, "weir_pods"), &key, ret) == 0;
}

bool apply_known(const struct loader *l, uint64_t cookie)
{
	struct weir_pod pod;

	return get_pod(l, cookie, &pod);
}

uint32_t apply_generation(const struct loader *l, uint64_t cookie)
{
	struct weir_pod pod;

	return get_pod(l, cookie, &pod) ? pod.generation : 0;
}

bool apply_unsteerable(const struct loader *l, uint64_t cookie, uint16_t port)
{
	struct weir_port_key key = { .netns_cookie = cookie, .port = port };
	enum weir_seen seen;

	return bpf_map_lookup_elem(loader_map(l, "weir_seen"), &key, &seen) == 0 &&
	       seen == WEIR_SEEN_UNSTEERABLE;
}

struct taken apply_taken(const struct loader *l, uint64_t cookie)
{
	struct weir_pod pod;
	bool captured = get_pod(l, cookie, &pod) && pod.mode == WEIR_MODE_CAPTURE;

	return (struct taken){ .captured = captured,
			       .over = captured && (pod.flags & WEIR_POD_TAKEN_OVER) };
}

bool apply_captured(const struct loader *l, uint64_t cookie)
{
	return apply_taken(l, cookie).captured;
}

struct list_writer {
	int fd;
	int changes;
	struct weir_port_entry key;
};

static int write_prefix(uint16_t prefix, int bits, void *arg)
{
	static const struct weir_present present = { .present = 1 };
	struct list_writer *w = arg;
	int err;

	w->key.prefixlen = (__u32)(WEIR_LIST_BITS + bits);
	w->key.port[0] = (__u8)(prefix >> 8);
	w->key.port[1] = (__u8)prefix;
	err = map_put(w->fd, &w->key, &present, sizeof(present));
	if (err > 0)
		w->changes += err;
	return err < 0 ? err : 0;
}

static int write_ports(const struct loader *l, const struct placement *p, uint32_t generation)
{
	struct list_writer w = { .fd = loader_map(l, "weir_ports") };

	for (size_t i = 0; i < p->policy->n_ports; i++) {
		const struct port_range *range = &p->policy->ports[i];
		int err;

		w.key = (struct weir_port_entry){ .generation = generation,
						  .netns_cookie = p->cookie,
						  .list = range->list };
		err = range_to_prefixes(range->lo, range->hi, write_prefix, &w);
		if (err)
			return err;
	}
	return w.changes;
}

static int write_cidrs(const struct loader *l, const struct placement *p, uint32_t generation)
{
	static const struct weir_present present = { .present = 1 };
	int fd = loader_map(l, "weir_cidrs"), changes = 0;

	for (size_t i = 0; i < p->policy->n_cidrs; i++) {
		const struct cidr *c = &p->policy->cidrs[i];
		struct weir_cidr_entry key = { .prefixlen = WEIR_LIST_BITS + c->bits,
					       .generation = generation,
					       .netns_cookie = p->cookie,
					       .list = c->list,
					       .addr = c->addr };
		int err = map_put(fd, &key, &present, sizeof(present));

		if (err < 0)
			return err;
		changes += err;
	}
	return changes;
}

/*
 * Users and groups as the hooks see them. A network namespace never changes the user namespace that
 * owns it, so what is in force already need not be translated again: that costs a process.
 */
static int write_ids(const struct loader *l, const struct placement *p, struct weir_pod *pod)
{
	static const struct weir_present present = { .present = 1 };
	int fd = loader_map(l, "weir_ids"), changes = 0, err;
	_cleanup_idmap_ struct idmap map = { 0 };
	struct weir_pod old;

	if (pod->mode == WEIR_MODE_OBSERVE && !(pod->flags & WEIR_POD_OWNERS))
		return 0;
	if (get_pod(l, p->cookie, &old) && old.generation == pod->generation) {
		pod->proxy_uid = old.proxy_uid;
		pod->proxy_gid = old.proxy_gid;
		return 0;
	}
	err = idmap_read(p->netns_fd, &map);
	if (err)
		return err;
	pod->proxy_uid = idmap_uid(&map, pod->proxy_uid);
	pod->proxy_gid = idmap_gid(&map, pod->proxy_gid);
	for (size_t i = 0; i < p->policy->n_ids; i++) {
		const struct policy_id *id = &p->policy->ids[i];
		struct weir_id_entry key = {
			.netns_cookie = p->cookie,
			.generation = pod->generation,
			.list = id->list,
			.id = id->list == WEIR_LIST_PROXY_UID ? idmap_uid(&map, id->id)
							      : idmap_gid(&map, id->id),
		};

		err = map_put(fd, &key, &present, sizeof(present));
		if (err < 0)
			return err;
		changes += err;
	}
	return changes;
}

/*
 * Envoy marks its connections to its own application by the source ::6, which istio-init gives to
 * lo (127.0.0.6 needs no such help). A pod without IPv6 goes without. A runtime may run CNI's
 * loopback plugin beside the others, and that fails when lo has an address that is none of
 * loopback.
 */
static void add_passthrough_address(const struct placement *p)
{
	static const struct weir_addr six = { .ip = { [15] = 6 } };
	const struct weir_pod *pod = &p->policy->pod;

	if (!p->young && pod->mode == WEIR_MODE_CAPTURE && pod->rules == WEIR_RULES_ISTIO &&
	    (pod->flags & WEIR_POD_IPV6))
		addresses_add_lo_v6(p->netns_fd, &six);
}

/* No other global address than those that the pod's entry holds. */
static bool are_known(const struct weir_pod *pod, const struct weir_addr *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (weir_addr_is_global(&list[i]) && !weir_addr_equal(&list[i], &pod->ip4) &&
		    !weir_addr_equal(&list[i], &pod->ip6))
			return false;
	return true;
}

/* The pod's addresses as the kernel has them; its own source address where status has none yet. */
static int write_addresses(const struct loader *l, const struct placement *p, struct weir_pod *pod)
{
	_cleanup_free_ struct weir_addr *list = NULL;
	int fd = loader_map(l, "weir_local"), changes = 0;
	static const __u32 one = 1;
	size_t n = 0;
	int err;

	add_passthrough_address(p);
	err = addresses_read(p->netns_fd, &list, &n);
	if (err)
		return err;
	/* Those of its status may come to its interfaces later than the pod to us. */
	list = xrealloc(list, (n + 2) * sizeof(*list));
	list[n++] = pod->ip4;
	list[n++] = pod->ip6;
	for (size_t i = 0; i < n; i++) {
		struct weir_local_addr key = { .netns_cookie = p->cookie, .addr = list[i] };
		struct weir_addr *source = weir_addr_is_v4(&list[i]) ? &pod->ip4 : &pod->ip6;

		if (weir_addr_is_global(&list[i]) && weir_addr_is_any(source))
			*source = list[i];
		if (weir_addr_is_any(&list[i]))
			continue;
		keyset_add(p->addresses, &key);
		err = map_put(fd, &key, &one, sizeof(one));
		if (err < 0)
			return err;
		changes += err;
	}
	if (are_known(pod, list, n))
		pod->flags |= WEIR_POD_ADDRS_KNOWN;
	return changes;
}

/*
 * Each workload's place for what does not fit into a table of flows is made before it is needed. A
 * table that is full already costs it that place, never a verdict. weir_udp_flows may not be there.
 */
#define EACH_OVERFLOW 6

union any_flow {
	struct weir_flow connections;
	struct weir_udp_flow datagrams;
};

static const struct {
	const char *map;
	size_t value_size;
} flow_tables[] = {
	{ "weir_flows", sizeof(struct weir_flow) },
	{ "weir_udp_flows", sizeof(struct weir_udp_flow) },
};

static void overflow_keys(uint32_t workload, struct weir_flow_key ret_keys[EACH_OVERFLOW])
{
	static const struct {
		enum weir_direction direction;
		enum weir_via via;
	} kinds[EACH_OVERFLOW] = {
		{ WEIR_OUTBOUND, WEIR_VIA_DIRECT },	 { WEIR_OUTBOUND, WEIR_VIA_PROXY },
		{ WEIR_OUTBOUND, WEIR_VIA_LEG_NETWORK }, { WEIR_INBOUND, WEIR_VIA_DIRECT },
		{ WEIR_INBOUND, WEIR_VIA_PROXY },	 { WEIR_INBOUND, WEIR_VIA_LEG_APPLICATION },
	};

	for (size_t i = 0; i < EACH_OVERFLOW; i++)
		ret_keys[i] = (struct weir_flow_key){ .workload = workload,
						      .peer = WEIR_ID_OTHER,
						      .port = WEIR_PORT_OTHER,
						      .direction = kinds[i].direction,
						      .via = kinds[i].via };
}

/* 0, or -E2BIG when not all of them have room. */
static int reserve_overflow(const struct loader *l, uint32_t workload)
{
	static const union any_flow zero;
	struct weir_flow_key keys[EACH_OVERFLOW];
	int err = 0;

	overflow_keys(workload, keys);
	for (size_t t = 0; t < ARRAY_SIZE(flow_tables); t++)
		for (size_t i = 0; i < EACH_OVERFLOW; i++)
			if (bpf_map_update_elem(loader_map(l, flow_tables[t].map), &keys[i], &zero,
						BPF_NOEXIST) == -E2BIG)
				err = -E2BIG;
	return err;
}

static void unreserve(int fd, size_t value_size, uint32_t workload)
{
	static const union any_flow zero;
	struct weir_flow_key keys[EACH_OVERFLOW];

	overflow_keys(workload, keys);
	for (size_t i = 0; i < EACH_OVERFLOW; i++) {
		union any_flow now;

		if (bpf_map_lookup_elem(fd, &keys[i], &now) == 0 &&
		    !memcmp(&now, &zero, value_size))
			map_remove(fd, &keys[i]);
	}
}

void apply_unreserve(const struct loader *l, uint32_t workload)
{
	for (size_t t = 0; t < ARRAY_SIZE(flow_tables); t++)
		unreserve(loader_map(l, flow_tables[t].map), flow_tables[t].value_size, workload);
}

/* One more row, of nobody's, is tried. */
static bool has_no_place(int fd, const void *key)
{
	static const __u64 zero;
	int err = bpf_map_update_elem(fd, key, &zero, BPF_NOEXIST);

	if (!err)
		bpf_map_delete_elem(fd, key);
	return err == -E2BIG;
}

bool apply_is_full(const struct loader *l)
{
	static const struct weir_verdict_key verdict = { .workload = WEIR_ID_NONE };
	static const struct weir_flow_port port = { .workload = WEIR_ID_NONE };
	bool full = reserve_overflow(l, WEIR_ID_NONE) < 0;

	apply_unreserve(l, WEIR_ID_NONE);
	return full || has_no_place(loader_map(l, "weir_verdicts"), &verdict) ||
	       has_no_place(loader_map(l, "weir_flow_ports"), &port);
}

static int write_names(const struct loader *l, const struct placement *p)
{
	struct weir_pod_names *names = xcalloc(1, sizeof(*names));
	struct weir_netns key = { .cookie = p->cookie };
	int err;

	strncpy(names->namespace, p->namespace, sizeof(names->namespace) - 1);
	strncpy(names->name, p->name, sizeof(names->name) - 1);
	strncpy(names->uid, p->uid, sizeof(names->uid) - 1);
	strncpy(names->netns, p->netns, sizeof(names->netns) - 1);
	names->mesh = p->policy->mesh;
	memcpy(names->sources, p->policy->sources, sizeof(names->sources));
	err = map_put(loader_map(l, "weir_pod_names"), &key, names, sizeof(*names));
	free(names);
	return err;
}

/* Without it the pod's pending handshakes are not bounded by themselves, only those of the node. */
static void make_counter(const struct loader *l, uint64_t cookie)
{
	struct weir_netns key = { .cookie = cookie };
	static const __u64 zero;

	bpf_map_update_elem(loader_map(l, "weir_pending"), &key, &zero, BPF_NOEXIST);
}

static int write_pod(const struct loader *l, uint64_t cookie, const struct weir_pod *pod)
{
	struct weir_netns key = { .cookie = cookie };

	return map_put(loader_map(l, "weir_pods"), &key, pod, sizeof(*pod));
}

/* Adds a step's changes to the sum; its error ends the work. */
#define STEP(sum, step)                    \
	({                                 \
		int changes_ = (step);     \
		if (changes_ >= 0)         \
			(sum) += changes_; \
		changes_;                  \
	})

static int write_lists(const struct loader *l, const struct placement *p, struct weir_pod *pod)
{
	int sum = 0, err;

	pod->generation = policy_generation(p->policy);
	err = STEP(sum, write_ports(l, p, pod->generation));
	if (err >= 0)
		err = STEP(sum, write_cidrs(l, p, pod->generation));
	if (err >= 0)
		err = STEP(sum, write_ids(l, p, pod));
	if (err >= 0)
		err = STEP(sum, write_addresses(l, p, pod));
	if (err >= 0)
		err = STEP(sum, links_apply(l, p->policy, p->netns_fd, p->cookie, p->links));
	return err < 0 ? err : sum;
}

/* The pod must not be let through unseen: what would have been captured is refused. */
static int refuse_pod(struct loader *l, const struct placement *p, struct weir_pod *pod)
{
	pod->mode = WEIR_MODE_REFUSE;
	pod->generation = 0; /* what was written of its lists is dead */
	write_names(l, p);
	write_pod(l, p->cookie, pod);
	return loader_attach_netns(l, p->netns_fd, p->cookie);
}

static char *explain_full(int err)
{
	if (err == -EAGAIN)
		return xstrdup("its user namespace has no id map yet");
	if (err == -ENOSPC || err == -E2BIG)
		return xstrdup("its port and address lists do not fit into weir's tables");
	return xasprintf("its policy could not be written: %s", strerror(-err));
}

/* Listeners and connections that are there already; new ones record themselves. */
static int adopt(struct loader *l, const struct placement *p, char **ret_error)
{
	int err = loader_adopt(l, p->netns_fd);

	if (err)
		*ret_error = xasprintf("cannot look for its sockets: %s", strerror(-err));
	return err;
}

static int steer(struct loader *l, const struct placement *p, char **ret_error)
{
	int err;

	if (p->policy->pod.mode == WEIR_MODE_OBSERVE) {
		err = loader_detach_netns(l, p->cookie);
		return err == -ENOENT ? 0 : 1;
	}
	err = loader_attach_netns(l, p->netns_fd, p->cookie);
	if (err)
		*ret_error = xasprintf("cannot steer inbound connections: %s", strerror(-err));
	return err;
}

int apply_policy(struct loader *l, const struct placement *p, char **ret_error)
{
	struct weir_pod pod = p->policy->pod;
	int sum = 0, err;

	pod.workload = p->workload;
	reserve_overflow(l, p->workload);
	err = STEP(sum, write_lists(l, p, &pod));
	if (err < 0) {
		*ret_error = explain_full(err);
		if (pod.mode != WEIR_MODE_OBSERVE && !apply_captured(l, p->cookie))
			refuse_pod(l, p, &pod);
		return err;
	}
	make_counter(l, p->cookie);
	err = STEP(sum, write_names(l, p));
	if (err >= 0)
		err = STEP(sum, write_pod(l, p->cookie, &pod));
	if (err < 0) {
		*ret_error = explain_full(err);
		return err;
	}
	err = sum > 0 ? adopt(l, p, ret_error) : 0;
	if (!err)
		err = STEP(sum, steer(l, p, ret_error));
	return err < 0 ? err : sum;
}

int apply_removal(struct loader *l, uint64_t cookie)
{
	struct weir_netns key = { .cookie = cookie };

	loader_detach_netns(l, cookie);
	map_remove(loader_map(l, "weir_pods"), &key);
	map_remove(loader_map(l, "weir_pod_names"), &key);
	return 1;
}

static bool port_is_dead(const void *key, const void *value, void *ctx)
{
	const struct weir_port_entry *e = key;
	struct weir_pod pod;

	(void)value;
	return !get_pod(ctx, e->netns_cookie, &pod) || pod.generation != e->generation;
}

static bool cidr_is_dead(const void *key, const void *value, void *ctx)
{
	const struct weir_cidr_entry *e = key;
	struct weir_pod pod;

	(void)value;
	return !get_pod(ctx, e->netns_cookie, &pod) || pod.generation != e->generation;
}

static bool id_is_dead(const void *key, const void *value, void *ctx)
{
	const struct weir_id_entry *e = key;
	struct weir_pod pod;

	(void)value;
	return !get_pod(ctx, e->netns_cookie, &pod) || pod.generation != e->generation;
}

static bool pending_is_dead(const void *key, const void *value, void *ctx)
{
	struct weir_pod pod;

	(void)value;
	return !get_pod(ctx, ((const struct weir_netns *)key)->cookie, &pod);
}

static bool seen_is_dead(const void *key, const void *value, void *ctx)
{
	struct weir_pod pod;

	(void)value;
	return !get_pod(ctx, ((const struct weir_port_key *)key)->netns_cookie, &pod);
}

int apply_prune(const struct loader *l)
{
	static const struct {
		const char *map;
		size_t key_size, value_size;
		bool (*dead)(const void *key, const void *value, void *ctx);
	} prunes[] = {
		{ "weir_ports", sizeof(struct weir_port_entry), sizeof(struct weir_present),
		  port_is_dead },
		{ "weir_cidrs", sizeof(struct weir_cidr_entry), sizeof(struct weir_present),
		  cidr_is_dead },
		{ "weir_ids", sizeof(struct weir_id_entry), sizeof(struct weir_present),
		  id_is_dead },
		{ "weir_pending", sizeof(struct weir_netns), sizeof(__u64), pending_is_dead },
		{ "weir_seen", sizeof(struct weir_port_key), sizeof(enum weir_seen), seen_is_dead },
	};
	int sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(prunes); i++) {
		int n = map_prune(loader_map(l, prunes[i].map), prunes[i].key_size,
				  prunes[i].value_size, prunes[i].dead, (void *)l);

		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

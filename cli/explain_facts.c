/* SPDX-License-Identifier: Apache-2.0 */
/* What the maps, and the pod's network namespace, know about a connection. */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/explain.h"
#include "cli/listeners.h"
#include "cli/responders.h"
#include "maps/origdst.h"

/* 1, 0, or -errno. The value does not matter, its size does: larger than any map that is asked. */
static int has_key(int fd, const void *key)
{
	uint64_t value[8];

	if (bpf_map_lookup_elem(fd, key, value) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

static int list_has_port(int fd, const struct pod_entry *pod, enum weir_list list, uint16_t port)
{
	struct weir_port_entry key = {
		.prefixlen = WEIR_PORT_BITS,
		.generation = pod->policy.generation,
		.netns_cookie = pod->cookie,
		.list = list,
		.port = { (uint8_t)(port >> 8), (uint8_t)port },
	};

	return has_key(fd, &key);
}

static int list_has_addr(int fd, const struct pod_entry *pod, enum weir_list list,
			 const struct weir_addr *addr)
{
	struct weir_cidr_entry key = {
		.prefixlen = WEIR_CIDR_BITS,
		.generation = pod->policy.generation,
		.netns_cookie = pod->cookie,
		.list = list,
		.addr = *addr,
	};

	return has_key(fd, &key);
}

static int list_has_id(int fd, const struct pod_entry *pod, enum weir_list list, uint32_t id)
{
	struct weir_id_entry key = {
		.netns_cookie = pod->cookie,
		.generation = pod->policy.generation,
		.list = list,
		.id = id,
	};

	return has_key(fd, &key);
}

static int ask_list(const char *bpf_dir, const struct explain_list *l,
		    const struct explain_query *q, const struct pod_entry *pod,
		    const char **ret_map)
{
	static const struct {
		const char *name;
		uint32_t key_size;
	} maps[] = {
		[EXPLAIN_PORT] = { "weir_ports", sizeof(struct weir_port_entry) },
		[EXPLAIN_TO] = { "weir_cidrs", sizeof(struct weir_cidr_entry) },
		[EXPLAIN_FROM] = { "weir_cidrs", sizeof(struct weir_cidr_entry) },
		[EXPLAIN_UID] = { "weir_ids", sizeof(struct weir_id_entry) },
		[EXPLAIN_GID] = { "weir_ids", sizeof(struct weir_id_entry) },
	};
	const char *name = maps[l->subject].name;
	_cleanup_close_ int fd =
		maps_open(bpf_dir, name, maps[l->subject].key_size, sizeof(struct weir_present));

	*ret_map = name;
	if (fd < 0)
		return fd;
	switch (l->subject) {
	case EXPLAIN_PORT:
		return list_has_port(fd, pod, l->list, q->port);
	case EXPLAIN_TO:
		return list_has_addr(fd, pod, l->list, &q->to);
	case EXPLAIN_FROM:
		return list_has_addr(fd, pod, l->list, &q->from);
	case EXPLAIN_UID:
		return list_has_id(fd, pod, l->list, q->uid);
	case EXPLAIN_GID:
		return list_has_id(fd, pod, l->list, q->gid);
	}
	return -EINVAL;
}

static int ask_local(const char *bpf_dir, const struct pod_entry *pod, const struct weir_addr *addr)
{
	_cleanup_close_ int fd =
		maps_open(bpf_dir, "weir_local", sizeof(struct weir_local_addr), sizeof(uint32_t));
	struct weir_local_addr key = {
		.netns_cookie = pod->cookie,
		.addr = *addr,
	};

	return fd < 0 ? fd : has_key(fd, &key);
}

bool explain_is_own(const char *bpf_dir, const struct pod_entry *pod, const struct weir_addr *addr)
{
	return ask_local(bpf_dir, pod, addr) > 0;
}

int explain_read_facts(const char *bpf_dir, const struct explain_query *q,
		       const struct pod_entry *pod, struct explain_facts *ret, char **ret_error)
{
	struct explain_facts f = { .mesh = pod->names.mesh };
	const char *map = "weir_local";
	int r = 0;

	if (pod->has_policy)
		f.pod = pod->policy; /* else all zero: observed */
	memcpy(f.sources, pod->names.sources, sizeof(f.sources));
	if (q->direction == WEIR_OUTBOUND || q->has_from)
		r = ask_local(bpf_dir, pod, q->direction == WEIR_OUTBOUND ? &q->to : &q->from);
	f.local = r > 0;
	for (size_t i = 0; r >= 0 && i < explain_lists_n; i++) {
		const struct explain_list *l = &explain_lists[i];

		if (l->direction != q->direction || !(f.pod.flags & l->flag) ||
		    (l->subject == EXPLAIN_FROM && !q->has_from))
			continue;
		r = ask_list(bpf_dir, l, q, pod, &map);
		f.listed[l->list] = r > 0;
	}
	if (r < 0) {
		*ret_error = maps_error(bpf_dir, map, r);
		return r;
	}
	if (f.pod.flags & (WEIR_POD_IF_EXCLUDE | WEIR_POD_IF_VIRTUAL))
		r = explain_ask_links(bpf_dir, q, pod, &f);
	if (r < 0) {
		*ret_error = maps_error(bpf_dir, "weir_links", r);
		return r;
	}
	*ret = f;
	return 0;
}

static void assume(const struct explain_notes *notes, const char *text, int err)
{
	_cleanup_free_ char *line = xasprintf("%s: %s", text, strerror(-err));

	json_array_append_new(notes->assumed, json_string(line));
}

/* enum weir_seen, 0 when it never has, or -errno. */
static int has_ever_listened(const char *bpf_dir, const struct pod_entry *pod, uint16_t port)
{
	struct weir_port_key key = { .netns_cookie = pod->cookie, .port = port };
	_cleanup_close_ int fd = maps_open(bpf_dir, "weir_seen", sizeof(struct weir_port_key),
					   sizeof(enum weir_seen));
	enum weir_seen seen;

	if (fd < 0)
		return fd;
	if (bpf_map_lookup_elem(fd, &key, &seen) == 0)
		return (int)seen;
	return errno == ENOENT ? 0 : -errno;
}

/* Inbound connections are steered to listeners that weir has recorded. 1, 0, or -errno. */
static int has_recorded_listener(const char *bpf_dir, const struct explain_query *q,
				 const struct pod_entry *pod, uint16_t port)
{
	_cleanup_close_ int fd = maps_open(bpf_dir, "weir_listeners",
					   sizeof(struct weir_listener_key), sizeof(uint64_t));
	int r = fd < 0 ? fd : 0;

	for (int v6 = !weir_addr_is_v4(&q->to); r == 0 && v6 <= 1; v6++)
		for (int slot = 0; r == 0 && slot < WEIR_LISTENER_SLOTS; slot++) {
			struct weir_listener_key key = {
				.netns_cookie = pod->cookie,
				.port = port,
				.v6 = (uint8_t)v6,
				.slot = (uint8_t)slot,
			};

			r = has_key(fd, &key);
		}
	return r;
}

/* Outbound ones go to whoever listens on loopback. */
static int has_listener(const char *bpf_dir, const struct explain_query *q,
			const struct pod_entry *pod, uint16_t port)
{
	if (q->direction == WEIR_INBOUND)
		return has_recorded_listener(bpf_dir, q, pod, port);
	if (q->udp)
		return responders_find(pod->names.netns, pod->cookie, !weir_addr_is_v4(&q->to),
				       port);
	return listeners_find(pod->names.netns, pod->cookie, !weir_addr_is_v4(&q->to), port);
}

enum weir_presence explain_presence(const char *bpf_dir, const struct explain_query *q,
				    const struct pod_entry *pod, uint16_t port,
				    const struct explain_notes *notes)
{
	int listens = has_listener(bpf_dir, q, pod, port);
	int seen = listens > 0 ? WEIR_SEEN_LISTENED : has_ever_listened(bpf_dir, pod, port);

	if (listens > 0)
		return WEIR_PROXY_LISTENS;
	if (seen < 0) {
		assume(notes, "the proxy listens; whether it ever did cannot be read", seen);
		return WEIR_PROXY_LISTENS;
	}
	if (seen == 0 && listens < 0)
		assume(notes,
		       "the proxy does not listen: it was never seen to, and its network namespace "
		       "cannot "
		       "be asked",
		       listens);
	if (seen == 0)
		return WEIR_PROXY_NEVER;
	if (seen == WEIR_SEEN_UNSTEERABLE && q->direction == WEIR_INBOUND)
		json_array_append_new(notes->notes,
				      json_string("the listener that its proxy opened last is one "
						  "that the kernel lets nothing be steered to "
						  "(MPTCP): see weir pods"));
	if (listens == 0)
		return WEIR_PROXY_GONE;
	assume(notes,
	       "the proxy still listens: it once did, and its network namespace cannot be asked",
	       listens);
	return WEIR_PROXY_LISTENS;
}

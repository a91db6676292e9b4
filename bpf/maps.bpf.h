/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The maps, by name and type. They are defined once, in maps.bpf.c; what a key asks and a value
 * answers stands in the header of maps/ that the type comes from.
 */
#ifndef WEIR_BPF_MAPS_H
#define WEIR_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/asked.h"
#include "maps/conn.h"
#include "maps/datagram.h"
#include "maps/flow.h"
#include "maps/link.h"
#include "maps/origdst.h"
#include "maps/pod.h"
#include "maps/policy.h"

/*
 * Sizes are what one node needs with room to spare; nothing is preallocated but weir_origdst,
 * which is written while a SYN is on its way and must not fail for want of memory.
 */
#define WEIR_HASH(name, key_type, value_type, entries, flags) \
	struct name##_map {                                   \
		__uint(type, BPF_MAP_TYPE_HASH);              \
		__type(key, key_type);                        \
		__type(value, value_type);                    \
		__uint(max_entries, entries);                 \
		__uint(map_flags, flags);                     \
		__uint(pinning, LIBBPF_PIN_BY_NAME);          \
	};                                                    \
	extern struct name##_map name SEC(".maps")

#define WEIR_TRIE(name, key_type, value_type, entries) \
	struct name##_map {                            \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);   \
		__type(key, key_type);                 \
		__type(value, value_type);             \
		__uint(max_entries, entries);          \
		__uint(map_flags, BPF_F_NO_PREALLOC);  \
		__uint(pinning, LIBBPF_PIN_BY_NAME);   \
	};                                             \
	extern struct name##_map name SEC(".maps")

#define WEIR_ARRAY(name, value_type, entries, flags) \
	struct name##_map {                          \
		__uint(type, BPF_MAP_TYPE_ARRAY);    \
		__type(key, __u32);                  \
		__type(value, value_type);           \
		__uint(max_entries, entries);        \
		__uint(map_flags, flags);            \
		__uint(pinning, LIBBPF_PIN_BY_NAME); \
	};                                           \
	extern struct name##_map name SEC(".maps")

WEIR_HASH(weir_pods, struct weir_netns, struct weir_pod, 4096, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_pod_names, struct weir_netns, struct weir_pod_names, 4096, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_seen, struct weir_port_key, enum weir_seen, 8192, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_local, struct weir_local_addr, __u32, 16384, BPF_F_NO_PREALLOC);
WEIR_TRIE(weir_ports, struct weir_port_entry, struct weir_present, 262144);
WEIR_TRIE(weir_cidrs, struct weir_cidr_entry, struct weir_present, 262144);
WEIR_HASH(weir_ids, struct weir_id_entry, struct weir_present, 65536, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_links, struct weir_link_key, struct weir_link, 8192, BPF_F_NO_PREALLOC);
WEIR_TRIE(weir_routes, struct weir_route_entry, struct weir_route, 131072);
WEIR_HASH(weir_origdst, struct weir_origdst_key, struct weir_origdst, WEIR_ORIGDST_MAX, 0);
WEIR_HASH(weir_pending, struct weir_netns, __u64, 4096, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_names, __u32, struct weir_name, 65536, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_traits, __u32, struct weir_traits, 65536, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_peers, struct weir_peer_key, struct weir_peer, 131072, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_flows, struct weir_flow_key, struct weir_flow, WEIR_FLOWS_MAX, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_flow_ports, struct weir_flow_port, __u64, 65536, BPF_F_NO_PREALLOC);
WEIR_HASH(weir_verdicts, struct weir_verdict_key, __u64, 16384, BPF_F_NO_PREALLOC);
WEIR_ARRAY(weir_named_ports, __u64, WEIR_NAMED_PORT_WORDS, 0);
/* Mapped by the agent, which takes away from what the hooks add to, in one atomic step. */
WEIR_ARRAY(weir_counters, __u64, WEIR_COUNTERS_ROOM, BPF_F_MMAPABLE);

/* --metrics.pod-local: what stays within a pod counts as well. Set before the programs are loaded,
 * so that while it is 0 the verifier leaves out what it asks for. */
extern const volatile __u32 weir_pod_local;
/* --metrics.tls: first payloads are looked at. */
extern const volatile __u32 weir_tls_asked;
/* Id of the cgroup that the hooks are attached to. */
extern const volatile __u64 weir_cgroup_root;

/* Must never have a program attached: its sockets are listeners, and stay plain TCP sockets. */
struct weir_listeners_map {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__type(key, struct weir_listener_key);
	__type(value, __u64);
	__uint(max_entries, 65536);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
};
extern struct weir_listeners_map weir_listeners SEC(".maps");

/* Cloned (8f51dfc73bf1, 5.4): an accepted socket begins with its listener's, and so knows who took
 * it. */
struct weir_conns_map {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__type(key, int);
	__type(value, struct weir_conn);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
};
extern struct weir_conns_map weir_conns SEC(".maps");

struct weir_asked_map {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__type(key, int);
	__type(value, struct weir_asked);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
};
extern struct weir_asked_map weir_asked SEC(".maps");

WEIR_HASH(weir_udp_flows, struct weir_flow_key, struct weir_udp_flow, WEIR_FLOWS_MAX,
	  BPF_F_NO_PREALLOC);

struct weir_udp_socks_map {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__type(key, int);
	__type(value, struct weir_udp_sock);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
};
extern struct weir_udp_socks_map weir_udp_socks SEC(".maps");

struct weir_udp_last_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_udp_last);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
};
extern struct weir_udp_last_map weir_udp_last SEC(".maps");

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * weir_pods: network namespace -> the pod in it and what is to be done with its connections.
 * weir_pod_names: the same key -> what people call it.
 *
 * Questions that a lookup answers, at every connect(), SYN and getsockopt(SO_ORIGINAL_DST):
 *   - is this a pod of ours, and is it captured?        (absent: a stranger, not to be touched)
 *   - which rules apply, and which lists must be asked?  (flags; lists lie in weir_ports,
 * weir_cidrs)
 *   - where does the proxy listen and who is it?
 *   - which source address does the pod have?
 *   - under which workload are its connections counted?
 *
 * The key is the network namespace's cookie: 64 bits, never reused while the kernel runs
 * (net->net_cookie; SO_NETNS_COOKIE since Linux 5.14, e8b9eab99232). An inode number or an address
 * is.
 */
#ifndef WEIR_MAPS_POD_H
#define WEIR_MAPS_POD_H

#include "addr.h"
#include "reason.h"

struct weir_netns {
	__u64 cookie;
};

enum weir_mode {
	WEIR_MODE_OBSERVE = 0, /* counted, never redirected */
	WEIR_MODE_CAPTURE = 1,
	WEIR_MODE_REFUSE =
		2, /* should be captured and cannot be: only traffic within the pod passes */
};

enum weir_rules {
	WEIR_RULES_ISTIO = 0,
	WEIR_RULES_LINKERD = 1,
};

enum weir_mesh {
	WEIR_MESH_NONE = 0,
	WEIR_MESH_ISTIO = 1,
	WEIR_MESH_LINKERD = 2,
	WEIR_MESH_CUSTOM = 3, /* declared by weir.io/ annotations */
};

/* What a connection gets while there is no proxy to take it. */
enum weir_absent {
	WEIR_ABSENT_REFUSE = 0,
	WEIR_ABSENT_DIRECT = 1,
};

/*
 * A list is asked only when its bit is set; "all" bits stand for "*". Bits are numbered from 0
 * and append-only.
 */
enum weir_pod_flag {
	WEIR_POD_IPV4 = 1 << 0, /* rules exist for IPv4 (Istio decides by the pod's addresses) */
	WEIR_POD_IPV6 = 1 << 1,
	WEIR_POD_OUT_ALL = 1 << 2, /* every outbound destination is included */
	WEIR_POD_OUT_CIDRS = 1 << 3, /* WEIR_LIST_OUT_CIDR_INCLUDE has entries */
	WEIR_POD_OUT_PORTS = 1 << 4, /* WEIR_LIST_OUT_PORT_INCLUDE */
	WEIR_POD_OUT_PORTS_EXCLUDE = 1 << 5, /* WEIR_LIST_OUT_PORT_EXCLUDE */
	WEIR_POD_OUT_CIDRS_EXCLUDE = 1 << 6, /* WEIR_LIST_OUT_CIDR_EXCLUDE */
	WEIR_POD_OUT_LOOPBACK =
		1 << 7, /* an included range names a loopback address, of either family */
	WEIR_POD_IN_ALL = 1 << 8,
	WEIR_POD_IN_PORTS = 1 << 9, /* WEIR_LIST_IN_PORT_INCLUDE */
	WEIR_POD_IN_PORTS_EXCLUDE = 1 << 10, /* WEIR_LIST_IN_PORT_EXCLUDE */
	WEIR_POD_IN_SOURCES_EXCLUDE =
		1 << 11, /* WEIR_LIST_IN_SOURCE_EXCLUDE (Linkerd's skip-subnets) */
	WEIR_POD_PROXY_UID = 1 << 12, /* proxy_uid is set: uid 0 is a user like any other */
	WEIR_POD_PROXY_GID = 1 << 13,
	WEIR_POD_DNS = 1 << 14, /* queries to port 53 go to dns_port */
	WEIR_POD_DNS_ALL = 1 << 15, /* to any server; else to those of WEIR_LIST_DNS_SERVER */
	WEIR_POD_TPROXY = 1 << 16, /* Istio's TPROXY rules instead of REDIRECT, inbound; of a pod
				      that is left alone: what bears their mark is the proxy's */
	WEIR_POD_PROXY_UIDS = 1 << 17, /* WEIR_LIST_PROXY_UID: uids after the first */
	WEIR_POD_PROXY_GIDS = 1 << 18, /* WEIR_LIST_PROXY_GID: gids after the first */
	WEIR_POD_GROUPS_INCLUDE = 1 << 19, /* WEIR_LIST_GROUP_INCLUDE: only these are captured */
	WEIR_POD_GROUPS_EXCLUDE = 1 << 20, /* WEIR_LIST_GROUP_EXCLUDE */
	WEIR_POD_IF_EXCLUDE = 1 << 21, /* WEIR_LIST_IF_EXCLUDE */
	WEIR_POD_IF_VIRTUAL = 1 << 22, /* WEIR_LIST_IF_VIRTUAL */
	WEIR_POD_DECLARED =
		1 << 23, /* weir.io/ annotations declare its proxy: no mesh validates it */
	WEIR_POD_CAPTURE_OFF =
		1 << 24, /* weir.io/capture: off is a verdict on each of its connections */
	WEIR_POD_TAKEN_OVER = 1 << 25, /* iptables rules redirected it before */
	WEIR_POD_ADDRS_KNOWN = 1 << 26, /* ip4 and ip6 are all the global addresses that it has */
};

/* Of these: who the proxy is. */
#define WEIR_POD_PROXY_IDS \
	(WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID | WEIR_POD_PROXY_UIDS | WEIR_POD_PROXY_GIDS)
/* And these: whose connection it is matters. */
#define WEIR_POD_OWNERS (WEIR_POD_PROXY_IDS | WEIR_POD_GROUPS_INCLUDE | WEIR_POD_GROUPS_EXCLUDE)
/* All that is kept of a pod that is left alone, to count its proxy's connections apart. */
#define WEIR_POD_KEPT (WEIR_POD_PROXY_IDS | WEIR_POD_TPROXY)

/* Of WEIR_POD_TPROXY: ISTIO_INBOUND_TPROXY_MARK, which no pod sets; ztunnel's packet mark too. */
#define WEIR_TPROXY_MARK 1337

struct weir_pod {
	__u32 workload; /* id in weir_names */
	__u32 generation; /* of this policy's entries in weir_ports and weir_cidrs */
	enum weir_mode mode;
	enum weir_rules rules;
	enum weir_absent before_proxy;
	enum weir_absent proxy_down;
	__u32 flags; /* enum weir_pod_flag */
	__u32 proxy_uid; /* as the initial user namespace sees it */
	__u32 proxy_gid;
	__u16 outbound_port; /* the proxy's listeners, host order */
	__u16 inbound_port;
	__u16 tunnel_port; /* never redirected inbound nor on lo; 0: none */
	__u16 dns_port; /* where the proxy answers queries; 0 unless WEIR_POD_DNS */
	__u8 loopback_net[4]; /* what Istio's rules call loopback in IPv4 */
	__u8 loopback_bits; /* 8..32; 0: not set, 127.0.0.1 alone */
	__u8 pad[3];
	struct weir_addr ip4; /* source of redirected connections; :: when the pod has none */
	struct weir_addr ip6;
};

_Static_assert(sizeof(struct weir_pod) == 84, "ABI");

/* Lengths follow Kubernetes: RFC 1123 labels have 63 characters, subdomains 253. */
struct weir_pod_names {
	char namespace[64];
	char name[256];
	char uid[64];
	char netns[256]; /* path by which the agent found it */
	enum weir_mesh mesh;
	__u32 sources[32]; /* enum weir_source by enum weir_list and friends: the origin of each
			      list */
};

_Static_assert(sizeof(struct weir_pod_names) == 772, "ABI");

/*
 * weir_seen: has the proxy of this pod ever listened on this port, and can the listener that came
 * last be steered to? Absent: it has not; the short-lived listeners by which a mesh validates a pod
 * are not the proxy's. Never removed while the pod lives.
 */
enum weir_seen {
	WEIR_SEEN_LISTENED = 1,
	WEIR_SEEN_UNSTEERABLE = 2, /* MPTCP: kernels keep such listeners out of weir_listeners */
};

struct weir_port_key {
	__u64 netns_cookie;
	__u16 port; /* host order */
	__u16 pad[3];
};

_Static_assert(sizeof(struct weir_port_key) == 16, "ABI");

#endif

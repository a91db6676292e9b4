/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * The lists of a policy. Two longest-prefix tries, so that any list a user writes fits in a
 * handful of entries: a CIDR is one, a port is one, a range of ports at most 30.
 *
 * weir_ports: is this port in that list of this pod?
 * weir_cidrs: does a prefix of that list of this pod hold this address?
 * weir_ids:   is this user, group or interface in that list of this pod?
 * weir_local: is this an address of the pod itself (does the route to it leave by lo)?
 *
 * The generation lets a changed policy be written beside the old one and put in force by one
 * write of weir_pods; entries of other generations are dead and the agent removes them.
 */
#ifndef WEIR_MAPS_POLICY_H
#define WEIR_MAPS_POLICY_H

#include "addr.h"

/* X(number, NAME, name) */
#define WEIR_LISTS(X)                              \
	X(1, OUT_PORT_EXCLUDE, out_port_exclude)   \
	X(2, OUT_PORT_INCLUDE, out_port_include)   \
	X(3, OUT_CIDR_EXCLUDE, out_cidr_exclude)   \
	X(4, OUT_CIDR_INCLUDE, out_cidr_include)   \
	X(5, IN_PORT_EXCLUDE, in_port_exclude)     \
	X(6, IN_PORT_INCLUDE, in_port_include)     \
	X(7, IN_SOURCE_EXCLUDE, in_source_exclude) \
	X(8, DNS_SERVER, dns_server)               \
	X(9, PROXY_UID, proxy_uid)                 \
	X(10, PROXY_GID, proxy_gid)                \
	X(11, GROUP_INCLUDE, group_include)        \
	X(12, GROUP_EXCLUDE, group_exclude)        \
	X(13, IF_EXCLUDE, if_exclude)              \
	X(14, IF_VIRTUAL, if_virtual)

enum weir_list {
#define X(number, NAME, name) WEIR_LIST_##NAME = number,
	WEIR_LISTS(X)
#undef X
		WEIR_LIST_MAX = 15
};

/* Slots of weir_pod_names.sources beyond the lists. */
enum weir_setting {
	WEIR_SETTING_PROXY_UID = 16,
	WEIR_SETTING_PROXY_GID = 17,
	WEIR_SETTING_OUTBOUND_PORT = 18,
	WEIR_SETTING_INBOUND_PORT = 19,
	WEIR_SETTING_BEFORE_PROXY = 20,
	WEIR_SETTING_PROXY_DOWN = 21,
	WEIR_SETTING_CAPTURE = 22,
	WEIR_SETTING_DNS = 23,
	WEIR_SETTING_MODE = 24, /* REDIRECT or TPROXY */
	WEIR_SETTING_LOOPBACK = 25,
	WEIR_SETTING_FAMILIES = 26,
	WEIR_SETTING_MAX = 32
};

/*
 * Where a value came from, so that `weir explain` can name it without the agent.
 * X(number, NAME, text); append-only.
 */
#define WEIR_SOURCES(X)                                                                         \
	X(0, DEFAULT, "mesh default")                                                           \
	X(1, CNI_DEFAULT, "default of istio-cni (excludeOutboundPorts=15020)")                  \
	X(2, IN_INCLUDE_PORTS, "annotation traffic.sidecar.istio.io/includeInboundPorts")       \
	X(3, IN_EXCLUDE_PORTS, "annotation traffic.sidecar.istio.io/excludeInboundPorts")       \
	X(4, OUT_INCLUDE_PORTS, "annotation traffic.sidecar.istio.io/includeOutboundPorts")     \
	X(5, OUT_EXCLUDE_PORTS, "annotation traffic.sidecar.istio.io/excludeOutboundPorts")     \
	X(6, OUT_INCLUDE_RANGES, "annotation traffic.sidecar.istio.io/includeOutboundIPRanges") \
	X(7, OUT_EXCLUDE_RANGES, "annotation traffic.sidecar.istio.io/excludeOutboundIPRanges") \
	X(8, CONTAINER, "securityContext of container istio-proxy")                             \
	X(9, WEIR_BEFORE_PROXY, "annotation weir.io/before-proxy")                              \
	X(10, WEIR_PROXY_DOWN, "annotation weir.io/proxy-down")                                 \
	X(11, WEIR_CAPTURE, "annotation weir.io/capture")                                       \
	X(12, LINKERD_ENV, "environment of container linkerd-proxy")                            \
	X(13, LINKERD_SKIP_IN, "annotation config.linkerd.io/skip-inbound-ports")               \
	X(14, LINKERD_SKIP_OUT, "annotation config.linkerd.io/skip-outbound-ports")             \
	X(15, LINKERD_SKIP_SUBNETS, "annotation config.linkerd.io/skip-subnets")                \
	X(16, LINKERD_UID, "annotation config.linkerd.io/proxy-uid")                            \
	X(17, LINKERD_GID, "annotation config.linkerd.io/proxy-gid")                            \
	X(18, LINKERD_CONTAINER, "securityContext of container linkerd-proxy")                  \
	X(19, ISTIO_IF_EXCLUDE, "annotation traffic.sidecar.istio.io/excludeInterfaces")        \
	X(20, ISTIO_REROUTE, "annotation istio.io/reroute-virtual-interfaces")                  \
	X(21, ISTIO_KUBEVIRT, "annotation traffic.sidecar.istio.io/kubevirtInterfaces")         \
	X(22, ISTIO_MODE, "annotation sidecar.istio.io/interceptionMode")                       \
	X(23, PROXY_CONFIG, "annotation proxy.istio.io/config")                                 \
	X(24, ISTIO_ENV, "environment of container istio-proxy")                                \
	X(25, INIT_ARGS, "arguments of container istio-init")                                   \
	X(26, INIT_ENV, "environment of container istio-init")                                  \
	X(27, INIT_DEFAULT, "default of istio-init")                                            \
	X(28, VALIDATION_ARGS, "arguments of container istio-validation")                       \
	X(29, VALIDATION_ENV, "environment of container istio-validation")                      \
	X(30, STATUS_PORT, "annotation status.sidecar.istio.io/port")                           \
	X(31, POD_IPS, "status.podIPs")                                                         \
	X(32, DNS_CONFIG, "spec.dnsConfig")                                                     \
	X(33, CLUSTER_DNS, "Service kube-system/kube-dns")                                      \
	X(34, WEIR_DNS_SERVERS, "annotation weir.io/dns-servers")                               \
	X(35, WEIR_OUTBOUND_PORT, "annotation weir.io/proxy-outbound-port")                     \
	X(36, WEIR_INBOUND_PORT, "annotation weir.io/proxy-inbound-port")                       \
	X(37, WEIR_UID, "annotation weir.io/proxy-uid")                                         \
	X(38, WEIR_GID, "annotation weir.io/proxy-gid")                                         \
	X(39, LINKERD_NAMESPACE, "annotation of the namespace")                                 \
	X(40, LINKERD_IN_PORT, "annotation config.linkerd.io/inbound-port")                     \
	X(41, LINKERD_OUT_PORT, "annotation config.linkerd.io/outbound-port")                   \
	X(42, LINKERD_CONTROL, "label linkerd.io/control-plane-component")                      \
	X(43, LINKERD_INIT_ARGS, "arguments of container linkerd-init")                         \
	X(44, LINKERD_SKIP_IN_SUBNETS, "annotation config.linkerd.io/skip-inbound-subnets")     \
	X(45, LINKERD_SKIP_OUT_SUBNETS, "annotation config.linkerd.io/skip-outbound-subnets")   \
	X(46, WEIR_DNS_PORT, "annotation weir.io/proxy-dns-port")

enum weir_source {
#define X(number, NAME, text) WEIR_SOURCE_##NAME = number,
	WEIR_SOURCES(X)
#undef X
		WEIR_SOURCE_MAX = 47
};

/* Key of weir_ports. The trie compares bytes from generation on: prefixlen counts those bits. */
struct weir_port_entry {
	__u32 prefixlen; /* WEIR_LIST_BITS + 1..16 */
	__u32 generation;
	__u64 netns_cookie;
	__u32 list; /* enum weir_list, any byte order as long as it is one */
	__u8 port[2]; /* network order: prefixes are taken from the front */
	__u8 pad[2];
};

/* Key of weir_cidrs. */
struct weir_cidr_entry {
	__u32 prefixlen; /* WEIR_LIST_BITS + 0..128; an IPv4 /n is 96 + n */
	__u32 generation;
	__u64 netns_cookie;
	__u32 list;
	struct weir_addr addr;
	__u32 pad;
};

/* Bits of a key before its port or address: generation, netns_cookie, list. */
#define WEIR_LIST_BITS (32 + 64 + 32)
#define WEIR_PORT_BITS (WEIR_LIST_BITS + 16)
#define WEIR_CIDR_BITS (WEIR_LIST_BITS + 128)

/* Value of both tries: carries nothing but presence. */
struct weir_present {
	__u32 present;
};

/* Key of weir_ids: is this number (uid, gid, interface index) in that list of this pod? */
struct weir_id_entry {
	__u64 netns_cookie;
	__u32 generation;
	__u32 list; /* enum weir_list: PROXY_UID to IF_VIRTUAL */
	__u32 id; /* ids of users and groups as the initial user namespace sees them */
	__u32 pad;
};

/* Key of weir_local. */
struct weir_local_addr {
	__u64 netns_cookie;
	struct weir_addr addr;
};

_Static_assert(sizeof(struct weir_port_entry) == 24, "ABI");
_Static_assert(sizeof(struct weir_cidr_entry) == 40, "ABI");
_Static_assert(sizeof(struct weir_id_entry) == 24, "ABI");
_Static_assert(sizeof(struct weir_local_addr) == 24, "ABI");

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * weir_flows: how much went between this workload and that peer?
 * weir_names: what is this id called?
 * weir_traits: what else do metrics say of this workload, or of which pod of it is this id?
 * weir_peers: who has this address, or who is dialled by this address and port?
 * weir_named_ports: does a Service or a container name this port (or is it one of the many)?
 * weir_flow_ports: has this workload got flows of this port, which nothing names? How many such?
 * weir_verdicts: how often was this decided for that workload?
 * weir_counters: what was lost, so that no loss is silent?
 */
#ifndef WEIR_MAPS_FLOW_H
#define WEIR_MAPS_FLOW_H

#include "addr.h"
#include "reason.h"

/* Ids below WEIR_ID_FIRST are fixed; the agent hands out the others and never reuses one. */
enum weir_id {
	WEIR_ID_NONE = 0,
	WEIR_ID_UNKNOWN = 1, /* an address that nothing known has */
	WEIR_ID_EXTERNAL = 2, /* a public address outside the cluster */
	WEIR_ID_HOST = 3, /* a node, or a pod in a node's network namespace */
	WEIR_ID_SEVERAL = 4, /* a Service whose endpoints belong to several workloads */
	WEIR_ID_OTHER = 5, /* what did not fit into the tables */
	WEIR_ID_FIRST = 16,
};

/* Value of weir_names; key: __u32 id. A Service has kind "Service". */
struct weir_name {
	char namespace[64];
	char name[256];
	char kind[64];
};

/*
 * Value of weir_traits; key: __u32 id, of a workload. The map is there only with --metrics.istio or
 * --metrics.pod-label; a workload without an entry has none of this. No hook reads it.
 */
struct weir_traits {
	char pod[256]; /* --metrics.pod-label: the id is that of one pod; "": of all of them */
	char canonical_service[64]; /* --metrics.istio: as Istio derives it; "": not known */
	char canonical_revision[64];
	__u32 reported; /* 1: an Istio proxy or ztunnel reports its connections itself */
	__u32 room[3];
};

/*
 * Key of weir_peers. Who has been dialled? First the address is asked for with port 0: a pod, a
 * node, a ClusterIP. Unless that says `alone` the port is asked for as well, and counts: a Service
 * on an address that others share (external, or that of a headless Service's pod). If there is
 * none, and the address is a node's, :: with the port: a NodePort is open on every node. Who has
 * dialled? The address alone, for the peer's port says nothing. A port of TCP and the same of UDP
 * may be those of two Services.
 */
struct weir_peer_key {
	struct weir_addr addr;
	__u16 port; /* host order */
	__u16 protocol; /* of the port: IPPROTO_UDP, or 0, which is TCP */
};

struct weir_peer {
	__u32 workload; /* id */
	__u32 service : 31; /* id, WEIR_ID_NONE unless the address is a Service's */
	__u32 alone : 1; /* of port 0: no entry has this address with another one */
};

/* Which leg of a connection a flow counts. */
enum weir_via {
	WEIR_VIA_DIRECT = 0, /* the workload's own, no proxy involved */
	WEIR_VIA_PROXY = 1, /* the workload's own, through its proxy */
	WEIR_VIA_LEG_NETWORK = 2, /* the proxy's onward leg to the network */
	WEIR_VIA_LEG_APPLICATION = 3, /* the proxy's onward leg to its application */
};

/* Values of weir_flow_key.port beyond the 16 bits of a port. */
#define WEIR_PORT_DYNAMIC 0x10000 /* ephemeral, and nothing names it */
#define WEIR_PORT_OTHER	  0x10001 /* did not fit */

/* The hooks leave room for the places that the agent keeps for each workload's "other". */
#define WEIR_FLOWS_MAX	    65536 /* unless --metrics.max-flows says otherwise */
#define WEIR_FLOWS_RESERVED 8192

struct weir_flow_key {
	__u32 workload; /* ids in weir_names */
	__u32 peer;
	__u32 service;
	__u32 port; /* as dialled, host order, or WEIR_PORT_* */
	enum weir_direction direction;
	enum weir_via via;
};

/* X(number, NAME, name): why a connection attempt failed. Append-only. */
#define WEIR_FAILURES(X)                                                                 \
	X(0, REFUSED, refused)                                                           \
	X(1, TIMEOUT, timeout)                                                           \
	X(2, RESET, reset)                                                               \
	X(3, UNREACHABLE, unreachable)                                                   \
	X(4, ABORTED, aborted) /* given up by the application while the handshake ran */ \
	X(5, OTHER, other)                                                               \
	X(6, POLICY, policy) /* refused by weir */

enum weir_failure {
#define X(number, NAME, name) WEIR_FAILED_##NAME = number,
	WEIR_FAILURES(X)
#undef X
		WEIR_FAILED_MAX = 7
};

/* X(microseconds): upper bounds of the buckets of both histograms; the last bucket has none. */
#define WEIR_TIME_BOUNDS(X) \
	X(100) X(500) X(1000) X(5000) X(10000) X(50000) X(100000) X(500000) X(1000000) X(5000000)

#define WEIR_TIME_BUCKETS 11

struct weir_times {
	__u64 sum_us;
	__u64 count[WEIR_TIME_BUCKETS]; /* observations in this bucket alone */
};

/*
 * Totals since the workload was first seen. Bytes are payload, counted once, whatever was
 * retransmitted. Append-only, within the room that is left: a successor goes on with the table of
 * an earlier agent, whose size cannot change.
 */
struct weir_flow {
	__u64 sent; /* bytes the workload's socket sent */
	__u64 received; /* bytes it received */
	__u64 opened; /* connections established, or found established */
	__u64 closed; /* of these, ended */
	__u64 retransmitted; /* segments */
	__u64 found; /* of those opened, the ones that were there before weir knew the pod */
	__u64 failed[10]; /* by enum weir_failure */
	__u64 tls[3]; /* connections by enum weir_tls, if asked for */
	__u64 room;
	struct weir_times connect; /* from connect() to the end of the handshake */
	struct weir_times rtt; /* smoothed, as TCP has it */
};

/* What the first payload bytes of a connection were. X(number, NAME, label) */
#define WEIR_TLS(X)    \
	X(0, YES, yes) \
	X(1, NO, no)   \
	X(2, UNKNOWN, unknown) /* it ended before any came */

enum weir_tls {
#define X(number, NAME, name) WEIR_TLS_##NAME = number,
	WEIR_TLS(X)
#undef X
		WEIR_TLS_MAX = 3
};

_Static_assert(sizeof(struct weir_peer_key) == 20, "ABI");
_Static_assert(sizeof(struct weir_peer) == 8, "ABI");
_Static_assert(sizeof(struct weir_name) == 384, "ABI");
_Static_assert(sizeof(struct weir_traits) == 400, "ABI");
_Static_assert(sizeof(struct weir_flow_key) == 24, "ABI");
_Static_assert(sizeof(struct weir_flow) == 352, "ABI");
_Static_assert(WEIR_FAILED_MAX <= 10, "no room left in struct weir_flow");

/* Key of weir_verdicts; value: __u64. */
struct weir_verdict_key {
	__u32 workload;
	enum weir_direction direction;
	enum weir_verdict verdict;
	enum weir_reason reason;
};

_Static_assert(sizeof(struct weir_verdict_key) == 16, "ABI");

/* weir_named_ports: 1,024 words of 64 bits, one bit a port. */
#define WEIR_NAMED_PORT_WORDS 1024

/*
 * Key of weir_flow_ports; value: __u64, which is 1, or for port 0 how many of them there are. A
 * proxy accepts whatever port its pod is asked for: who scans it would fill weir_flows otherwise.
 */
struct weir_flow_port {
	__u32 workload;
	__u16 direction; /* enum weir_direction */
	__u16 port; /* host order; 0: all of them */
};

_Static_assert(sizeof(struct weir_flow_port) == 8, "ABI");

/* Ports that nothing names, of a workload in one direction. */
#define WEIR_UNNAMED_PORTS 256

/* Indices of weir_counters; value: __u64. Append-only. X(number, NAME) */
#define WEIR_COUNTERS(X)                                                                    \
	X(0, UNTRACKED_SOCKETS) /* no room for socket storage: its bytes are not counted */ \
	X(1, FLOW_OVERFLOW) /* connections folded into "other" */                           \
	X(2, ORIGDST_LOST) /* weir_origdst was full */                                      \
	X(3, LISTENER_LOST) /* a listener could not be recorded */                          \
	X(4, VERDICT_LOST) /* weir_verdicts was full */                                     \
	X(5, PENDING) /* no loss: entries of weir_origdst now */                            \
	X(6, FLOWS) /* no loss: entries of weir_flows that the hooks made */                \
	X(7, NEXT_NAME) /* no loss: the next id that no name has had */                     \
	X(8, FLOWS_LIMIT) /* no loss: how many FLOWS there may be */                        \
	X(9, STATES_WATCHED) /* no loss: 1 while weir_set_state is attached */              \
	X(10, UNWATCHED) /* connections found while it was needed and was not */            \
	X(12, UDP_FLOWS) /* no loss: entries of weir_udp_flows that the hooks made */       \
	X(13, UDP_OVERFLOW) /* datagrams folded into "other" */                             \
	X(14, FLOWS_FULL) /* no place in weir_flows */                                      \
	X(15, UDP_FLOWS_FULL) /* no place in weir_udp_flows */                              \
	X(16, PORTS_FULL) /* no place in weir_flow_ports for a port that nothing names */

/* Entries of weir_counters: room for more of them, so that an upgrade keeps the map. */
#define WEIR_COUNTERS_ROOM 32

enum weir_counter {
#define X(number, NAME) WEIR_COUNTER_##NAME = number,
	WEIR_COUNTERS(X)
#undef X
		WEIR_COUNTER_MAX = 17
};

#endif

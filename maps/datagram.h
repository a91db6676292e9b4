/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * There only with --metrics.udp.
 * weir_udp_flows: how many datagrams, and bytes in them, went between this workload and that peer?
 * weir_udp_socks: socket storage of every UDP socket below the pods' cgroup, freed with it: whose
 * is it, is it one that asks or one that answers, and what has it moved? weir_udp_last: what did
 * this processor count last for a socket? Its queue may still refuse it.
 */
#ifndef WEIR_MAPS_DATAGRAM_H
#define WEIR_MAPS_DATAGRAM_H

#include "addr.h"
#include "flow.h"

/*
 * Value of weir_udp_flows; key: struct weir_flow_key. Totals since the workload was first seen.
 * Bytes are payload. Append-only, within the room that is left, like struct weir_flow.
 */
struct weir_udp_flow {
	__u64 sent; /* bytes that left the workload's socket */
	__u64 received; /* bytes that reached it */
	__u64 sent_datagrams;
	__u64 received_datagrams;
	__u64 dropped; /* bytes of those received that the socket had no room for */
	__u64 dropped_datagrams;
	__u64 room[2];
};

enum weir_udp_flag {
	WEIR_UDP_KNOWN = 1 << 0, /* netns_cookie and, if OWNED, uid and gid are set */
	WEIR_UDP_OWNED = 1 << 1,
	WEIR_UDP_DECIDED = 1 << 2, /* it has moved a datagram */
	WEIR_UDP_ANSWERS = 1 << 3, /* others began: its own port is the one that is dialled */
};

struct weir_udp_sock {
	__u64 netns_cookie;
	__u32 uid; /* of its owner, as struct weir_pod has the proxy's */
	__u32 gid;
	__u32 flags; /* enum weir_udp_flag */
	__u32 room;
	__u64 since_ns; /* CLOCK_MONOTONIC: of its first datagram that was counted; 0: none was */
	__u64 sent; /* bytes counted */
	__u64 received;
	/* Of the last datagram that was counted; another one may be half way through these. */
	struct weir_flow_key flow;
	struct weir_endpoint remote; /* the server that was asked, of a lookup that weir diverts */
	__u32 pad;
};

struct weir_udp_last {
	__u64 skb; /* its address; 0: none */
	struct weir_flow_key flow;
	__u64 bytes;
	__u64 datagrams;
};

_Static_assert(sizeof(struct weir_udp_flow) == 64, "ABI");
_Static_assert(sizeof(struct weir_udp_sock) == 96, "ABI");
_Static_assert(sizeof(struct weir_udp_last) == 48, "ABI");

#endif

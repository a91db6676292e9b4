/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * weir_conns: socket storage of every TCP socket of a pod, freed with the socket.
 *
 *   - what did the application dial (getpeername, SO_ORIGINAL_DST)?
 *   - into which flow is this connection counted? Decided once, when it starts.
 *   - how much of it has already been folded into that flow?
 */
#ifndef WEIR_MAPS_CONN_H
#define WEIR_MAPS_CONN_H

#include "addr.h"
#include "flow.h"

enum weir_conn_flag {
	WEIR_CONN_ACTIVE = 1 << 0, /* this end dialled */
	WEIR_CONN_REDIRECTED = 1 << 1, /* dialled is not the peer that the socket is connected to */
	WEIR_CONN_BOUND = 1 << 2, /* weir has chosen a source for this socket once */
	WEIR_CONN_COUNTED = 1 << 3, /* flow is valid: not within the pod */
	WEIR_CONN_OPENED = 1 << 4, /* counted as opened */
	WEIR_CONN_LISTED = 1 << 5, /* a listener, in weir_listeners */
	WEIR_CONN_PUBLISHED = 1 << 6, /* has an entry in weir_origdst until it is claimed */
	WEIR_CONN_IN_PLACE = 1 << 7, /* its SYN bears the dialled address, and must not be judged as
					one from outside; if REDIRECTED, proxy_port takes it */
	WEIR_CONN_FOUND = 1 << 8, /* established before weir knew its pod */
	WEIR_CONN_SYN_ACKED = 1 << 9, /* bytes_acked has counted its own SYN */
	WEIR_CONN_TRYING = 1 << 10, /* connect() was let through, and no SYN has left yet */
	WEIR_CONN_TLS_ASKED = 1 << 11, /* its first payload has not been seen yet */
	WEIR_CONN_MACHINE = 1 << 12, /* a virtual machine in the pod dialled: the workload's end is
					the other one, what this one receives the workload sends */
	WEIR_CONN_PLACED = 1 << 13, /* origin is known */
};

/*
 * A mark: how much of a connection has been folded, and of which of the connections that its socket
 * has had. One that is disconnected and dials again begins a new life: whoever is still about to
 * fold the former one finds another mark than he began with.
 */
#define WEIR_MARK_DONE	   (1ULL << 63) /* no more will be folded */
#define WEIR_MARK_LIFE_ONE (1ULL << 55)
#define WEIR_MARK_LIFE	   (0xffULL << 55)
#define WEIR_MARK_NUMBER   (WEIR_MARK_LIFE_ONE - 1)

struct weir_conn {
	__u64 sent; /* mark, bytes */
	__u64 received;
	__u64 retransmitted; /* mark, segments */
	__u64 since_ns; /* CLOCK_MONOTONIC: of the first SYN, then of the handshake's end */
	struct weir_flow_key flow;
	struct weir_endpoint dialled;
	__u32 flags; /* enum weir_conn_flag */
	__u16 proxy_port; /* that a redirected connection was sent to, host order */
	__u16 soft_error; /* an errno of the attempt that the application has taken by SO_ERROR */
	enum weir_reason reason; /* of the verdict */
	__u32 observed; /* the time when its round trip was last observed, in 2^20 us; 0: never */
	__u32 settled_position; /* where it stood when all of it was folded, as account_standing()
				   has it */
	__u64 settled_us; /* 0: it has moved since the last fold, or was not folded yet */
	__u32 origin; /* with PLACED: sequence number of its first payload byte */
	__u32 room; /* socket storage cannot grow while its sockets live */
};

_Static_assert(sizeof(struct weir_conn) == 112, "ABI");

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * weir_origdst: what did the application dial, whose redirected connection comes from this source?
 *
 * Written when the SYN of a redirected connection leaves (sockops TCP_CONNECT_CB: both ports are
 * known), claimed and deleted when the proxy's end of it is established. An entry therefore lives
 * for one handshake; a connection that fails deletes its own. In TPROXY mode the SYNs that the
 * proxy sends over lo are looked up too: whose they are is known at connect() alone.
 *
 * weir_listeners: which socket of this pod listens on that port? A SOCKHASH, so that the kernel
 * drops a socket that closes. SO_REUSEPORT makes several per port (Envoy: one a worker); each has
 * a slot, and any one of them stands for the group: the kernel balances among its members.
 */
#ifndef WEIR_MAPS_ORIGDST_H
#define WEIR_MAPS_ORIGDST_H

#include "addr.h"

struct weir_origdst_key {
	__u64 netns_cookie;
	struct weir_endpoint source; /* of the redirected connection, as the proxy sees it */
	struct weir_endpoint proxy; /* the address that it was sent to */
};

struct weir_origdst {
	struct weir_endpoint dialled;
	__u16 steer_to; /* TPROXY: the listener that takes the SYN, 0: who listens where it goes */
	__u16 pad;
	__u64 socket_cookie; /* the client's socket: it deletes no entry but its own */
};

_Static_assert(sizeof(struct weir_origdst_key) == 48, "ABI");
_Static_assert(sizeof(struct weir_origdst) == 32, "ABI");

/*
 * weir_pending: how many entries of weir_origdst are this network namespace's? A pod that lets
 * handshakes with its own proxy pile up is refused more of them, before it fills the table for
 * others; when the table is nearly full all are refused rather than sent on without their address.
 * The table is as small as that allows: its places are met at random, and one that is in no cache
 * costs more than all else that is done with it.
 */
#define WEIR_ORIGDST_MAX     16384
#define WEIR_ORIGDST_PER_POD 2048
#define WEIR_ORIGDST_SLACK   1024 /* connects that pass the check at the same moment */

#define WEIR_LISTENER_SLOTS 32

struct weir_listener_key {
	__u64 netns_cookie;
	__u16 port; /* host order */
	__u8 v6; /* AF_INET6 socket; unless IPV6_V6ONLY it takes IPv4 as well */
	__u8 slot; /* 0 .. WEIR_LISTENER_SLOTS - 1 */
	__u32 pad;
};

_Static_assert(sizeof(struct weir_listener_key) == 16, "ABI");

#endif

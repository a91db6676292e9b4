/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * As which leg is a connection counted? A connection through a proxy has two or three sockets in
 * its pod; the workload's own is counted as the workload's, the proxy's further ones apart. Pure
 * functions over plain values, like those of decide.h, for hooks and tests.
 */
#ifndef WEIR_MAPS_LEG_H
#define WEIR_MAPS_LEG_H

#include "flow.h"

/* How a socket is counted. */
struct weir_leg {
	__u8 counted; /* 0: its other end is, or nothing is */
	__u8 pad[3];
	enum weir_direction direction; /* who opened the connection: the pod or others */
	enum weir_via via;
};

/*
 * Is the socket the proxy's? dialled: by this socket; else it has accepted; owned: by one of the
 * proxy's owners; marked: it bears the mark that the pod's rules know their proxy's sockets by.
 *
 * Where weir leads to the proxy (not observed) the owner tells. Where others do, the mark tells as
 * well, for ztunnel's sockets have no owner of the pod's; and what the proxy accepts there counts
 * like what an application accepts, for nobody sees which connections those rules redirect.
 */
WEIR_INLINE int weir_leg_is_proxys(int observed, int dialled, int owned, int marked)
{
	return observed ? dialled && (owned || marked) : owned;
}

/*
 * A socket of the pod that dials. lo: the destination is an address of the pod; proxy: it is the
 * proxy's; pod_local: connections within the pod count as well (--metrics.pod-local).
 *
 * What stays within the pod is counted where it was dialled if that is asked for, and otherwise not
 * at all, except where it is the last leg of an inbound connection: from the proxy to the
 * application, unless the rules turn it back to the proxy.
 */
WEIR_INLINE struct weir_leg weir_leg_dialled(int lo, int proxy, enum weir_verdict verdict,
					     int pod_local)
{
	int last = lo && proxy && verdict != WEIR_REDIRECT;
	struct weir_leg leg = { .counted = !lo || last || pod_local,
				.direction = last ? WEIR_INBOUND : WEIR_OUTBOUND };

	if (last)
		leg.via = WEIR_VIA_LEG_APPLICATION;
	else if (proxy)
		leg.via = WEIR_VIA_LEG_NETWORK;
	else
		leg.via = verdict == WEIR_REDIRECT ? WEIR_VIA_PROXY : WEIR_VIA_DIRECT;
	return leg;
}

/*
 * A socket that took a connection from outside of the pod's own processes. machine: a virtual
 * machine in the pod dialled, whose traffic is the workload's own, and outbound; within: for an
 * address of the pod.
 */
WEIR_INLINE struct weir_leg weir_leg_accepted(int machine, int within, enum weir_verdict verdict,
					      int pod_local)
{
	struct weir_leg leg = { .counted = !within || (machine && pod_local),
				.direction = machine ? WEIR_OUTBOUND : WEIR_INBOUND,
				.via = verdict == WEIR_REDIRECT ? WEIR_VIA_PROXY
								: WEIR_VIA_DIRECT };

	return leg;
}

/*
 * A connection that was there before weir knew its pod, which no verdict was passed on: what the
 * proxy holds is the proxy's. Which of its sockets goes to the application cannot be told from one
 * within the pod, so neither is counted. dialled: by this socket; else it has accepted.
 */
WEIR_INLINE struct weir_leg weir_leg_found(int dialled, int machine, int within, int proxy,
					   int pod_local)
{
	int own = machine || (dialled && !proxy);
	struct weir_leg leg = { .counted = !within || (own && pod_local),
				.direction = dialled || machine ? WEIR_OUTBOUND : WEIR_INBOUND,
				.via = !proxy	 ? WEIR_VIA_DIRECT
				       : dialled ? WEIR_VIA_LEG_NETWORK
						 : WEIR_VIA_PROXY };

	return leg;
}

/*
 * Datagrams that a socket moves on the network. answers: others began. No rule redirects any but
 * lookups, which are counted as sent through the proxy where they are asked.
 */
WEIR_INLINE struct weir_leg weir_leg_datagram(int answers, int proxy)
{
	struct weir_leg leg = { .counted = 1,
				.direction = answers ? WEIR_INBOUND : WEIR_OUTBOUND,
				.via = !proxy	 ? WEIR_VIA_DIRECT
				       : answers ? WEIR_VIA_PROXY
						 : WEIR_VIA_LEG_NETWORK };

	return leg;
}

/* Does it leave the pod as this socket's bytes? Not what an application sends to its proxy. */
WEIR_INLINE int weir_leg_on_network(enum weir_direction direction, enum weir_via via)
{
	return via == WEIR_VIA_DIRECT || via == WEIR_VIA_LEG_NETWORK ||
	       (via == WEIR_VIA_PROXY && direction == WEIR_INBOUND);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * Verdicts and the reasons behind them. Numbers are append-only: they lie in pinned maps that
 * outlive the agent. A reason's lower-case name is what `weir explain` and weir_verdicts_total say.
 */
#ifndef WEIR_MAPS_REASON_H
#define WEIR_MAPS_REASON_H

#include <linux/types.h>

enum weir_verdict {
	WEIR_DIRECT = 0, /* goes where it was going */
	WEIR_REDIRECT = 1, /* goes to the proxy */
	WEIR_REFUSE = 2, /* gets ECONNREFUSED (outbound) or RST (inbound) */
};

enum weir_direction {
	WEIR_OUTBOUND = 0, /* the workload opened the connection */
	WEIR_INBOUND = 1, /* the peer opened it */
};

/* X(number, NAME, name, what it means to a person) */
#define WEIR_REASONS(X)                                                                            \
	X(0, NOT_CAPTURED, not_captured, "the pod is not captured")                                \
	X(1, PORT_EXCLUDED, port_excluded, "the destination port is excluded")                     \
	X(2, PASSTHROUGH_SOURCE, passthrough_source,                                               \
	  "the source is 127.0.0.6 or ::6, the proxy's mark for traffic to its own application")   \
	X(3, SELF_CALL, self_call, "the proxy calls its own pod, which enters as inbound traffic") \
	X(4, LOOPBACK, loopback, "the route leaves by lo, and traffic within a pod stays in it")   \
	X(5, PROXY_UID, proxy_uid, "the socket belongs to the proxy's user")                       \
	X(6, PROXY_GID, proxy_gid, "the socket belongs to the proxy's group")                      \
	X(7, CIDR_EXCLUDED, cidr_excluded, "the destination address is excluded")                  \
	X(8, PORT_INCLUDED, port_included, "the destination port is included")                     \
	X(9, CIDR_INCLUDED, cidr_included, "the destination address is included")                  \
	X(10, ALL_INCLUDED, all_included, "every destination is included")                         \
	X(11, NOT_INCLUDED, not_included, "nothing includes this destination")                     \
	X(12, TUNNEL_PORT, tunnel_port, "the mesh's tunnel port is never redirected")              \
	X(13, FAMILY_OFF, family_off, "the mesh has no rules for this address family in this pod") \
	X(14, OWNER_GROUP, owner_group, "the socket's group is outside the captured owner groups") \
	X(15, DNS, dns, "name lookups are captured")                                               \
	X(16, NOT_UNICAST, not_unicast, "the destination is no address that TCP can connect to")   \
	X(17, BEFORE_PROXY, before_proxy, "the proxy has not listened yet")                        \
	X(18, PROXY_DOWN, proxy_down, "the proxy listened once and does not now")                  \
	X(19, POLICY_FAILED, policy_failed,                                                        \
	  "the pod's policy could not be put in place, so nothing leaves or enters unseen")        \
	X(20, SOURCE_EXCLUDED, source_excluded, "the source address is excluded")                  \
	X(21, NOT_TCP, not_tcp, "only TCP is redirected")                                          \
	X(22, SOURCE_LOOPBACK, source_loopback,                                                    \
	  "bound to a loopback source, which no route out of the pod accepts")                     \
	X(23, TOO_MANY_PENDING, too_many_pending,                                                  \
	  "too many handshakes with the proxy are pending")                                        \
	X(24, INTERFACE_EXCLUDED, interface_excluded,                                              \
	  "it leaves or comes in by an interface that is excluded")                                \
	X(25, INTERFACE_VIRTUAL, interface_virtual, "it comes from a virtual machine in the pod")  \
	X(26, FORWARDED, forwarded,                                                                \
	  "the pod forwards it, from an interface that no annotation calls virtual")

enum weir_reason {
#define X(number, NAME, name, text) WEIR_REASON_##NAME = number,
	WEIR_REASONS(X)
#undef X
		WEIR_REASON_MAX = 27
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routing rules and routes that weir has put into a pod's network namespace, so that what is
 * not meant for the pod is delivered there all the same: see agent/delivery.h. They bear a protocol
 * number of weir's and so are known again, whoever made them and for what.
 */
#ifndef WEIR_BASE_OWN_ROUTES_H
#define WEIR_BASE_OWN_ROUTES_H

#include <stdint.h>

#define OWN_PROTOCOL \
	119 /* of rules and routes; /etc/iproute2/rt_protos of no distribution has it */
#define OWN_TABLE 133 /* ISTIO_INBOUND_TPROXY_ROUTE_TABLE: Istio's TPROXY mode uses it too */

/*
 * Removes all of them from the network namespace at that path, if it still has that cookie. How
 * many there were, or -errno.
 */
int own_routes_remove(const char *netns_path, uint64_t cookie);

/* Accepted sockets take over the mark of their SYN, of both families (net.ipv4.tcp_fwmark_accept).
 * In the network namespace of the caller. 0 or -errno. */
int own_routes_inherit_marks(int on);

#endif

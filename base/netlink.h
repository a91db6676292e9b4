/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink: what libmnl leaves to its users. All in the network namespace of the caller. */
#ifndef WEIR_BASE_NETLINK_H
#define WEIR_BASE_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdint.h>

/* Attributes of one message by type; NULL where absent. */
struct netlink_attrs {
	const struct nlattr *by_type[64];
};

/* Parses what follows the family's header of `header` bytes. */
void netlink_parse(const struct nlmsghdr *message, size_t header, struct netlink_attrs *ret);
uint32_t netlink_u32(const struct netlink_attrs *attrs, int type, uint32_t otherwise);

/* A bound socket of NETLINK_ROUTE or NETLINK_NETFILTER; NULL with errno set. */
struct mnl_socket *netlink_open(int bus);

/*
 * Calls cb(message, data) for each of a dump. header: bytes of the family's header, which begins
 * with the address family (struct rtmsg, struct nfgenmsg). 0 or -errno; a kernel without that
 * family has nothing.
 */
int netlink_dump(struct mnl_socket *nl, uint16_t type, size_t header, uint8_t family, mnl_cb_t cb,
		 void *data);

/* Sends one request and waits for its acknowledgement. `there`: the errno that means that there is
 * nothing to do. 0 or -errno. */
int netlink_request(struct mnl_socket *nl, struct nlmsghdr *message, int there);

/* Whatever a table is asked for is delivered here: `ip route add local default dev lo table N proto
 * P`. 0 as well when it is there already; -errno. */
int netlink_add_local_table(struct mnl_socket *nl, uint8_t family, uint32_t table,
			    uint8_t protocol);

#endif

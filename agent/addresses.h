/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses that a network namespace has. */
#ifndef WEIR_AGENT_ADDRESSES_H
#define WEIR_AGENT_ADDRESSES_H

#include <stddef.h>

#include "maps/addr.h"

/* All addresses of all interfaces, loopback ones included; *ret is the caller's. 0 or -errno. */
int addresses_read(int netns_fd, struct weir_addr **ret, size_t *ret_n);
/* The same of the network namespace that the agent is in. */
int addresses_read_own(struct weir_addr **ret, size_t *ret_n);

/* Gives lo an IPv6 address of its own (/128); 0 as well when it has it already. */
int addresses_add_lo_v6(int netns_fd, const struct weir_addr *addr);

#endif

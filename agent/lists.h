/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of a policy while it is compiled: ports, ranges of addresses, ids, interfaces. */
#ifndef WEIR_AGENT_LISTS_H
#define WEIR_AGENT_LISTS_H

#include "base/cleanup.h"
#include "maps/addr.h"
#include "maps/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A range of ports in one list. */
struct port_range {
	enum weir_list list;
	uint16_t lo;
	uint16_t hi; /* inclusive */
};

struct cidr {
	enum weir_list list;
	struct weir_addr addr; /* masked */
	uint8_t bits; /* 0..128; an IPv4 /n is 96 + n */
};

/* A member of one of the lists of numbers. */
struct policy_id {
	enum weir_list list;
	uint32_t id; /* users and groups as the pod sees them */
};

/* An interface of the pod, by name: its index is known to the namespace alone, and may change. */
struct policy_interface {
	enum weir_list list; /* WEIR_LIST_IF_EXCLUDE or WEIR_LIST_IF_VIRTUAL */
	char *name;
};

/* Growing lists of all of them; owns its arrays and names. */
struct lists {
	struct port_range *ports;
	size_t n_ports;
	struct cidr *cidrs;
	size_t n_cidrs;
	struct policy_id *ids;
	size_t n_ids;
	struct policy_interface *interfaces;
	size_t n_interfaces;
};

void lists_free(struct lists *lists);
void lists_add_port(struct lists *lists, enum weir_list list, uint16_t lo, uint16_t hi);
/*
 * bits as in struct cidr; the address is masked. v4 tells 1.2.3.0/24 from ::ffff:1.2.3.0/120: an
 * IPv6 prefix matches no IPv4 address, though both are written alike here, as in ip6tables.
 */
void lists_add_cidr(struct lists *lists, enum weir_list list, const struct weir_addr *addr,
		    unsigned int bits, bool v4);
void lists_add_id(struct lists *lists, enum weir_list list, uint32_t id);
void lists_add_interface(struct lists *lists, enum weir_list list, const char *name);
/* Sorts all; joins ports that overlap or touch, removes what is there twice. */
void lists_normalize(struct lists *lists);

#define _cleanup_lists_ _cleanup_(lists_free)

#endif

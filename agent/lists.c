/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lists.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

void lists_free(struct lists *lists)
{
	for (size_t i = 0; i < lists->n_interfaces; i++)
		free(lists->interfaces[i].name);
	free(lists->interfaces);
	free(lists->ids);
	free(lists->ports);
	free(lists->cidrs);
	*lists = (struct lists){ 0 };
}

void lists_add_port(struct lists *lists, enum weir_list list, uint16_t lo, uint16_t hi)
{
	size_t n = lists->n_ports++;

	lists->ports = xrealloc(lists->ports, (n + 1) * sizeof(*lists->ports));
	lists->ports[n] = (struct port_range){ .list = list, .lo = lo, .hi = hi };
}

static void clear_bits(struct weir_addr *addr, unsigned int from)
{
	for (unsigned int i = from; i < 128; i++)
		addr->ip[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

static void add_masked(struct lists *lists, enum weir_list list, const struct weir_addr *addr,
		       unsigned int bits)
{
	size_t n = lists->n_cidrs++;

	lists->cidrs = xrealloc(lists->cidrs, (n + 1) * sizeof(*lists->cidrs));
	lists->cidrs[n] = (struct cidr){ .list = list, .addr = *addr, .bits = (uint8_t)bits };
	clear_bits(&lists->cidrs[n].addr, bits);
}

void lists_add_cidr(struct lists *lists, enum weir_list list, const struct weir_addr *addr,
		    unsigned int bits, bool v4)
{
	struct weir_addr v4_block = { { [10] = 0xff, [11] = 0xff } }, part = v4_block;
	struct weir_addr masked = *addr;

	clear_bits(&masked, bits);
	clear_bits(&part, bits);
	if (v4 || !weir_addr_equal(&masked, &part)) {
		if (v4 || !(bits > 96 && weir_addr_is_v4(&masked)))
			add_masked(lists, list, addr, bits);
		return;
	}
	/* The prefix holds the IPv4 block, so all but the block is added, in halves: ::/0 gives 96.
	 */
	for (unsigned int bit = bits; bit < 96; bit++) {
		part = v4_block;
		part.ip[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
		add_masked(lists, list, &part, bit + 1);
	}
}

void lists_add_id(struct lists *lists, enum weir_list list, uint32_t id)
{
	size_t n = lists->n_ids;

	lists->ids = xrealloc(lists->ids, (n + 1) * sizeof(*lists->ids));
	lists->ids[n] = (struct policy_id){ .list = list, .id = id };
	lists->n_ids = n + 1;
}

void lists_add_interface(struct lists *lists, enum weir_list list, const char *name)
{
	size_t n = lists->n_interfaces;

	lists->interfaces = xrealloc(lists->interfaces, (n + 1) * sizeof(*lists->interfaces));
	lists->interfaces[n] = (struct policy_interface){ .list = list, .name = xstrdup(name) };
	lists->n_interfaces = n + 1;
}

static int compare_ports(const void *a, const void *b)
{
	const struct port_range *x = a, *y = b;

	return x->list != y->list ? (int)x->list - (int)y->list : x->lo - y->lo;
}

static int compare_cidrs(const void *a, const void *b)
{
	const struct cidr *x = a, *y = b;
	int order = memcmp(&x->addr, &y->addr, sizeof(x->addr));

	if (x->list != y->list)
		return (int)x->list - (int)y->list;
	return order ? order : x->bits - y->bits;
}

static int compare_ids(const void *a, const void *b)
{
	const struct policy_id *x = a, *y = b;

	return x->list != y->list ? (int)x->list - (int)y->list : (x->id > y->id) - (x->id < y->id);
}

static int compare_interfaces(const void *a, const void *b)
{
	const struct policy_interface *x = a, *y = b;

	return x->list != y->list ? (int)x->list - (int)y->list : strcmp(x->name, y->name);
}

static void normalize_ids(struct lists *lists)
{
	size_t n = 0;

	if (lists->n_ids)
		qsort(lists->ids, lists->n_ids, sizeof(*lists->ids), compare_ids);
	for (size_t i = 0; i < lists->n_ids; i++)
		if (!n || compare_ids(&lists->ids[n - 1], &lists->ids[i]))
			lists->ids[n++] = lists->ids[i];
	lists->n_ids = n;
}

static void normalize_interfaces(struct lists *lists)
{
	struct policy_interface *all = lists->interfaces;
	size_t n = 0;

	if (lists->n_interfaces)
		qsort(all, lists->n_interfaces, sizeof(*all), compare_interfaces);
	for (size_t i = 0; i < lists->n_interfaces; i++) {
		if (n && !compare_interfaces(&all[n - 1], &all[i]))
			free(all[i].name);
		else
			all[n++] = all[i];
	}
	lists->n_interfaces = n;
}

void lists_normalize(struct lists *lists)
{
	size_t n = 0;

	normalize_ids(lists);
	normalize_interfaces(lists);

	if (lists->n_ports)
		qsort(lists->ports, lists->n_ports, sizeof(*lists->ports), compare_ports);
	for (size_t i = 0; i < lists->n_ports; i++) {
		struct port_range *range = &lists->ports[i], *last = &lists->ports[n ? n - 1 : 0];

		if (!n || last->list != range->list || range->lo > last->hi + 1)
			lists->ports[n++] = *range;
		else if (range->hi > last->hi)
			last->hi = range->hi;
	}
	lists->n_ports = n;
	n = 0;
	if (lists->n_cidrs)
		qsort(lists->cidrs, lists->n_cidrs, sizeof(*lists->cidrs), compare_cidrs);
	for (size_t i = 0; i < lists->n_cidrs; i++)
		if (!n || compare_cidrs(&lists->cidrs[n - 1], &lists->cidrs[i]))
			lists->cidrs[n++] = lists->cidrs[i];
	lists->n_cidrs = n;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/invariants.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *text_of(const unsigned char *data, size_t size)
{
	char *text = xcalloc(1, size + 1);

	if (size)
		memcpy(text, data, size);
	return text;
}

/* The flag without which nobody asks a list. */
static const __u32 flag_of[WEIR_LIST_MAX] = {
	[WEIR_LIST_OUT_PORT_EXCLUDE] = WEIR_POD_OUT_PORTS_EXCLUDE,
	[WEIR_LIST_OUT_PORT_INCLUDE] = WEIR_POD_OUT_PORTS,
	[WEIR_LIST_OUT_CIDR_EXCLUDE] = WEIR_POD_OUT_CIDRS_EXCLUDE,
	[WEIR_LIST_OUT_CIDR_INCLUDE] = WEIR_POD_OUT_CIDRS,
	[WEIR_LIST_IN_PORT_EXCLUDE] = WEIR_POD_IN_PORTS_EXCLUDE,
	[WEIR_LIST_IN_PORT_INCLUDE] = WEIR_POD_IN_PORTS,
	[WEIR_LIST_IN_SOURCE_EXCLUDE] = WEIR_POD_IN_SOURCES_EXCLUDE,
	[WEIR_LIST_DNS_SERVER] = WEIR_POD_DNS,
	[WEIR_LIST_PROXY_UID] = WEIR_POD_PROXY_UIDS,
	[WEIR_LIST_PROXY_GID] = WEIR_POD_PROXY_GIDS,
	[WEIR_LIST_GROUP_INCLUDE] = WEIR_POD_GROUPS_INCLUDE,
	[WEIR_LIST_GROUP_EXCLUDE] = WEIR_POD_GROUPS_EXCLUDE,
	[WEIR_LIST_IF_EXCLUDE] = WEIR_POD_IF_EXCLUDE,
	[WEIR_LIST_IF_VIRTUAL] = WEIR_POD_IF_VIRTUAL,
};

static int add_size(uint16_t prefix, int bits, void *arg)
{
	must(bits >= 0 && bits <= 16);
	must(!(prefix & ((1U << (16 - bits)) - 1)));
	*(uint32_t *)arg += 1U << (16 - bits);
	return 0;
}

static void check_ports(const struct port_range *ports, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t size = 0;

		must(ports[i].lo <= ports[i].hi);
		must(ports[i].list > 0 && ports[i].list < WEIR_LIST_MAX);
		must(!i || ports[i - 1].list < ports[i].list ||
		     (ports[i - 1].list == ports[i].list && ports[i - 1].hi + 1 < ports[i].lo));
		range_to_prefixes(ports[i].lo, ports[i].hi, add_size, &size);
		must(size == ports[i].hi - ports[i].lo + 1U);
	}
}

static void check_cidrs(const struct cidr *cidrs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct cidr *c = &cidrs[i];

		must(c->bits <= 128);
		for (unsigned int bit = c->bits; bit < 128; bit++)
			must(!(c->addr.ip[bit / 8] & (0x80 >> bit % 8)));
		must(!i || c[-1].list < c->list ||
		     (c[-1].list == c->list &&
		      (memcmp(&c[-1].addr, &c->addr, sizeof(c->addr)) < 0 ||
		       (weir_addr_equal(&c[-1].addr, &c->addr) && c[-1].bits < c->bits))));
	}
}

static void check_ids(const struct policy_id *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++)
			must(ids[i].list != ids[j].list || ids[i].id != ids[j].id);
}

static void check_interfaces(const struct policy_interface *interfaces, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		must(*interfaces[i].name && strlen(interfaces[i].name) <= 15);
		must(!strpbrk(interfaces[i].name, "/ \t\n,"));
		for (size_t j = 0; j < i; j++)
			must(interfaces[i].list != interfaces[j].list ||
			     strcmp(interfaces[i].name, interfaces[j].name));
	}
}

void check_lists(const struct lists *lists)
{
	check_ports(lists->ports, lists->n_ports);
	check_cidrs(lists->cidrs, lists->n_cidrs);
	check_ids(lists->ids, lists->n_ids);
	check_interfaces(lists->interfaces, lists->n_interfaces);
}

/* Nothing lies in a list that nobody would ask. */
static void check_flags(const struct policy *p)
{
	for (size_t i = 0; i < p->n_ports; i++)
		must(p->pod.flags & flag_of[p->ports[i].list]);
	for (size_t i = 0; i < p->n_cidrs; i++)
		must(p->pod.flags & flag_of[p->cidrs[i].list]);
	for (size_t i = 0; i < p->n_ids; i++)
		must(p->pod.flags & flag_of[p->ids[i].list]);
	for (size_t i = 0; i < p->n_interfaces; i++)
		must(p->pod.flags & flag_of[p->interfaces[i].list]);
}

static void check_captured(const struct policy *p)
{
	const __u32 out = WEIR_POD_OUT_ALL | WEIR_POD_OUT_CIDRS | WEIR_POD_OUT_PORTS;
	const __u32 in = WEIR_POD_IN_ALL | WEIR_POD_IN_PORTS;
	const struct weir_pod *pod = &p->pod;

	must(pod->mode == WEIR_MODE_CAPTURE);
	must(p->mesh != WEIR_MESH_NONE);
	must(pod->outbound_port || !(pod->flags & out));
	must(pod->inbound_port || !(pod->flags & in));
	must(pod->flags & WEIR_POD_IPV4);
	must(!!pod->dns_port == !!(pod->flags & WEIR_POD_DNS));
	must(pod->rules == WEIR_RULES_LINKERD ||
	     (pod->loopback_net[0] == 127 && pod->loopback_bits >= 8 && pod->loopback_bits <= 32));
	check_flags(p);
}

static void check_policy(const struct policy *p)
{
	const __u32 observed = WEIR_POD_CAPTURE_OFF | WEIR_POD_KEPT;

	must(p->reason && *p->reason);
	must(p->state < POLICY_STATE_MAX && p->state != POLICY_PENDING);
	must(policy_generation(p));
	for (size_t i = 0; i < WEIR_SETTING_MAX; i++)
		must(p->sources[i] < WEIR_SOURCE_MAX);
	for (size_t i = 0; i < p->n_warnings; i++)
		must(p->warnings[i] && *p->warnings[i]);
	check_ports(p->ports, p->n_ports);
	check_cidrs(p->cidrs, p->n_cidrs);
	check_ids(p->ids, p->n_ids);
	check_interfaces(p->interfaces, p->n_interfaces);
	must(p->state == POLICY_FAILED || !p->n_errors);
	if (p->pod.mode == WEIR_MODE_CAPTURE) {
		must(p->state == POLICY_CAPTURED || p->state == POLICY_FAILED);
		check_captured(p);
		return;
	}
	must(p->state == POLICY_FAILED || p->pod.mode == WEIR_MODE_OBSERVE);
	/* Lookups that would have been captured are refused with the rest; who the proxy is stays
	 * known where other rules than weir's redirect to it. */
	must(!(p->pod.flags & ~(p->pod.mode == WEIR_MODE_REFUSE ? WEIR_POD_DNS : observed)));
	must(!p->n_ports && !p->n_cidrs && !p->n_interfaces);
	check_flags(p);
}

void check_pod(const struct pod *pod, const struct policy_options *options)
{
	_cleanup_policy_ struct policy *p = NULL, *again = NULL;

	must(!policy_compile(pod, options, &p));
	must(!policy_compile(pod, options, &again));
	check_policy(p);
	must(policy_generation(p) == policy_generation(again));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/delivery.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/netlink.h"
#include "base/netns.h"
#include "base/own_routes.h"

#define PRIORITY 100 /* after the local table (0), before main (32766) */

/*
 * One rule: what comes in by this interface, is TCP and meant for dst is delivered here. Or, if
 * there is a mark, what bears it.
 */
struct rule {
	uint8_t family;
	uint32_t mark;
	char interface[IFNAMSIZ];
	struct weir_addr dst;
	uint8_t bits; /* in its own family; 0: any */
};

struct rules {
	struct rule *items;
	size_t n;
};

static void add_rule(struct rules *rules, const struct rule *rule)
{
	rules->items = xrealloc(rules->items, (rules->n + 1) * sizeof(*rule));
	rules->items[rules->n++] = *rule;
}

static int compare_rules(const void *first, const void *second)
{
	const struct rule *a = first, *b = second;
	int name = strcmp(a->interface, b->interface);

	if (a->family != b->family)
		return a->family - b->family;
	if (a->mark != b->mark)
		return a->mark < b->mark ? -1 : 1;
	if (a->bits != b->bits || name)
		return a->bits != b->bits ? a->bits - b->bits : name;
	return a->bits ? memcmp(&a->dst, &b->dst, sizeof(a->dst)) : 0;
}

/* What has_rule() asks of: a pod may name thousands of interfaces and ranges. */
static void sort_rules(struct rules *rules)
{
	if (rules->n)
		qsort(rules->items, rules->n, sizeof(*rules->items), compare_rules);
}

static bool has_rule(const struct rules *rules, const struct rule *rule)
{
	return rules->n &&
	       bsearch(rule, rules->items, rules->n, sizeof(*rule), compare_rules) != NULL;
}

/* The included ranges, or everything, for one interface. */
static void want_interface(struct rules *want, const struct policy *policy, const char *name)
{
	struct rule rule = { 0 };

	strncpy(rule.interface, name, sizeof(rule.interface) - 1);
	if (policy->pod.flags & WEIR_POD_OUT_ALL) {
		rule.family = AF_INET;
		add_rule(want, &rule);
		rule.family = AF_INET6;
		if (policy->pod.flags & WEIR_POD_IPV6)
			add_rule(want, &rule);
		return;
	}
	for (size_t i = 0; i < policy->n_cidrs; i++) {
		const struct cidr *c = &policy->cidrs[i];
		bool v4 = c->bits >= 96 && weir_addr_is_v4(&c->addr);

		if (c->list != WEIR_LIST_OUT_CIDR_INCLUDE ||
		    (!v4 && !(policy->pod.flags & WEIR_POD_IPV6)))
			continue;
		rule.family = v4 ? AF_INET : AF_INET6;
		rule.dst = c->addr;
		rule.bits = (uint8_t)(c->bits - (v4 ? 96 : 0));
		add_rule(want, &rule);
	}
}

/* `ip rule add fwmark 1337 lookup 133` */
static void want_marks(struct rules *want, const struct policy *policy)
{
	struct rule rule = { .family = AF_INET, .mark = WEIR_TPROXY_MARK };

	add_rule(want, &rule);
	rule.family = AF_INET6;
	if (policy->pod.flags & WEIR_POD_IPV6)
		add_rule(want, &rule);
}

static void want_rules(struct rules *want, const struct policy *policy)
{
	if (policy->pod.mode != WEIR_MODE_CAPTURE)
		return;
	for (size_t i = 0; i < policy->n_interfaces; i++)
		if (policy->interfaces[i].list == WEIR_LIST_IF_VIRTUAL)
			want_interface(want, policy, policy->interfaces[i].name);
	if (policy->pod.flags & WEIR_POD_TPROXY)
		want_marks(want, policy);
}

static size_t addr_len(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

/* Where the address of that family lies in a v4-mapped one. */
static const void *addr_of(const struct rule *rule)
{
	return rule->family == AF_INET ? &rule->dst.ip[12] : &rule->dst.ip[0];
}

static int change_rule(struct mnl_socket *nl, uint16_t type, const struct rule *rule)
{
	char buffer[512];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct fib_rule_hdr *hdr = mnl_nlmsg_put_extra_header(message, sizeof(*hdr));

	message->nlmsg_type = type;
	if (type == RTM_NEWRULE)
		message->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	hdr->family = rule->family;
	hdr->table = OWN_TABLE;
	hdr->action = FR_ACT_TO_TBL;
	hdr->dst_len = rule->bits;
	mnl_attr_put_u32(message, FRA_TABLE, OWN_TABLE);
	mnl_attr_put_u8(message, FRA_PROTOCOL, OWN_PROTOCOL);
	if (rule->mark) {
		mnl_attr_put_u32(message, FRA_FWMARK, rule->mark);
		mnl_attr_put_u32(message, FRA_FWMASK, UINT32_MAX); /* EEXIST compares both */
	} else {
		mnl_attr_put_u32(message, FRA_PRIORITY, PRIORITY);
		mnl_attr_put_u8(message, FRA_IP_PROTO, IPPROTO_TCP);
		mnl_attr_put_strz(message, FRA_IIFNAME, rule->interface);
	}
	if (rule->bits)
		mnl_attr_put(message, FRA_DST, addr_len(rule->family), addr_of(rule));
	return netlink_request(nl, message, type == RTM_NEWRULE ? EEXIST : ENOENT);
}

/* Of the dump: weir's own rules. */
static int keep_own(const struct nlmsghdr *message, void *data)
{
	const struct fib_rule_hdr *hdr = mnl_nlmsg_get_payload(message);
	struct netlink_attrs attrs;
	struct rule rule = { .family = hdr->family, .bits = hdr->dst_len };

	netlink_parse(message, sizeof(*hdr), &attrs);
	if (!attrs.by_type[FRA_PROTOCOL] ||
	    mnl_attr_get_u8(attrs.by_type[FRA_PROTOCOL]) != OWN_PROTOCOL)
		return MNL_CB_OK;
	rule.mark = netlink_u32(&attrs, FRA_FWMARK, 0);
	if (attrs.by_type[FRA_IIFNAME])
		strncpy(rule.interface, mnl_attr_get_str(attrs.by_type[FRA_IIFNAME]),
			sizeof(rule.interface) - 1);
	if (attrs.by_type[FRA_DST] && rule.family == AF_INET)
		weir_addr_from_v4(&rule.dst, mnl_attr_get_u32(attrs.by_type[FRA_DST]));
	else if (attrs.by_type[FRA_DST])
		memcpy(&rule.dst, mnl_attr_get_payload(attrs.by_type[FRA_DST]), sizeof(rule.dst));
	add_rule(data, &rule);
	return MNL_CB_OK;
}

static int sync_rules(struct mnl_socket *nl, const struct rules *have, const struct rules *want)
{
	int changes = 0, err = 0;

	for (size_t i = 0; !err && i < want->n; i++)
		if (!has_rule(have, &want->items[i])) {
			err = netlink_add_local_table(nl, want->items[i].family, OWN_TABLE,
						      OWN_PROTOCOL);
			if (!err)
				err = change_rule(nl, RTM_NEWRULE, &want->items[i]);
			if (!err && want->items[i].mark)
				err = own_routes_inherit_marks(1);
			changes++;
		}
	for (size_t i = 0; !err && i < have->n; i++)
		if (!has_rule(want, &have->items[i])) {
			err = change_rule(nl, RTM_DELRULE, &have->items[i]);
			changes++;
		}
	return err ?: changes;
}

static int sync_in_netns(void *ctx)
{
	struct mnl_socket *nl = netlink_open(NETLINK_ROUTE);
	struct rules have = { 0 };
	int err = nl ? 0 : -errno;

	if (!err)
		err = netlink_dump(nl, RTM_GETRULE, sizeof(struct rtmsg), AF_INET, keep_own, &have);
	if (!err)
		err = netlink_dump(nl, RTM_GETRULE, sizeof(struct rtmsg), AF_INET6, keep_own,
				   &have);
	sort_rules(&have);
	if (!err)
		err = sync_rules(nl, &have, ctx);
	free(have.items);
	if (nl)
		mnl_socket_close(nl);
	return err;
}

int delivery_sync(int netns_fd, const struct policy *policy)
{
	struct rules want = { 0 };
	int err;

	want_rules(&want, policy);
	sort_rules(&want);
	err = netns_call(netns_fd, sync_in_netns, &want);
	free(want.items);
	return err;
}

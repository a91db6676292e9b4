/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/routes.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/netlink.h"
#include "base/netns.h"

void routes_free(struct routes *routes)
{
	free(routes->items);
	free(routes->rules);
	*routes = (struct routes){ 0 };
}

static void set_dst(struct route *route, const struct nlattr *dst)
{
	if (route->v6) {
		if (dst)
			memcpy(route->dst.ip, mnl_attr_get_payload(dst), sizeof(route->dst.ip));
	} else {
		uint32_t v4 = dst ? mnl_attr_get_u32(dst) : 0;

		weir_addr_from_v4(&route->dst, v4);
	}
}

/* The first hop stands for all: which of them the kernel takes depends on the connection. */
static uint32_t first_hop(const struct nlattr *multipath)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(multipath);

	return mnl_attr_get_payload_len(multipath) >= sizeof(*hop) ? (uint32_t)hop->rtnh_ifindex
								   : 0;
}

static int keep_route(const struct nlmsghdr *message, void *data)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(message);
	struct routes *routes = data;
	struct netlink_attrs attrs;
	struct route route = { .v6 = rt->rtm_family == AF_INET6 };

	netlink_parse(message, sizeof(*rt), &attrs);
	if (rt->rtm_flags & RTM_F_CLONED || rt->rtm_tos || rt->rtm_src_len ||
	    rt->rtm_type == RTN_MULTICAST || rt->rtm_type == RTN_BROADCAST ||
	    rt->rtm_type == RTN_ANYCAST || rt->rtm_type == RTN_THROW)
		return MNL_CB_OK;
	set_dst(&route, attrs.by_type[RTA_DST]);
	route.bits = (uint8_t)(rt->rtm_dst_len + (route.v6 ? 0 : 96));
	route.table = netlink_u32(&attrs, RTA_TABLE, rt->rtm_table);
	route.metric = netlink_u32(&attrs, RTA_PRIORITY, 0);
	route.ifindex = netlink_u32(&attrs, RTA_OIF, 0);
	if (!route.ifindex && attrs.by_type[RTA_MULTIPATH])
		route.ifindex = first_hop(attrs.by_type[RTA_MULTIPATH]);
	routes->items = xrealloc(routes->items, (routes->n + 1) * sizeof(route));
	routes->items[routes->n++] = route;
	return MNL_CB_OK;
}

/* What makes a rule hold for some connections only. */
static bool is_selective(const struct fib_rule_hdr *rule, const struct netlink_attrs *attrs)
{
	static const int selectors[] = { FRA_FWMARK,   FRA_OIFNAME,	FRA_UID_RANGE,
					 FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE,
					 FRA_L3MDEV,   FRA_GOTO,	FRA_SRC,
					 FRA_DST };

	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
		if (attrs->by_type[selectors[i]])
			return true;
	return rule->src_len || rule->dst_len || rule->tos || rule->flags & FIB_RULE_INVERT ||
	       rule->action != FR_ACT_TO_TBL ||
	       (int32_t)netlink_u32(attrs, FRA_SUPPRESS_PREFIXLEN, (uint32_t)-1) >= 0;
}

static int keep_rule(const struct nlmsghdr *message, void *data)
{
	const struct fib_rule_hdr *hdr = mnl_nlmsg_get_payload(message);
	struct routes *routes = data;
	struct netlink_attrs attrs;
	struct route_rule rule = { .v6 = hdr->family == AF_INET6 };

	netlink_parse(message, sizeof(*hdr), &attrs);
	if (attrs.by_type[FRA_IIFNAME])
		return MNL_CB_OK; /* concerns what comes in */
	if (is_selective(hdr, &attrs)) {
		routes->n_selective++;
		return MNL_CB_OK;
	}
	rule.priority = netlink_u32(&attrs, FRA_PRIORITY, 0);
	rule.table = netlink_u32(&attrs, FRA_TABLE, hdr->table);
	routes->rules = xrealloc(routes->rules, (routes->n_rules + 1) * sizeof(rule));
	routes->rules[routes->n_rules++] = rule;
	return MNL_CB_OK;
}

static int read_tables(void *ctx)
{
	static const struct {
		uint16_t type;
		uint8_t family;
		mnl_cb_t cb;
	} dumps[] = {
		{ RTM_GETRULE, AF_INET, keep_rule },
		{ RTM_GETRULE, AF_INET6, keep_rule },
		{ RTM_GETROUTE, AF_INET, keep_route },
		{ RTM_GETROUTE, AF_INET6, keep_route },
	};
	struct mnl_socket *nl = netlink_open(NETLINK_ROUTE);
	int err = nl ? 0 : -errno;

	for (size_t i = 0; !err && i < ARRAY_SIZE(dumps); i++)
		err = netlink_dump(nl, dumps[i].type, sizeof(struct rtmsg), dumps[i].family,
				   dumps[i].cb, ctx);
	if (nl)
		mnl_socket_close(nl);
	return err;
}

int routes_read(int netns_fd, struct routes *ret)
{
	struct routes routes = { 0 };
	int err = netns_call(netns_fd, read_tables, &routes);

	if (err < 0) {
		routes_free(&routes);
		return err;
	}
	routes_flatten(&routes);
	*ret = routes;
	return 0;
}

static int by_priority(const void *a, const void *b)
{
	const struct route_rule *x = a, *y = b;

	return (x->priority > y->priority) - (x->priority < y->priority);
}

static bool holds(const struct route *wide, const struct route *narrow)
{
	unsigned int whole = wide->bits / 8, rest = wide->bits % 8;

	if (wide->v6 != narrow->v6 || wide->bits > narrow->bits ||
	    memcmp(wide->dst.ip, narrow->dst.ip, whole))
		return false;
	return !rest || !((wide->dst.ip[whole] ^ narrow->dst.ip[whole]) >> (8 - rest));
}

/* Does a route that was kept answer for every address of this one before it is asked? */
static bool is_hidden(const struct routes *kept, const struct route *route)
{
	for (size_t i = 0; i < kept->n; i++) {
		const struct route *first = &kept->items[i];

		if (holds(first, route) &&
		    (first->table != route->table || first->bits == route->bits))
			return true;
	}
	return false;
}

static int by_metric(const void *a, const void *b)
{
	const struct route *x = a, *y = b;

	return (x->metric > y->metric) - (x->metric < y->metric);
}

void routes_flatten(struct routes *routes)
{
	struct routes kept = { .items = xcalloc(routes->n + 1, sizeof(*kept.items)) };

	if (routes->n_rules)
		qsort(routes->rules, routes->n_rules, sizeof(*routes->rules), by_priority);
	if (routes->n)
		qsort(routes->items, routes->n, sizeof(*routes->items), by_metric);
	for (size_t r = 0; r < routes->n_rules; r++)
		for (size_t i = 0; i < routes->n; i++) {
			const struct route *route = &routes->items[i];

			if (route->table == routes->rules[r].table &&
			    route->v6 == routes->rules[r].v6 && !is_hidden(&kept, route))
				kept.items[kept.n++] = *route;
		}
	free(routes->items);
	routes->items = kept.items;
	routes->n = kept.n;
}

static int open_watch(void *ctx)
{
	static const int groups[] = { RTNLGRP_LINK,	  RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,
				      RTNLGRP_IPV6_RULE };
	_cleanup_close_ int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct sockaddr_nl name = { .nl_family = AF_NETLINK };

	if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			       sizeof(groups[i])) < 0)
			return -errno;
	*(int *)ctx = TAKE_FD(fd);
	return 0;
}

int routes_watch(int netns_fd)
{
	int fd = -1;
	int err = netns_call(netns_fd, open_watch, &fd);

	return err < 0 ? err : fd;
}

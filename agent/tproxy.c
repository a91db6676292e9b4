/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tproxy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/netns.h"
#include "base/cleanup.h"

#define MARK  1337 /* ISTIO_INBOUND_TPROXY_MARK */
#define TABLE 133 /* ISTIO_INBOUND_TPROXY_ROUTE_TABLE */

struct request {
	struct nlmsghdr header;
	struct rtmsg body; /* struct fib_rule_hdr has the same size and order of fields */
	char attributes[64];
};

_Static_assert(sizeof(struct rtmsg) == sizeof(struct fib_rule_hdr), "one struct for both");

static void add_number(struct request *r, unsigned short type, uint32_t value)
{
	struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(sizeof(value));
	memcpy(RTA_DATA(a), &value, sizeof(value));
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* 0 when it is there already. */
static int ask(int fd, const struct request *r)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char original[128];
	} reply;

	if (send(fd, r, r->header.nlmsg_len, 0) < 0)
		return -errno;
	if (recv(fd, &reply, sizeof(reply), 0) < (ssize_t)NLMSG_LENGTH(sizeof(reply.error)) ||
	    reply.header.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return reply.error.error == -EEXIST ? 0 : reply.error.error;
}

/* ip rule add fwmark 1337 lookup 133 */
static int add_rule(int fd, unsigned char family)
{
	struct request r = {
		.header = { .nlmsg_len = NLMSG_LENGTH(sizeof(r.body)),
			    .nlmsg_type = RTM_NEWRULE,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL },
		.body = { .rtm_family = family, .rtm_table = TABLE, .rtm_type = FR_ACT_TO_TBL },
	};

	add_number(&r, FRA_FWMARK, MARK);
	add_number(&r, FRA_FWMASK, UINT32_MAX); /* EEXIST compares all that was given */
	return ask(fd, &r);
}

/* ip route add local default dev lo table 133 */
static int add_route(int fd, unsigned char family)
{
	struct request r = {
		.header = { .nlmsg_len = NLMSG_LENGTH(sizeof(r.body)),
			    .nlmsg_type = RTM_NEWROUTE,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL },
		.body = { .rtm_family = family,
			  .rtm_table = TABLE,
			  .rtm_protocol = RTPROT_BOOT,
			  .rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE,
			  .rtm_type = RTN_LOCAL },
	};

	add_number(&r, RTA_OIF, if_nametoindex("lo"));
	return ask(fd, &r);
}

/* Accepted sockets take over the mark of their SYN; of both families. */
static int inherit_marks(void)
{
	_cleanup_close_ int fd = open("/proc/sys/net/ipv4/tcp_fwmark_accept", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "1\n", 2) < 0 ? -errno : 0;
}

static int set_up(void *ctx)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	static const unsigned char families[] = { AF_INET, AF_INET6 };
	const bool *v6 = ctx;
	int err = fd < 0 ? -errno : 0;

	for (int i = 0; !err && i <= *v6; i++) {
		err = add_rule(fd, families[i]);
		err = err ?: add_route(fd, families[i]);
	}
	return err ?: inherit_marks();
}

int tproxy_set_up(int netns_fd, bool v6)
{
	return netns_call(netns_fd, set_up, &v6);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tproxy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/netlink.h"
#include "agent/netns.h"
#include "base/cleanup.h"

#define MARK  1337 /* ISTIO_INBOUND_TPROXY_MARK */
#define TABLE 133 /* ISTIO_INBOUND_TPROXY_ROUTE_TABLE */

/* ip rule add fwmark 1337 lookup 133 */
static int add_rule(struct mnl_socket *nl, uint8_t family)
{
	char buffer[512];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(message, sizeof(*rule));

	message->nlmsg_type = RTM_NEWRULE;
	message->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	rule->family = family;
	rule->table = TABLE;
	rule->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(message, FRA_FWMARK, MARK);
	mnl_attr_put_u32(message, FRA_FWMASK, UINT32_MAX); /* EEXIST compares all that was given */
	return netlink_request(nl, message, EEXIST);
}

/* Accepted sockets take over the mark of their SYN; of both families. */
static int inherit_marks(void)
{
	_cleanup_close_ int fd = open("/proc/sys/net/ipv4/tcp_fwmark_accept", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "1\n", 2) < 0 ? -errno : 0;
}

static int set_up(void *ctx)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct mnl_socket *nl = netlink_open(NETLINK_ROUTE);
	const bool *v6 = ctx;
	int err = nl ? 0 : -errno;

	for (int i = 0; !err && i <= *v6; i++) {
		err = add_rule(nl, families[i]);
		err = err ?: netlink_add_local_table(nl, families[i], TABLE);
	}
	if (nl)
		mnl_socket_close(nl);
	return err ?: inherit_marks();
}

int tproxy_set_up(int netns_fd, bool v6)
{
	return netns_call(netns_fd, set_up, &v6);
}

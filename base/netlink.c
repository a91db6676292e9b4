/* SPDX-License-Identifier: Apache-2.0 */
#include "base/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define DUMP_SIZE 32768 /* what the kernel fills at most in one message of a dump */

static int keep_attr(const struct nlattr *attr, void *data)
{
	struct netlink_attrs *attrs = data;
	uint16_t type = mnl_attr_get_type(attr);

	if (type < ARRAY_SIZE(attrs->by_type))
		attrs->by_type[type] = attr;
	return MNL_CB_OK;
}

void netlink_parse(const struct nlmsghdr *message, size_t header, struct netlink_attrs *ret)
{
	*ret = (struct netlink_attrs){ 0 };
	mnl_attr_parse(message, (unsigned int)header, keep_attr, ret);
}

uint32_t netlink_u32(const struct netlink_attrs *attrs, int type, uint32_t otherwise)
{
	const struct nlattr *attr = attrs->by_type[type];

	return attr ? mnl_attr_get_u32(attr) : otherwise;
}

struct mnl_socket *netlink_open(int bus)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC);
	int saved;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
		return nl;
	saved = errno;
	mnl_socket_close(nl);
	errno = saved;
	return NULL;
}

int netlink_dump(struct mnl_socket *nl, uint16_t type, size_t header, uint8_t family, mnl_cb_t cb,
		 void *data)
{
	_cleanup_free_ char *buffer = xcalloc(1, DUMP_SIZE);
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	uint8_t *first = mnl_nlmsg_put_extra_header(request, header);
	unsigned int seq = (unsigned int)time(NULL);
	int err = MNL_CB_OK;
	ssize_t n;

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = seq;
	*first = family;
	if (mnl_socket_sendto(nl, request, request->nlmsg_len) < 0)
		return -errno;
	while (err == MNL_CB_OK) {
		n = mnl_socket_recvfrom(nl, buffer, DUMP_SIZE);
		if (n < 0)
			return -errno;
		err = mnl_cb_run(buffer, (size_t)n, seq, mnl_socket_get_portid(nl), cb, data);
	}
	if (err < 0 && (errno == EOPNOTSUPP || errno == EAFNOSUPPORT))
		return 0;
	return err < 0 ? -errno : 0;
}

int netlink_request(struct mnl_socket *nl, struct nlmsghdr *message, int there)
{
	char buffer[1024];
	ssize_t n;

	message->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	message->nlmsg_seq = (uint32_t)time(NULL);
	if (mnl_socket_sendto(nl, message, message->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));
	if (n < 0)
		return -errno;
	if (mnl_cb_run(buffer, (size_t)n, message->nlmsg_seq, mnl_socket_get_portid(nl), NULL,
		       NULL) >= 0)
		return 0;
	return errno == there ? 0 : -errno;
}

int netlink_add_local_table(struct mnl_socket *nl, uint8_t family, uint32_t table, uint8_t protocol)
{
	char buffer[512];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(message, sizeof(*rt));

	message->nlmsg_type = RTM_NEWROUTE;
	message->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	rt->rtm_family = family;
	rt->rtm_protocol = protocol;
	rt->rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	rt->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(message, RTA_TABLE, table);
	mnl_attr_put_u32(message, RTA_OIF, if_nametoindex("lo"));
	return netlink_request(nl, message, EEXIST);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/nsid.h"

#include <errno.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/netlink.h"
#include "base/netns.h"

struct nsid {
	struct mnl_socket *requests;
	int fd; /* of what is told unasked */
	void (*changed)(void *ctx);
	void *ctx;
};

/* Is it from a pod's namespace? Messages from the socket's own bear no number. */
static bool is_foreign(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
		if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID)
			return true;
	return false;
}

/* An end is told in the socket's own namespace, where the number is given up. */
static bool is_news(struct msghdr *message, const struct nlmsghdr *first, size_t len)
{
	if (is_foreign(message))
		return true;
	return mnl_nlmsg_ok(first, (int)len) && first->nlmsg_type == RTM_DELNSID;
}

/* What changed is read again as a whole, so nothing more of a message is of interest. */
static void on_message(void *ctx, uint32_t events)
{
	struct nsid *n = ctx;
	bool news = false;

	(void)events;
	for (;;) {
		char buffer[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
		char control[CMSG_SPACE(sizeof(int))];
		struct iovec part = { .iov_base = buffer, .iov_len = sizeof(buffer) };
		struct msghdr message = { .msg_iov = &part,
					  .msg_iovlen = 1,
					  .msg_control = control,
					  .msg_controllen = sizeof(control) };
		ssize_t len = recvmsg(n->fd, &message, MSG_DONTWAIT);

		if (len > 0)
			news = is_news(&message, (struct nlmsghdr *)buffer, (size_t)len) || news;
		else if (len < 0 && errno == ENOBUFS)
			news = true; /* some were lost */
		else if (len == 0 || errno != EINTR)
			break;
	}
	if (news)
		n->changed(n->ctx);
}

static int open_sockets(void *ctx)
{
	static const int groups[] = { RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NSID };
	struct sockaddr_nl name = { .nl_family = AF_NETLINK };
	struct nsid *n = ctx;
	int one = 1;

	n->requests = netlink_open(NETLINK_ROUTE);
	n->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (!n->requests || n->fd < 0 || bind(n->fd, (struct sockaddr *)&name, sizeof(name)) < 0 ||
	    setsockopt(n->fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &one, sizeof(one)) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (setsockopt(n->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			       sizeof(groups[i])) < 0)
			return -errno;
	return 0;
}

int nsid_open(struct nsid **ret, struct loop *loop, void (*changed)(void *ctx), void *ctx)
{
	struct nsid *n = xcalloc(1, sizeof(*n));
	int err;

	*n = (struct nsid){ .fd = -1, .changed = changed, .ctx = ctx };
	err = netns_call_apart(open_sockets, n);
	if (!err)
		err = loop_add(loop, n->fd, EPOLLIN, on_message, n);
	if (err) {
		nsid_close(n);
		return err;
	}
	*ret = n;
	return 0;
}

void nsid_close(struct nsid *n)
{
	if (!n)
		return;
	if (n->requests)
		mnl_socket_close(n->requests);
	close_fd(&n->fd);
	free(n);
}

int nsid_follow(struct nsid *n, int netns_fd)
{
	char buffer[128];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct rtgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	message->nlmsg_type = RTM_NEWNSID;
	header->rtgen_family = AF_UNSPEC;
	mnl_attr_put_u32(message, NETNSA_FD, (uint32_t)netns_fd);
	mnl_attr_put_u32(message, NETNSA_NSID, (uint32_t)NETNSA_NSID_NOT_ASSIGNED);
	return netlink_request(n->requests, message, EEXIST);
}

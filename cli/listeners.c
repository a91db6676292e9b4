/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "maps/addr.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14, e8b9eab99232 */
#endif

/* A netlink socket stays in the namespace where it was made, so one visit is enough. */
static int open_diag(int netns_fd)
{
	_cleanup_close_ int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int fd = -1;
	int err;

	if (home < 0)
		return -errno;
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	err = fd < 0 ? -errno : 0;
	if (setns(home, CLONE_NEWNET) < 0) {
		perror("weir: cannot return to the own network namespace");
		abort();
	}
	return err ? err : TAKE_FD(fd);
}

static int check_cookie(int fd, uint64_t cookie)
{
	uint64_t found;
	socklen_t len = sizeof(found);

	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &found, &len) < 0)
		return -errno;
	return found == cookie ? 0 : -ESTALE;
}

static int send_request(int fd, int family)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 request;
	} message = {
		.header = { .nlmsg_len = sizeof(message),
			    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.request = { .sdiag_family = (uint8_t)family,
			     .sdiag_protocol = IPPROTO_TCP,
			     .idiag_states = 1u << TCP_LISTEN },
	};

	return send(fd, &message, sizeof(message), 0) < 0 ? -errno : 0;
}

static bool is_v6only(const struct inet_diag_msg *m, size_t len)
{
	size_t left = len - sizeof(*m);

	for (const struct rtattr *a = (const struct rtattr *)(m + 1); RTA_OK(a, left);
	     a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_SKV6ONLY)
			return *(const uint8_t *)RTA_DATA(a);
	return false;
}

/* Does this listener take what goes to 127.0.0.1 or ::1? */
static bool takes_loopback(const struct inet_diag_msg *m, size_t len, bool v6)
{
	struct weir_addr bound;

	if (m->idiag_family == AF_INET)
		weir_addr_from_v4(&bound, m->id.idiag_src[0]);
	else
		weir_addr_from_words(&bound, m->id.idiag_src[0], m->id.idiag_src[1],
				     m->id.idiag_src[2], m->id.idiag_src[3]);
	if (v6)
		return m->idiag_family == AF_INET6 &&
		       (weir_addr_is_any(&bound) || weir_addr_is_v6_low(&bound, 1));
	if (m->idiag_family == AF_INET6 && is_v6only(m, len))
		return false;
	return weir_addr_is_any(&bound) || weir_addr_is_v4_loop(&bound, 1);
}

struct search {
	uint16_t port;
	bool v6;
	bool found;
};

/* 1: the dump goes on, 0: it is complete. */
static int read_messages(const struct nlmsghdr *h, size_t len, struct search *s)
{
	for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		const struct inet_diag_msg *m = NLMSG_DATA(h);

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(h))->error ?: -EPROTO;
		if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) || ntohs(m->id.idiag_sport) != s->port)
			continue;
		if (takes_loopback(m, NLMSG_PAYLOAD(h, 0), s->v6))
			s->found = true;
	}
	return 1;
}

static int dump(int fd, int family, struct search *s)
{
	char buffer[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = send_request(fd, family);

	while (r >= 0) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

		if (n < 0)
			return -errno;
		r = read_messages((const struct nlmsghdr *)buffer, (size_t)n, s);
		if (r == 0)
			return 0;
	}
	return r;
}

int listeners_find(const char *path, uint64_t cookie, bool v6, uint16_t port)
{
	_cleanup_close_ int netns_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct search search = { .port = port, .v6 = v6 };
	_cleanup_close_ int fd = -1;
	int r;

	if (netns_fd < 0)
		return -errno;
	fd = open_diag(netns_fd);
	if (fd < 0)
		return fd;
	r = check_cookie(fd, cookie);
	if (r == 0 && !v6)
		r = dump(fd, AF_INET, &search);
	if (r == 0)
		r = dump(fd, AF_INET6, &search);
	return r < 0 ? r : search.found;
}

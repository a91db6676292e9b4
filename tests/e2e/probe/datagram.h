// SPDX-License-Identifier: Apache-2.0
/* UDP in probe serve: each datagram is answered, from the address that it was sent to, with what
 * its receiver saw. */
#pragma once
#include "base.h"

/* What recvmsg() says of a datagram; the control message goes back with the answer, so that it
 * leaves from where the question arrived. */
struct datagram {
	struct address peer, local;
	union {
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct cmsghdr align;
	} control;
	size_t control_len;
};

static int open_datagram(const struct address *address, bool v6only)
{
	bool ipv6 = address->storage.ss_family == AF_INET6;
	int fd = socket(address->storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char text[ADDRESS_TEXT];

	if (fd < 0)
		die("socket: %s", strerror(errno));
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (ipv6) {
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only, "IPV6_V6ONLY");
		set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO");
	} else {
		set_option(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO");
	}
	if (bind(fd, (void *)&address->storage, address->len))
		die("%s: %s", format_address(&address->storage, text), strerror(errno));
	return fd;
}

/* The answer is routed anew: only the address goes back, not the interface. */
static void note_local(struct datagram *d, struct msghdr *msg, uint16_t port)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	if (cmsg && cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO) {
		struct in_pktinfo *info = (void *)CMSG_DATA(cmsg);

		set_ipv4(&d->local, info->ipi_addr, port);
		info->ipi_ifindex = 0;
		info->ipi_spec_dst = info->ipi_addr;
	} else if (cmsg && cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
		struct in6_pktinfo *info = (void *)CMSG_DATA(cmsg);

		set_ipv6(&d->local, info->ipi6_addr, port);
		info->ipi6_ifindex = 0;
	}
	d->control_len = msg->msg_controllen;
}

static bool receive_datagram(int fd, struct datagram *d)
{
	char waste[2048];
	struct iovec iov = { waste, sizeof(waste) };
	struct msghdr msg = { .msg_name = &d->peer.storage,
			      .msg_namelen = sizeof(d->peer.storage),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = d->control.bytes,
			      .msg_controllen = sizeof(d->control.bytes) };
	struct address own = { .len = sizeof(own.storage) };
	const struct sockaddr_in *in = (void *)&own.storage;

	if (recvmsg(fd, &msg, 0) < 0)
		return false;
	getsockname(fd, (void *)&own.storage, &own.len);
	d->peer.len = msg.msg_namelen;
	note_local(d, &msg, ntohs(in->sin_port));
	return true;
}

static void answer_datagram(int fd, const char *tag, const char *listener)
{
	struct datagram d = {};
	char local[ADDRESS_TEXT], peer[ADDRESS_TEXT], line[512];
	struct iovec iov = { line, 0 };
	struct msghdr msg = { .msg_name = &d.peer.storage, .msg_iov = &iov, .msg_iovlen = 1 };

	if (!receive_datagram(fd, &d))
		return;
	iov.iov_len = snprintf(
		line, sizeof(line),
		"{\"tag\":\"%s\",\"listener\":\"%s\",\"sockname\":\"%s\",\"peername\":\"%s\"}\n",
		tag, listener, format_address(&d.local.storage, local),
		format_address(&d.peer.storage, peer));
	msg.msg_namelen = d.peer.len;
	msg.msg_control = d.control.bytes;
	msg.msg_controllen = d.control_len;
	sendmsg(fd, &msg, MSG_NOSIGNAL);
}

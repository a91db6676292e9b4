/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/addresses.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/netns.h"
#include "base/sockaddr.h"

struct addresses {
	struct weir_addr *list;
	size_t n;
};

static void add_address(struct addresses *a, const struct sockaddr *sa)
{
	struct weir_addr addr;
	uint16_t port;

	if (!sockaddr_read(sa, addr.ip, &port))
		list_append(a->list, a->n, addr);
}

static int read_addresses(void *ctx)
{
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return -errno;
	for (struct ifaddrs *i = all; i; i = i->ifa_next)
		if (i->ifa_addr)
			add_address(ctx, i->ifa_addr);
	freeifaddrs(all);
	return 0;
}

static int hand_over(struct addresses *a, int err, struct weir_addr **ret, size_t *ret_n)
{
	if (err < 0) {
		free(a->list);
		return err;
	}
	*ret = a->list;
	*ret_n = a->n;
	return 0;
}

int addresses_read(int netns_fd, struct weir_addr **ret, size_t *ret_n)
{
	struct addresses a = { 0 };

	return hand_over(&a, netns_call(netns_fd, read_addresses, &a), ret, ret_n);
}

int addresses_read_own(struct weir_addr **ret, size_t *ret_n)
{
	struct addresses a = { 0 };

	return hand_over(&a, read_addresses(&a), ret, ret_n);
}

static int add_lo_v6(void *ctx)
{
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in6_ifreq req = { .ifr6_prefixlen = 128, .ifr6_ifindex = (int)if_nametoindex("lo") };

	if (fd < 0)
		return -errno;
	memcpy(&req.ifr6_addr, ctx, sizeof(req.ifr6_addr));
	if (ioctl(fd, SIOCSIFADDR, &req) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int addresses_add_lo_v6(int netns_fd, const struct weir_addr *addr)
{
	return netns_call(netns_fd, add_lo_v6, (void *)addr);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/responders.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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

/* An open file of /proc/net stays with the namespace that it was opened in. */
struct tables {
	FILE *udp, *udp6;
	uint64_t cookie;
};

static void close_tables(struct tables *t)
{
	if (t->udp)
		fclose(t->udp);
	if (t->udp6)
		fclose(t->udp6);
}

static int open_here(struct tables *t)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(t->cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &t->cookie, &len) < 0)
		return -errno;
	t->udp = fopen("/proc/thread-self/net/udp", "re");
	if (!t->udp)
		return -errno;
	t->udp6 = fopen("/proc/thread-self/net/udp6", "re"); /* none without IPv6 */
	return 0;
}

static int open_tables(const char *path, struct tables *t)
{
	_cleanup_close_ int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int netns = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int err;

	if (home < 0 || netns < 0 || setns(netns, CLONE_NEWNET) < 0)
		return -errno;
	err = open_here(t);
	if (setns(home, CLONE_NEWNET) < 0) {
		perror("weir: cannot return to the own network namespace");
		abort();
	}
	return err;
}

/* "0100007F:3ACD", or 32 digits: words of network order, each written as the machine reads it. */
static bool parse_address(const char *text, struct weir_addr *addr, unsigned int *port)
{
	uint32_t w[4];

	if (sscanf(text, "%8" SCNx32 "%8" SCNx32 "%8" SCNx32 "%8" SCNx32 ":%4X", &w[0], &w[1],
		   &w[2], &w[3], port) == 5)
		weir_addr_from_words(addr, w[0], w[1], w[2], w[3]);
	else if (sscanf(text, "%8" SCNx32 ":%4X", &w[0], port) == 2)
		weir_addr_from_v4(addr, w[0]);
	else
		return false;
	return true;
}

static bool takes_loopback(const struct weir_addr *bound, bool v6)
{
	if (v6)
		return weir_addr_is_v6_low(bound, 1) ||
		       (weir_addr_is_any(bound) && !weir_addr_is_v4(bound));
	return weir_addr_is_any(bound) || weir_addr_is_v4_loop(bound, 1);
}

static bool find_in(FILE *table, bool v6, uint16_t port)
{
	char line[512], local[64], remote[64];

	while (table && fgets(line, sizeof(line), table)) {
		struct weir_addr bound, peer;
		unsigned int at, peer_port;

		if (sscanf(line, " %*d: %63s %63s", local, remote) == 2 &&
		    parse_address(local, &bound, &at) && parse_address(remote, &peer, &peer_port) &&
		    at == port && !peer_port && takes_loopback(&bound, v6))
			return true;
	}
	return false;
}

int responders_find(const char *path, uint64_t cookie, bool v6, uint16_t port)
{
	_cleanup_(close_tables) struct tables t = { 0 };
	int err = open_tables(path, &t);

	if (err)
		return err;
	if (t.cookie != cookie)
		return -ESTALE;
	return (!v6 && find_in(t.udp, v6, port)) || find_in(t.udp6, v6, port);
}

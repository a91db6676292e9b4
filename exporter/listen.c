/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/sockaddr.h"

#define HOST_MAX 256
#define BACKLOG	 128

/* A listen address taken apart. */
struct place {
	char host[HOST_MAX]; /* "": every address */
	char port[6];
};

static int split_address(const char *address, struct place *ret_place)
{
	const char *colon = strrchr(address, ':'), *host = address;
	struct place p = { 0 };
	size_t len;

	if (!colon || !colon[1] || strlen(colon + 1) >= sizeof(p.port) ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > UINT16_MAX)
		return -EINVAL;
	len = (size_t)(colon - host);
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	} else if (memchr(host, ':', len) || memchr(host, '[', len)) {
		return -EINVAL; /* an IPv6 address needs its brackets */
	}
	if (len >= sizeof(p.host))
		return -EINVAL;
	memcpy(p.host, host, len);
	strcpy(p.port, colon + 1);
	*ret_place = p;
	return 0;
}

static int open_one(const struct addrinfo *ai, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int one = 1, zero = 0;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Tries what the host resolves to until one works; the first one's error is the one to report. */
static int open_any(const struct addrinfo *list, int *ret_fd)
{
	int first = 0;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		int err = open_one(ai, ret_fd);

		if (!err)
			return 0;
		if (!first)
			first = err;
	}
	return first ? first : -EADDRNOTAVAIL;
}

/* :: takes both families; without IPv6 in the kernel there is 0.0.0.0. */
static int open_everywhere(uint16_t port, int *ret_fd)
{
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct addrinfo list[] = {
		{ .ai_family = AF_INET6, .ai_addr = (void *)&any6, .ai_addrlen = sizeof(any6) },
		{ .ai_family = AF_INET, .ai_addr = (void *)&any4, .ai_addrlen = sizeof(any4) },
	};
	int err = open_one(&list[0], ret_fd);

	if (err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL)
		err = open_one(&list[1], ret_fd);
	return err;
}

static int open_host(const struct place *place, int *ret_fd, const char **ret_reason)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list;
	int err;

	err = getaddrinfo(place->host, place->port, &hints, &list);
	if (err) {
		*ret_reason = gai_strerror(err);
		return -EADDRNOTAVAIL;
	}
	err = open_any(list, ret_fd);
	freeaddrinfo(list);
	if (err)
		*ret_reason = strerror(-err);
	return err;
}

int listen_open(const char *address, int *ret_fd, uint16_t *ret_port, char **ret_error)
{
	_cleanup_close_ int fd = -1;
	const char *reason = NULL;
	struct place place;
	uint8_t ip[16];
	int err;

	err = split_address(address, &place);
	if (err) {
		*ret_error = xasprintf("listen address \"%s\" is not ADDR:PORT, [IPv6]:PORT or "
				       ":PORT",
				       address);
		return err;
	}
	err = place.host[0] ? open_host(&place, &fd, &reason)
			    : open_everywhere((uint16_t)atoi(place.port), &fd);
	if (!err)
		err = sockaddr_local(fd, ip, ret_port);
	if (err) {
		*ret_error = xasprintf("cannot listen on %s: %s", address,
				       reason ? reason : strerror(-err));
		return err;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

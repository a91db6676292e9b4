/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sockaddr.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

union any_sockaddr {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

int sockaddr_read(const struct sockaddr *sa, uint8_t ret_ip[16], uint16_t *ret_port)
{
	const union any_sockaddr *a = (const void *)sa;

	if (sa->sa_family == AF_INET6) {
		memcpy(ret_ip, &a->v6.sin6_addr, 16);
		*ret_port = ntohs(a->v6.sin6_port);
		return 0;
	}
	if (sa->sa_family != AF_INET)
		return -EAFNOSUPPORT;
	memset(ret_ip, 0, 10);
	memset(ret_ip + 10, 0xff, 2);
	memcpy(ret_ip + 12, &a->v4.sin_addr, 4);
	*ret_port = ntohs(a->v4.sin_port);
	return 0;
}

static int read_end(int err, const union any_sockaddr *a, uint8_t ret_ip[16], uint16_t *ret_port)
{
	return err < 0 ? -errno : sockaddr_read(&a->any, ret_ip, ret_port);
}

int sockaddr_local(int fd, uint8_t ret_ip[16], uint16_t *ret_port)
{
	union any_sockaddr a = { 0 };

	return read_end(getsockname(fd, &a.any, &(socklen_t){ sizeof(a) }), &a, ret_ip, ret_port);
}

int sockaddr_peer(int fd, uint8_t ret_ip[16], uint16_t *ret_port)
{
	union any_sockaddr a = { 0 };

	return read_end(getpeername(fd, &a.any, &(socklen_t){ sizeof(a) }), &a, ret_ip, ret_port);
}

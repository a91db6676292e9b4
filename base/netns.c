/* SPDX-License-Identifier: Apache-2.0 */
#include "base/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static int check_type(int fd)
{
	if (fd < 0)
		return -errno;
	return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET ? 0 : -EMEDIUMTYPE;
}

/*
 * The path as the node's init process sees it, symbolic links included (openat2(), Linux 5.6):
 * namespaces that the runtime mounts do not come into the mounts of the agent's own container.
 */
static int open_on_node(const char *path)
{
	_cleanup_close_ int root = open("/proc/1/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
				.resolve = RESOLVE_IN_ROOT };

	if (root < 0)
		return -errno;
	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

int netns_open(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_close_ int there = -1;
	int err = check_type(fd);

	if (!err)
		return TAKE_FD(fd);
	there = open_on_node(path);
	return check_type(there) ? err : TAKE_FD(there);
}

/* netns_fd < 0: into a new one. */
static int call_in(int netns_fd, int (*fn)(void *ctx), void *ctx)
{
	_cleanup_close_ int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int result;

	if (home < 0)
		return -errno;
	if ((netns_fd < 0 ? unshare(CLONE_NEWNET) : setns(netns_fd, CLONE_NEWNET)) < 0)
		return -errno;
	result = fn(ctx);
	if (setns(home, CLONE_NEWNET) < 0) {
		perror("weir: cannot return to the own network namespace");
		abort();
	}
	return result;
}

int netns_call(int netns_fd, int (*fn)(void *ctx), void *ctx)
{
	return netns_fd < 0 ? -EBADF : call_in(netns_fd, fn, ctx);
}

int netns_call_apart(int (*fn)(void *ctx), void *ctx)
{
	return call_in(-1, fn, ctx);
}

static int read_cookie(void *ctx)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		return -errno;
	*(uint64_t *)ctx = cookie;
	return 0;
}

int netns_cookie(int netns_fd, uint64_t *ret_cookie)
{
	return netns_call(netns_fd, read_cookie, ret_cookie);
}

int netns_own_cookie(uint64_t *ret_cookie)
{
	return read_cookie(ret_cookie);
}

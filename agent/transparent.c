/* SPDX-License-Identifier: Apache-2.0 */
/* The proxy's listeners, found among the processes of a network namespace, may answer from any
 * address. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/delivery.h"
#include "base/buf.h"
#include "base/netns.h"

#define LISTEN_STATE 0x0a /* TCP_LISTEN, as /proc/net/tcp prints it */

/* Inodes of the sockets that listen on a port. */
struct listeners {
	uint16_t port;
	unsigned long *inodes;
	size_t n;
};

static void read_table(struct listeners *l, const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		unsigned int port, state;
		unsigned long inode;

		if (sscanf(line, "%*s %*[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu", &port, &state,
			   &inode) != 3 ||
		    state != LISTEN_STATE || port != l->port)
			continue;
		l->inodes = xrealloc(l->inodes, (l->n + 1) * sizeof(*l->inodes));
		l->inodes[l->n++] = inode;
	}
}

static int read_listeners(void *ctx)
{
	read_table(ctx, "/proc/thread-self/net/tcp");
	read_table(ctx, "/proc/thread-self/net/tcp6");
	return 0;
}

static bool is_listener(const struct listeners *l, const char *link)
{
	unsigned long inode;

	if (sscanf(link, "socket:[%lu]", &inode) != 1)
		return false;
	for (size_t i = 0; i < l->n; i++)
		if (l->inodes[i] == inode)
			return true;
	return false;
}

/* The same socket as the process has under that number, through a descriptor of our own. */
static bool make_transparent(int pidfd, int number)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	int on = 1;

	/* Both set the socket's one flag; which of them it takes depends on its family. */
	return fd >= 0 && (!setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof(on)) ||
			   !setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof(on)));
}

/* How many were found, or -EACCES. */
static int search_process(const struct listeners *l, const char *pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/fd", pid);
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
	_cleanup_closedir_ DIR *dir = pidfd < 0 ? NULL : opendir(path);
	struct dirent *entry;
	char link[64];
	int found = 0;

	if (pidfd >= 0 && !dir && errno == EACCES)
		return -EACCES;
	while (dir && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (is_listener(l, link))
			found += make_transparent(pidfd, atoi(entry->d_name));
	}
	return found;
}

static bool runs_in(const char *pid, const struct stat *netns)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/ns/net", pid);
	struct stat st;

	return stat(path, &st) == 0 && st.st_ino == netns->st_ino && st.st_dev == netns->st_dev;
}

int delivery_open_listeners(int netns_fd, uint16_t port)
{
	struct listeners l = { .port = port };
	_cleanup_closedir_ DIR *proc = NULL;
	struct dirent *entry;
	struct stat netns;
	int err = netns_call(netns_fd, read_listeners, &l), found = 0;
	bool denied = false;

	if (!err && fstat(netns_fd, &netns) < 0)
		err = -errno;
	if (!err && l.n)
		proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		int n = 0;

		if (isdigit((unsigned char)entry->d_name[0]) && runs_in(entry->d_name, &netns))
			n = search_process(&l, entry->d_name);
		denied |= n < 0;
		found += n > 0 ? n : 0;
	}
	free(l.inodes);
	if (!err && denied && !found)
		err = -EACCES;
	return err < 0 ? err : (int)l.n;
}

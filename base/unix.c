/* SPDX-License-Identifier: Apache-2.0 */
#include "base/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

#define BACKLOG 512 /* a node that boots starts all its pods at once */

/* Through a descriptor of the directory: sun_path holds only 107 characters. */
static int address(const char *dir, const char *name, int *ret_dir, struct sockaddr_un *ret)
{
	_cleanup_close_ int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int n;

	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", fd, name);
	if (n >= (int)sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	*ret_dir = TAKE_FD(fd);
	return 0;
}

/* By its real name, for whoever lists the sockets of a machine. */
int unix_listen(const char *dir, const char *name)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, name);

	if (fd < 0)
		return -errno;
	if (n >= (int)sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	unlink(addr.sun_path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    chmod(addr.sun_path, 0600) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int unix_connect(const char *dir, const char *name)
{
	_cleanup_close_ int dir_fd = -1;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;
	int err;

	if (fd < 0)
		return -errno;
	err = address(dir, name, &dir_fd, &addr);
	if (err)
		return err;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return TAKE_FD(fd);
}

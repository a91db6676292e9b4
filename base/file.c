/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

int file_read(const char *path, size_t max, char **ret_data, size_t *ret_len)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_buf_ struct buf b = { 0 };
	char chunk[65536];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		if (b.len + (size_t)n > max)
			return -EFBIG;
		buf_add(&b, chunk, (size_t)n);
	}
	if (n < 0)
		return -errno;
	if (!b.data)
		buf_str(&b, "");
	*ret_len = b.len;
	*ret_data = TAKE_PTR(b.data);
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* The name in a directory is on the disk only when the directory is. */
static int sync_dir(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int replace(const char *path, const void *data, size_t len, unsigned int mode, bool flush)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? xstrdup(path) : xstrdup("./");
	_cleanup_free_ char *part = NULL;
	_cleanup_close_ int fd = -1;
	int err = 0;

	if (slash)
		dir[slash + 1 - path] = '\0';
	part = xasprintf("%s.%s.tmp", dir, slash ? slash + 1 : path);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0) /* whatever the umask says */
		err = -errno;
	if (!err)
		err = write_all(fd, data, len);
	if (!err && ((flush && fsync(fd) < 0) || rename(part, path) < 0))
		err = -errno;
	if (err)
		unlink(part);
	return err || !flush ? err : sync_dir(dir);
}

int file_write(const char *path, const void *data, size_t len, unsigned int mode)
{
	return replace(path, data, len, mode, true);
}

int file_write_volatile(const char *path, const void *data, size_t len, unsigned int mode)
{
	return replace(path, data, len, mode, false);
}

int make_dirs(const char *path, unsigned int mode)
{
	_cleanup_free_ char *copy = xstrdup(path);

	for (char *p = copy + 1; *copy; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return -errno;
		if (was == '\0')
			break;
		*p = was;
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ancestors.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/buf.h"
#include "base/cleanup.h"

static bool overrides(const char *cgroup, int attach_type)
{
	_cleanup_close_ int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	__u32 flags = 0, ids[64], n = 64;

	return fd >= 0 && bpf_prog_query(fd, attach_type, 0, &flags, ids, &n) == 0 && n &&
	       flags == BPF_F_ALLOW_OVERRIDE;
}

static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC;
}

int ancestors_allow(const char *cgroup, const char *hook, int attach_type, char **ret_error)
{
	_cleanup_free_ char *path = realpath(cgroup, NULL);

	for (char *slash; path && (slash = strrchr(path, '/')) && slash != path;) {
		*slash = '\0';
		if (!is_cgroup2(path))
			break;
		if (!overrides(path, attach_type))
			continue;
		*ret_error =
			xasprintf("cannot attach %s: the program at %s was attached with "
				  "BPF_F_ALLOW_OVERRIDE and would stop working for pods; have "
				  "its owner attach with BPF_F_ALLOW_MULTI (weir check names it)",
				  hook, path);
		return -EEXIST;
	}
	return 0;
}

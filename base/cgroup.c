/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <mntent.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#define EVENTS_MAX 4096

/* kernfs gives the root of the tree this inode number; a cgroup namespace shows another one. */
#define TREE_ROOT_INODE 1

/* In the order in which they are tried: systemd driver, cgroupfs driver, kind new and old. */
static const char *const well_known[] = {
	"kubepods.slice",
	"kubepods",
	"kubelet.slice/kubelet-kubepods.slice",
	"kubelet/kubepods",
};

/* kubelet --cgroup-root=/a/b makes a/b/kubepods or a.slice/a-b.slice/a-b-kubepods.slice. */
static const char *const patterns[] = { "kubepods", "kubepods.slice", "*-kubepods.slice" };

/* Nodes that are containers (kind, k3d) lie this deep in their host's tree. */
#define SEARCH_DEPTH 4

static void close_mounts(FILE **f)
{
	if (*f)
		endmntent(*f);
}

static bool shows_tree_root(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_ino == TREE_ROOT_INODE;
}

int cgroup2_mount_from(const char *mounts, char **ret_path)
{
	_cleanup_(close_mounts) FILE *f = setmntent(mounts, "re");
	_cleanup_free_ char *first = NULL;
	char strings[8192];
	struct mntent m;

	if (!f)
		return -errno;
	while (getmntent_r(f, &m, strings, sizeof(strings))) {
		if (strcmp(m.mnt_type, "cgroup2") != 0)
			continue;
		if (shows_tree_root(m.mnt_dir)) {
			*ret_path = xstrdup(m.mnt_dir);
			return 0;
		}
		if (!first)
			first = xstrdup(m.mnt_dir);
	}
	if (!first)
		return -ENOENT;
	*ret_path = TAKE_PTR(first);
	return 0;
}

int cgroup2_mount(char **ret_path)
{
	return cgroup2_mount_from("/proc/self/mounts", ret_path);
}

static bool is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool cgroup_is_populated(const char *path)
{
	_cleanup_free_ char *events = xasprintf("%s/cgroup.events", path), *text = NULL;
	size_t len;

	return file_read(events, EVENTS_MAX, &text, &len) == 0 && strstr(text, "populated 1");
}

static bool names_kubepods(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		if (fnmatch(patterns[i], name, 0) == 0)
			return true;
	return false;
}

/* Depth first; does not look inside what it finds. -ENOTUNIQ at the second one. */
static int search(const char *dir, int depth, char **found)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *entry;

	if (!d)
		return 0; /* gone meanwhile, or not ours to read: it holds nothing for us */
	while ((entry = readdir(d))) {
		_cleanup_free_ char *path = NULL;
		int r = 0;

		if (entry->d_name[0] == '.' || entry->d_type != DT_DIR)
			continue;
		path = xasprintf("%s/%s", dir, entry->d_name);
		if (names_kubepods(entry->d_name)) {
			if (*found)
				return -ENOTUNIQ;
			*found = TAKE_PTR(path);
		} else if (depth > 1) {
			r = search(path, depth - 1, found);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* A kubelet that has changed its driver leaves the other one's, empty. NULL: there is none. */
static char *find_well_known(const char *mount)
{
	char *first = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(well_known); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", mount, well_known[i]);

		if (!is_dir(path))
			continue;
		if (cgroup_is_populated(path)) {
			free(first);
			return TAKE_PTR(path);
		}
		if (!first)
			first = TAKE_PTR(path);
	}
	return first;
}

int cgroup_find_kubepods(const char *mount, char **ret_path)
{
	_cleanup_free_ char *found = find_well_known(mount);
	int r;

	if (found) {
		*ret_path = TAKE_PTR(found);
		return 0;
	}
	r = search(mount, SEARCH_DEPTH, &found);
	if (r < 0)
		return r;
	if (!found)
		return -ENOENT;
	*ret_path = TAKE_PTR(found);
	return 0;
}

int cgroup_is_root(const char *path)
{
	_cleanup_free_ char *type = xasprintf("%s/cgroup.type", path);
	_cleanup_free_ char *mount = NULL;
	struct stat st, top;
	struct statfs fs;

	if (statfs(path, &fs) < 0 || stat(path, &st) < 0)
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC || !S_ISDIR(st.st_mode))
		return -ENOTSUP;
	if (access(type, F_OK) < 0) /* every cgroup has it but the root */
		return errno == ENOENT ? 1 : -errno;
	if (cgroup2_mount(&mount) < 0 || stat(mount, &top) < 0)
		return 0;
	return st.st_ino == top.st_ino && st.st_dev == top.st_dev;
}

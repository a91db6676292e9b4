/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"

void idmap_free(struct idmap *map)
{
	free(map->uids);
	free(map->gids);
	*map = (struct idmap){ 0 };
}

static bool is_own_userns(int fd)
{
	struct stat own, other;

	return stat("/proc/self/ns/user", &own) == 0 && fstat(fd, &other) == 0 &&
	       own.st_ino == other.st_ino && own.st_dev == other.st_dev;
}

static int read_extents(pid_t pid, const char *file, struct idmap_extent **ret, size_t *ret_n)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/%s", (int)pid, file);
	_cleanup_free_ struct idmap_extent *list = NULL;
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	struct idmap_extent e;
	size_t n = 0;

	if (!f)
		return -errno;
	list = xcalloc(IDMAP_EXTENTS_MAX, sizeof(*list));
	while (n < IDMAP_EXTENTS_MAX &&
	       fscanf(f, "%" SCNu32 " %" SCNu32 " %" SCNu32, &e.inside, &e.outside, &e.count) == 3)
		list[n++] = e;
	if (!n)
		return -EAGAIN;
	*ret = TAKE_PTR(list);
	*ret_n = n;
	return 0;
}

/*
 * The kernel tells a map only of a process: a child enters the namespace, says so and waits for the
 * other end of the socket to close. It shows up in /proc with the map as seen from outside, for
 * that is who reads it.
 */
__attribute__((noreturn)) static void stay_inside(int userns_fd, int sock)
{
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = setns(userns_fd, CLONE_NEWUSER) < 0 ? errno : 0;
	if (write(sock, &err, sizeof(err)) == sizeof(err) && read(sock, &err, sizeof(err)))
		_exit(1);
	_exit(0);
}

static int read_of_child(pid_t child, int sock, struct idmap *map)
{
	int err;

	if (read(sock, &err, sizeof(err)) != sizeof(err))
		return -EIO;
	if (err)
		return -err;
	err = read_extents(child, "uid_map", &map->uids, &map->n_uids);
	return err ?: read_extents(child, "gid_map", &map->gids, &map->n_gids);
}

static int read_inside(int userns_fd, struct idmap *map)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	int pair[2], err;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		close_fd(&ours);
		stay_inside(userns_fd, theirs);
	}
	close_fd(&theirs);
	err = read_of_child(child, ours, map);
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return err;
}

int idmap_read(int netns_fd, struct idmap *ret)
{
	_cleanup_close_ int userns_fd = ioctl(netns_fd, NS_GET_USERNS);
	_cleanup_idmap_ struct idmap map = { 0 };
	int err;

	if (userns_fd < 0)
		return -errno;
	map.same = is_own_userns(userns_fd);
	err = map.same ? 0 : read_inside(userns_fd, &map);
	if (err)
		return err;
	*ret = map;
	map = (struct idmap){ 0 };
	return 0;
}

static uint32_t translate(const struct idmap_extent *list, size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++)
		if (id >= list[i].inside && id - list[i].inside < list[i].count)
			return list[i].outside + (id - list[i].inside);
	return IDMAP_NOBODY;
}

uint32_t idmap_uid(const struct idmap *map, uint32_t uid)
{
	return map->same ? uid : translate(map->uids, map->n_uids, uid);
}

uint32_t idmap_gid(const struct idmap *map, uint32_t gid)
{
	return map->same ? gid : translate(map->gids, map->n_gids, gid);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/discover.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/addresses.h"
#include "agent/cgroup_name.h"
#include "base/buf.h"
#include "base/cgroup.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/netns.h"

#define POD_DEPTH	2 /* kubepods/QOS/POD */
#define CONTAINER_DEPTH 4 /* containers may make cgroups of their own */
#define PROCS_MAX	(1 << 20)
#define STAT_MAX	4096
#define DIR_EVENTS	(IN_CREATE | IN_DELETE | IN_ONLYDIR)

struct found {
	char uid[POD_UID_MAX]; /* first: what the tree compares */
	char *path;
};

struct discovery {
	char *root;
	int inotify_fd;
	struct loop *loop;
	void (*changed)(void *ctx);
	void *ctx;
	void *pods; /* tsearch(3): struct found */
};

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void found_free(void *found)
{
	free(((struct found *)found)->path);
	free(found);
}

static void on_event(void *ctx, uint32_t events)
{
	struct discovery *d = ctx;
	char buf[4096] __attribute__((aligned(8)));

	(void)events;
	while (read(d->inotify_fd, buf, sizeof(buf)) > 0)
		; /* which cgroup it was does not matter: all are looked at */
	d->changed(d->ctx);
}

int discovery_open(struct discovery **ret, const char *root, struct loop *loop,
		   void (*changed)(void *ctx), void *ctx)
{
	struct discovery *d = xcalloc(1, sizeof(*d));
	int err = 0;

	*d = (struct discovery){ .root = xstrdup(root),
				 .inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK),
				 .loop = loop,
				 .changed = changed,
				 .ctx = ctx };
	if (d->inotify_fd >= 0)
		err = loop_add(loop, d->inotify_fd, EPOLLIN, on_event, d);
	if (err) {
		discovery_close(d);
		return err;
	}
	*ret = d;
	return 0;
}

bool discovery_is_told(const struct discovery *d)
{
	return inotify_add_watch(d->inotify_fd, d->root, DIR_EVENTS) >= 0;
}

void discovery_close(struct discovery *d)
{
	if (!d)
		return;
	tdestroy(d->pods, found_free);
	close_fd(&d->inotify_fd);
	free(d->root);
	free(d);
}

/* -- cgroups ----------------------------------------------------------------------------------- */

bool discovery_populated(const struct discovery *d, const char *cgroup)
{
	_cleanup_free_ char *path = d && *cgroup ? xasprintf("%s/%s", d->root, cgroup) : NULL;

	return path && cgroup_is_populated(path);
}

/* Of two that bear one uid (another class of service) the one that has processes counts. */
static void add_pod(struct discovery *d, const char *uid, const char *path)
{
	struct found *f = xcalloc(1, sizeof(*f)), *first;

	strcpy(f->uid, uid);
	f->path = xstrdup(path);
	first = *(struct found **)tsearch(f, &d->pods, compare);
	if (first == f)
		return;
	if (!discovery_populated(d, first->path)) {
		free(first->path);
		first->path = TAKE_PTR(f->path);
	}
	found_free(f);
}

/*
 * relative is "" or ends with a slash. Directories above the pods' are watched for new pods, a
 * pod's own file cgroup.events for its first process.
 */
static void scan(struct discovery *d, const char *relative, int depth)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", d->root, relative);
	_cleanup_closedir_ DIR *dir = opendir(path);
	char uid[POD_UID_MAX];

	inotify_add_watch(d->inotify_fd, path, DIR_EVENTS);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		_cleanup_free_ char *below = NULL, *events = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		below = xasprintf("%s%s", relative, e->d_name);
		if (cgroup_name_pod(e->d_name, uid)) {
			events = xasprintf("%s/%s/cgroup.events", d->root, below);
			inotify_add_watch(d->inotify_fd, events, IN_MODIFY);
			add_pod(d, uid, below);
		} else if (depth > 1) {
			_cleanup_free_ char *next = xasprintf("%s/", below);

			scan(d, next, depth - 1);
		}
	}
}

void discovery_scan(struct discovery *d)
{
	tdestroy(d->pods, found_free);
	d->pods = NULL;
	scan(d, "", POD_DEPTH);
}

const char *discovery_cgroup(const struct discovery *d, const char *uid)
{
	struct found key = { 0 }, **found;

	if (!d || !*uid || strlen(uid) >= sizeof(key.uid))
		return NULL;
	strcpy(key.uid, uid);
	found = tfind(&key, &d->pods, compare);
	return found ? (*found)->path : NULL;
}

/* -- processes --------------------------------------------------------------------------------- */

/* In the order in which one counts more than another. */
enum has_addresses { HAS_NONE, HAS_ANY, HAS_THE_PODS };

struct candidate {
	int fd; /* of the namespace; -1: none yet */
	char *path; /* to it */
	uint64_t cookie;
	unsigned long long start; /* of the process: jiffies since boot */
	enum has_addresses has;
	bool known; /* it is the one found before */
};

struct search {
	const struct discovery_hint *hint;
	const char *cgroup;
	struct candidate best;
	int hidden; /* processes that cannot be looked at */
	int hosts; /* those of the host's network namespace */
};

static void candidate_free(struct candidate *c)
{
	close_fd(&c->fd);
	free(c->path);
	c->path = NULL;
}

/* Does /proc/PID/cgroup say so? The mount may show the tree from another root than that file. */
static bool is_member(int pid, const char *cgroup)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/cgroup", pid), *text = NULL;
	size_t len;

	return file_read(path, PROCS_MAX, &text, &len) == 0 && strstr(text, cgroup);
}

static unsigned long long start_time(int pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/stat", pid), *text = NULL;
	unsigned long long start;
	const char *p;
	size_t len;

	if (file_read(path, STAT_MAX, &text, &len) || !(p = strrchr(text, ')')))
		return ~0ULL;
	for (int field = 2; field < 22 && p; field++) /* proc(5): starttime is the 22nd */
		p = strchr(p + 1, ' ');
	return p && sscanf(p, "%llu", &start) == 1 ? start : ~0ULL;
}

/* A process whose first thread has ended shows its namespaces at those that go on. */
static int open_netns_of_thread(int pid, char **ret_path)
{
	_cleanup_free_ char *tasks = xasprintf("/proc/%d/task", pid);
	_cleanup_closedir_ DIR *dir = opendir(tasks);
	int fd = -ESRCH;

	for (struct dirent *e; fd < 0 && dir && (e = readdir(dir));) {
		_cleanup_free_ char *path = xasprintf("%s/%s/ns/net", tasks, e->d_name);

		fd = e->d_name[0] == '.' ? -ESRCH : netns_open(path);
		if (fd >= 0)
			*ret_path = TAKE_PTR(path);
	}
	return fd;
}

static int open_netns_at(int pid, char **ret_path)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/ns/net", pid);
	int fd = netns_open(path);

	if (fd == -ENOENT)
		return open_netns_of_thread(pid, ret_path);
	if (fd >= 0)
		*ret_path = TAKE_PTR(path);
	return fd;
}

/*
 * A pid may be another process's at any moment. What was read below /proc/PID is of one process
 * if the one that pidfd holds (Linux 5.3) was still alive afterwards.
 */
static int open_netns_of(int pid, const char *cgroup, struct candidate *ret)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct candidate c = { .fd = -1 };
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };

	if (pidfd < 0)
		return -errno;
	if (!is_member(pid, cgroup))
		return -ESRCH;
	c.fd = open_netns_at(pid, &c.path);
	if (c.fd < 0)
		return c.fd;
	c.start = start_time(pid);
	if (poll(&ended, 1, 0) != 0) {
		candidate_free(&c);
		return -ESRCH;
	}
	*ret = c;
	return 0;
}

static enum has_addresses look_for_addresses(int netns_fd, const struct discovery_hint *hint)
{
	_cleanup_free_ struct weir_addr *list = NULL;
	enum has_addresses has = HAS_NONE;
	size_t n = 0;

	if (!hint->n_ips || addresses_read(netns_fd, &list, &n))
		return has;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < hint->n_ips; j++)
			if (weir_addr_equal(&list[i], &hint->ips[j]))
				return HAS_THE_PODS;
	for (size_t i = 0; i < n; i++) {
		if (hint->is_anothers(hint->ctx, &list[i]))
			return HAS_NONE;
		if (weir_addr_is_global(&list[i])) /* others lo and links have by themselves */
			has = HAS_ANY;
	}
	return has;
}

static bool is_better(const struct candidate *new, const struct candidate *old)
{
	if (old->fd < 0)
		return true;
	if ((new->has == HAS_THE_PODS) != (old->has == HAS_THE_PODS))
		return new->has == HAS_THE_PODS;
	if (new->known != old->known)
		return new->known;
	if (new->has != old->has)
		return new->has > old->has;
	return new->start < old->start;
}

static void consider(struct search *s, int pid)
{
	struct candidate c = { .fd = -1 };
	int err = open_netns_of(pid, s->cgroup, &c);
	bool again;

	if (err == -EACCES || err == -EPERM)
		s->hidden++;
	if (err < 0)
		return;
	err = netns_cookie(c.fd, &c.cookie);
	if (!err && c.cookie == s->hint->host_cookie)
		s->hosts++;
	again = s->best.fd >= 0 && c.cookie == s->best.cookie;
	if (err || c.cookie == s->hint->host_cookie || (again && s->best.start <= c.start)) {
		candidate_free(&c);
		return;
	}
	c.has = again ? s->best.has : look_for_addresses(c.fd, s->hint);
	c.known = c.cookie == s->hint->cookie;
	if (!is_better(&c, &s->best)) {
		candidate_free(&c);
		return;
	}
	candidate_free(&s->best);
	s->best = c;
}

static bool is_settled(const struct search *s)
{
	return s->best.fd >= 0 && s->best.known && (s->best.has == HAS_THE_PODS || !s->hint->n_ips);
}

static void look_at_procs(struct search *s, const char *dir)
{
	_cleanup_free_ char *path = xasprintf("%s/cgroup.procs", dir), *text = NULL;
	char *save = NULL;
	size_t len;

	if (file_read(path, PROCS_MAX, &text, &len))
		return; /* gone, or a threaded cgroup */
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int pid = atoi(line);

		if (pid <= 0) /* of another pid namespace */
			s->hidden++;
		else if (!is_settled(s))
			consider(s, pid);
	}
}

static void walk(struct search *s, const char *dir, int depth)
{
	_cleanup_closedir_ DIR *d = opendir(dir);

	look_at_procs(s, dir);
	for (struct dirent *e; depth && d && (e = readdir(d)) && !is_settled(s);) {
		_cleanup_free_ char *below = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.' || cgroup_name_is_monitor(e->d_name))
			continue;
		below = xasprintf("%s/%s", dir, e->d_name);
		walk(s, below, depth - 1);
	}
}

/* The last part of a path: it holds the pod's uid. */
static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int discovery_netns(struct discovery *d, const char *cgroup, const struct discovery_hint *hint,
		    char **ret_path)
{
	_cleanup_free_ char *dir = xasprintf("%s/%s", d->root, cgroup);
	struct search s = { .hint = hint, .cgroup = base_name(cgroup), .best = { .fd = -1 } };

	walk(&s, dir, CONTAINER_DEPTH);
	if (s.best.fd < 0)
		return s.hidden ? -EPERM : s.hosts ? -EINVAL : -ESRCH;
	if (hint->n_ips && s.best.has == HAS_NONE && !s.best.known) {
		candidate_free(&s.best); /* its own will come */
		return -EADDRNOTAVAIL;
	}
	*ret_path = s.best.path;
	return s.best.fd;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

#define MAX_FILE (64 * 1024 * 1024)

static void on_inotify(void *ctx, uint32_t events)
{
	struct source *s = ctx;
	char buf[4096] __attribute__((aligned(8)));

	(void)events;
	while (read(s->inotify_fd, buf, sizeof(buf)) > 0)
		; /* which file it was does not matter: all are looked at */
	s->changed(s->ctx);
}

#define DIR_EVENTS                                                                          \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB | \
	 IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR)

int source_open(struct source *s, const char *dir, struct loop *loop, void (*changed)(void *ctx),
		void *ctx, char **ret_error)
{
	_cleanup_closedir_ DIR *there = opendir(dir);
	int err = there ? 0 : -errno;

	*s = (struct source){ .dir = xstrdup(dir), .changed = changed, .ctx = ctx };
	s->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (!err && s->inotify_fd >= 0)
		err = loop_add(loop, s->inotify_fd, EPOLLIN, on_inotify, s);
	if (err) {
		*ret_error = xasprintf("cannot watch --pods-dir=%s: %s", dir, strerror(-err));
		source_close(s);
	}
	s->told = !err && inotify_add_watch(s->inotify_fd, dir, DIR_EVENTS) >= 0;
	return err;
}

static void file_free(struct source_file *f)
{
	objects_free(&f->objects);
	free(f->name);
	free(f->error);
	free(f);
}

void source_close(struct source *s)
{
	while (s->files) {
		struct source_file *f = s->files;

		s->files = f->next;
		file_free(f);
	}
	if (s->dir)
		close_fd(&s->inotify_fd);
	free(s->dir);
	*s = (struct source){ 0 };
}

static struct source_file *find_file(struct source *s, const char *name)
{
	struct source_file *f;

	for (f = s->files; f; f = f->next)
		if (!f->api && !strcmp(f->name, name))
			return f;
	f = xcalloc(1, sizeof(*f));
	f->name = xstrdup(name);
	f->next = s->files;
	s->files = f;
	return f;
}

static void set_error(struct source_file *f, const char *path, char *error)
{
	if (error && (!f->error || strcmp(f->error, error)))
		log_error("pod file", "file", path, "error", error, "effect",
			  f->good ? "what it said before stays in force" : NULL, NULL);
	free(f->error);
	f->error = error;
}

static void log_object_errors(const char *path, const struct objects *o)
{
	for (size_t i = 0; i < o->n_errors; i++)
		log_error("pod file", "file", path, "error", o->errors[i], NULL);
}

static struct pod *take_pod(struct objects *from, const char *key)
{
	for (size_t i = 0; i < from->n_pods; i++) {
		_cleanup_free_ char *name =
			xasprintf("%s/%s", from->pods[i]->namespace, from->pods[i]->name);
		struct pod *pod = from->pods[i];

		if (strcmp(name, key))
			continue;
		from->pods[i] = from->pods[--from->n_pods];
		return pod;
	}
	return NULL;
}

/* A pod of a List that is broken now keeps what it was; the others are not affected. */
static void keep_last_good(struct objects *now, struct objects *before)
{
	for (size_t i = 0; i < now->n_errors; i++) {
		struct pod *pod = now->failed[i] ? take_pod(before, now->failed[i]) : NULL;

		if (!pod)
			continue;
		now->pods = xrealloc(now->pods, (now->n_pods + 1) * sizeof(struct pod *));
		now->pods[now->n_pods++] = pod;
	}
}

/* 0, or -ENOENT when the file vanished meanwhile: its deletion is an event of its own. */
static int read_file(struct source_file *f, const char *path)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_objects_ struct objects objects = { 0 };
	struct objects old;
	char *error = NULL;
	size_t len;
	int err = file_read(path, MAX_FILE, &text, &len);

	if (err == -ENOENT)
		return err;
	if (err) {
		set_error(f, path, xasprintf("cannot read: %s", strerror(-err)));
		return 0;
	}
	err = objects_parse(text, len, &objects, &error);
	set_error(f, path, error);
	if (err)
		return 0;
	log_object_errors(path, &objects);
	if (objects.n_errors)
		set_error(f, path, xstrdup(objects.errors[0]));
	keep_last_good(&objects, &f->objects);
	old = f->objects;
	f->objects = objects;
	objects = old;
	f->good = true;
	return 0;
}

static void look_at(struct source *s, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", s->dir, name);
	struct source_file *f;
	struct stat st;
	int64_t mtime;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	f = find_file(s, name);
	f->present = true;
	mtime = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
	if (f->mtime_ns == mtime && f->size == st.st_size && f->inode == (int64_t)st.st_ino)
		return;
	if (read_file(f, path) == -ENOENT)
		return;
	f->mtime_ns = mtime;
	f->size = st.st_size;
	f->inode = (int64_t)st.st_ino;
}

/* Editors and kubectl pipelines write beside a file and rename: those names are not ours. */
static bool is_temporary(const char *name)
{
	size_t len = strlen(name);

	return name[0] == '.' || name[len - 1] == '~' ||
	       (len > 4 && (!strcmp(name + len - 4, ".tmp") || !strcmp(name + len - 4, ".swp")));
}

/* Watching a directory twice is watching it once (the kernel goes by its inode). */
void source_watch(struct source *s, const char *path)
{
	_cleanup_free_ char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');

	if (!s->dir || !slash || slash == dir)
		return;
	*slash = '\0';
	inotify_add_watch(s->inotify_fd, dir, IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_ONLYDIR);
}

int source_scan(struct source *s)
{
	_cleanup_closedir_ DIR *dir = NULL;

	if (!s->dir)
		return 0;
	dir = opendir(s->dir);
	if (!dir)
		return -errno;
	inotify_add_watch(s->inotify_fd, s->dir, DIR_EVENTS); /* it may be another one by now */
	for (struct source_file *f = s->files; f; f = f->next)
		f->present = false;
	for (struct dirent *e; (e = readdir(dir));)
		if (!is_temporary(e->d_name))
			look_at(s, e->d_name);
	for (struct source_file **p = &s->files; *p;) {
		struct source_file *f = *p;

		if (f->present || f->api) {
			p = &f->next;
			continue;
		}
		*p = f->next;
		file_free(f);
	}
	return 0;
}

struct source_file *source_add_api(struct source *s, const char *resource)
{
	struct source_file *f = xcalloc(1, sizeof(*f));

	f->name = xasprintf("kubernetes: %s", resource);
	f->api = true;
	f->next = s->files;
	s->files = f;
	return f;
}

const struct namespace *source_namespace(const struct source *s, const char *name)
{
	for (const struct source_file *f = s->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_namespaces; i++)
			if (!strcmp(f->objects.namespaces[i]->name, name))
				return f->objects.namespaces[i];
	return NULL;
}

bool source_incomplete(const struct source *s)
{
	for (struct source_file *f = s->files; f; f = f->next)
		if (!f->good)
			return true;
	return false;
}

bool source_listed(const struct source *s)
{
	for (struct source_file *f = s->files; f; f = f->next)
		if (f->api && !f->listed)
			return false;
	return true;
}

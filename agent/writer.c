/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

struct writer {
	const char *path;
	struct loop *loop;
	void (*done)(void *ctx, int err);
	void *ctx;
	char *next; /* NULL: nothing waits */
	int ended_fd; /* eventfd: the thread has ended */
	pthread_t thread;
	bool running; /* then these two are the thread's */
	char *text;
	int err;
};

static int write_file(const char *path, const char *text)
{
	_cleanup_free_ char *dir = xstrdup(path);
	int err;

	*strrchr(dir, '/') = '\0';
	err = make_dirs(dir, 0755);
	return err ?: file_write(path, text, strlen(text), 0644);
}

static void *run(void *arg)
{
	struct writer *w = arg;

	w->err = write_file(w->path, w->text);
	eventfd_write(w->ended_fd, 1);
	return NULL;
}

/* Where there can be no thread the loop has to wait. */
static void begin(struct writer *w)
{
	w->text = TAKE_PTR(w->next);
	w->running = !pthread_create(&w->thread, NULL, run, w);
	if (!w->running)
		run(w);
}

static void finish(struct writer *w)
{
	eventfd_t times;

	if (w->running)
		pthread_join(w->thread, NULL);
	w->running = false;
	eventfd_read(w->ended_fd, &times);
	free(w->text);
	w->text = NULL;
}

static void on_ended(void *ctx, uint32_t events)
{
	struct writer *w = ctx;

	(void)events;
	finish(w);
	if (w->next)
		begin(w);
	else
		w->done(w->ctx, w->err);
}

int writer_open(struct writer **ret, const char *path, struct loop *loop,
		void (*done)(void *ctx, int err), void *ctx)
{
	struct writer *w = xcalloc(1, sizeof(*w));
	int err;

	*w = (struct writer){ .path = path, .loop = loop, .done = done, .ctx = ctx };
	w->ended_fd = eventfd(0, EFD_CLOEXEC);
	err = w->ended_fd < 0 ? -errno : loop_add(loop, w->ended_fd, EPOLLIN, on_ended, w);
	if (err < 0) {
		close_fd(&w->ended_fd);
		free(w);
		return err;
	}
	*ret = w;
	return 0;
}

void writer_close(struct writer *w)
{
	if (!w)
		return;
	if (w->text)
		finish(w);
	if (w->next) {
		write_file(w->path, w->next);
		free(w->next);
	}
	loop_remove(w->loop, w->ended_fd);
	close_fd(&w->ended_fd);
	free(w);
}

void writer_put(struct writer *w, char *text)
{
	free(w->next);
	w->next = text;
	if (!w->text)
		begin(w);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

/* A watch outlives the events of the round in which it is removed: those may still point to it. */
struct watch {
	struct watch *next;
	loop_fn fn;
	void *ctx;
	int fd;
	bool timer;
	bool dead;
};

struct loop {
	int epoll_fd;
	bool stop;
	struct watch *watches;
};

int loop_new(struct loop **ret)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		free(loop);
		return -errno;
	}
	*ret = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	for (struct watch *w = loop->watches, *next; w; w = next) {
		next = w->next;
		free(w);
	}
	close(loop->epoll_fd);
	free(loop);
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *ctx)
{
	struct watch *w = xcalloc(1, sizeof(*w));
	struct epoll_event ev = { .events = events, .data.ptr = w };

	*w = (struct watch){ .fn = fn, .ctx = ctx, .fd = fd, .next = loop->watches };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(w);
		return -errno;
	}
	loop->watches = w;
	return 0;
}

void loop_remove(struct loop *loop, int fd)
{
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	for (struct watch *w = loop->watches; w; w = w->next)
		if (w->fd == fd)
			w->dead = true;
}

int loop_timer(struct loop *loop, loop_fn fn, void *ctx)
{
	_cleanup_close_ int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int err;

	if (fd < 0)
		return -errno;
	err = loop_add(loop, fd, EPOLLIN, fn, ctx);
	if (err < 0)
		return err;
	loop->watches->timer = true;
	return TAKE_FD(fd);
}

void loop_arm(int timer_fd, int64_t ms)
{
	struct itimerspec when = { 0 };

	if (ms >= 0) {
		when.it_value.tv_sec = ms / 1000;
		when.it_value.tv_nsec = ms % 1000 * 1000000 + 1; /* all zero would disarm */
	}
	timerfd_settime(timer_fd, 0, &when, NULL);
}

static void bury(struct loop *loop)
{
	for (struct watch **p = &loop->watches; *p;) {
		struct watch *w = *p;

		if (!w->dead) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		free(w);
	}
}

static void dispatch(struct watch *w, uint32_t events)
{
	uint64_t expirations;

	if (w->dead)
		return;
	if (w->timer && read(w->fd, &expirations, sizeof(expirations)) < 0)
		return;
	w->fn(w->ctx, events);
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[64];

	while (!loop->stop) {
		int n = epoll_wait(loop->epoll_fd, events, ARRAY_SIZE(events), -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++)
			dispatch(events[i].data.ptr, events[i].events);
		bury(loop);
	}
	loop->stop = false;
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}

int64_t loop_now_ms(void)
{
	return clock_ms();
}

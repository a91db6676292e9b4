/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop whose clock the test moves, and a client of the API whose answers the test gives: hours
 * pass in no time. Takes the place of agent/loop.c, agent/kube_client.c and log_event().
 */
#ifndef TESTS_UNIT_API_H
#define TESTS_UNIT_API_H

#include "agent/kube_client.h"
#include "agent/loop.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MAYBE_UNUSED __attribute__((unused))
#define MAX_TIMERS   8
#define HOUR_MS	     3600000LL

struct kube_request {
	struct kube_call call;
	char *path, *body;
};

static struct {
	int64_t now_ms;
	struct {
		int fd;
		int64_t due_ms; /* -1: not armed */
		loop_fn fn;
		void *ctx;
	} timers[MAX_TIMERS];
	struct kube_request *request; /* the one that waits for an answer */
	int requests, logged;
} api;

int64_t loop_now_ms(void)
{
	return api.now_ms;
}

int loop_timer(struct loop *loop, loop_fn fn, void *ctx)
{
	(void)loop;
	for (int i = 0; i < MAX_TIMERS; i++)
		if (!api.timers[i].fn) {
			api.timers[i].fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
			api.timers[i].due_ms = -1;
			api.timers[i].fn = fn;
			api.timers[i].ctx = ctx;
			return api.timers[i].fd;
		}
	fail();
	return -1;
}

void loop_arm(int timer_fd, int64_t ms)
{
	for (int i = 0; i < MAX_TIMERS; i++)
		if (api.timers[i].fn && api.timers[i].fd == timer_fd)
			api.timers[i].due_ms = ms < 0 ? -1 : api.now_ms + ms;
}

void loop_remove(struct loop *loop, int fd)
{
	(void)loop;
	for (int i = 0; i < MAX_TIMERS; i++)
		if (api.timers[i].fd == fd)
			api.timers[i].fn = NULL;
}

void log_event(enum log_level level, const char *msg, ...)
{
	(void)level;
	(void)msg;
	api.logged++;
}

char *kube_escape(const char *text)
{
	return xstrdup(text);
}

struct kube_request *kube_client_call(struct kube_client *c, const struct kube_call *call)
{
	struct kube_request *r = xcalloc(1, sizeof(*r));

	(void)c;
	assert_null(api.request);
	r->call = *call;
	r->path = xstrdup(call->path);
	r->body = call->body ? xstrdup(call->body) : NULL;
	api.request = r;
	api.requests++;
	return r;
}

void kube_client_cancel(struct kube_request *r)
{
	assert_ptr_equal(r, api.request);
	free(r->path);
	free(r->body);
	free(r);
	api.request = NULL;
}

/* Until a request waits for its answer, or that long: when that was. */
MAYBE_UNUSED static int64_t pass(int64_t ms)
{
	int64_t end = api.now_ms + ms;

	while (!api.request) {
		int first = -1;

		for (int i = 0; i < MAX_TIMERS; i++)
			if (api.timers[i].fn && api.timers[i].due_ms >= 0 &&
			    (first < 0 || api.timers[i].due_ms < api.timers[first].due_ms))
				first = i;
		if (first < 0 || api.timers[first].due_ms > end) {
			api.now_ms = end;
			break;
		}
		if (api.timers[first].due_ms > api.now_ms)
			api.now_ms = api.timers[first].due_ms;
		api.timers[first].due_ms = -1;
		api.timers[first].fn(api.timers[first].ctx, 0);
	}
	return api.now_ms;
}

/* Ends the request that waits. */
static void answer(const struct kube_result *result)
{
	struct kube_request *r = api.request;

	api.request = NULL;
	r->call.done(r->call.ctx, result);
	free(r->path);
	free(r->body);
	free(r);
}

MAYBE_UNUSED static void refuse(long status, const char *error)
{
	answer(&(struct kube_result){
		.status = status, .error = error, .message = error, .retry_after_ms = -1 });
}

MAYBE_UNUSED static void succeed(void)
{
	answer(&(struct kube_result){
		.good = true, .status = 200, .message = "", .retry_after_ms = -1 });
}

MAYBE_UNUSED static void open_answer(void)
{
	if (api.request->call.opened)
		api.request->call.opened(api.request->call.ctx);
}

/* A part of an answer's body; ' stands for ". False: that is the end of it, and what it says is
 * why. */
MAYBE_UNUSED static bool send_part(const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text);
	_cleanup_free_ char *error = NULL;

	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (api.request->call.data(api.request->call.ctx, copy, strlen(copy), &error) == 0)
		return true;
	refuse(200, error);
	return false;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A web server with what the agent would be behind it, in the same thread as its clients. */
#ifndef WEIR_TESTS_WEB_H
#define WEIR_TESTS_WEB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "exporter/http.h"

/* What the agent would be. */
struct fake {
	int error;
	bool ready;
	size_t lines;
	unsigned int scrapes;
	uint64_t delivered[8]; /* numbers of scrapes */
	size_t n_delivered;
};

static inline int fake_metrics(void *ctx, enum render_format format, struct buf *out,
			       uint64_t *ret_number)
{
	struct fake *fake = ctx;

	*ret_number = ++fake->scrapes;
	if (fake->error)
		return fake->error;
	buf_printf(out, "format %d\n", format);
	for (size_t i = 0; i < fake->lines; i++)
		buf_printf(out, "line %zu\n", i);
	return 0;
}

static inline void fake_delivered(void *ctx, uint64_t number, const uint8_t client[16])
{
	static const uint8_t loopback[16] = { [10] = 0xff, 0xff, 127, 0, 0, 1 };
	struct fake *fake = ctx;

	assert_memory_equal(client, loopback, sizeof(loopback));
	assert_true(fake->n_delivered < ARRAY_SIZE(fake->delivered));
	fake->delivered[fake->n_delivered++] = number;
}

static inline bool fake_ready(void *ctx, struct buf *text)
{
	const struct fake *fake = ctx;

	buf_str(text, fake->ready ? "all there" : "hooks are missing");
	return fake->ready;
}

struct server {
	struct fake fake;
	struct http *http;
};

static inline struct http_options options_for(struct server *s)
{
	return (struct http_options){
		.listen_address = "127.0.0.1:0",
		.description = "diverts & gauges",
		.version = "<1>",
		.timeout_s = 1,
		.metrics = fake_metrics,
		.delivered = fake_delivered,
		.ready = fake_ready,
		.ctx = &s->fake,
	};
}

static inline void start_with(struct server *s, const struct http_options *options)
{
	_cleanup_free_ char *error = NULL;

	s->fake.ready = true;
	if (http_start(options, &s->http, &error) < 0)
		fail_msg("%s", error);
	assert_true(http_fd(s->http) >= 0);
	assert_true(http_port(s->http) > 0);
}

static inline void start(struct server *s)
{
	struct http_options options = options_for(s);

	start_with(s, &options);
}

static inline void stop(struct server *s)
{
	http_stopp(&s->http);
	assert_null(s->http);
}

/* One turn of the loop that the agent has, which also ends when fd can be read. */
static inline void turn(struct server *s, int fd)
{
	struct pollfd fds[] = { { http_fd(s->http), POLLIN, 0 }, { fd, POLLIN, 0 } };
	int timeout = http_timeout_ms(s->http);

	poll(fds, 2, timeout < 0 || timeout > 100 ? 100 : timeout);
	http_run(s->http);
}

static inline int dial(const struct server *s)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(http_port(s->http)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads what there is; false once the server has closed. */
static inline bool hear(int fd, struct buf *got)
{
	char chunk[65536];
	ssize_t n;

	while ((n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0)
		buf_add(got, chunk, (size_t)n);
	return n < 0 && errno == EAGAIN;
}

static inline bool heard_all(const struct buf *got, bool head)
{
	const char *end = strstr(buf_text(got), "\r\n\r\n"), *length;

	if (!end)
		return false;
	length = strstr(got->data, "Content-Length: ");
	assert_non_null(length);
	return head || got->len >= (size_t)(end + 4 - got->data) + strtoul(length + 16, NULL, 10);
}

/* The answer to one request on a connection that is open, head and body; owned by the caller. */
static inline struct buf answer(struct server *s, int fd, bool head)
{
	double limit = clock_seconds() + 10;
	struct buf got = { 0 };

	while (hear(fd, &got) && !heard_all(&got, head)) {
		assert_true(clock_seconds() < limit);
		turn(s, fd);
	}
	return got;
}

static inline struct buf ask(struct server *s, const char *method, const char *path,
			     const char *headers)
{
	_cleanup_free_ char *request =
		xasprintf("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, headers);
	_cleanup_close_ int fd = dial(s);

	say(fd, request);
	return answer(s, fd, !strcmp(method, "HEAD"));
}

static inline const char *body_of(const struct buf *got)
{
	const char *end = strstr(buf_text(got), "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

static inline void assert_says(const struct buf *got, const char *text)
{
	if (!strstr(buf_text(got), text))
		fail_msg("no \"%s\" in:\n%s", text, buf_text(got));
}

#endif

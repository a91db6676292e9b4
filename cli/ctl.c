/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/shared_files.h"
#include "base/unix.h"

#define TIMEOUT_MS 10000 /* an agent that takes in hundreds of pods answers after that */
#define ATTEMPTS   3

static int send_line(int fd, const char *question)
{
	_cleanup_free_ char *line = xasprintf("%s\n", question);
	size_t len = strlen(line);

	if (send(fd, line, len, MSG_NOSIGNAL) != (ssize_t)len)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return 0;
}

/* 1: there is something to read. */
static int wait_for(int fd, long long deadline)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	long long left = deadline - clock_ms();
	int r = poll(&p, 1, left > 0 ? (int)left : 0);

	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	return r ? 1 : -ETIMEDOUT;
}

static int read_all(int fd, struct buf *answer)
{
	long long deadline = clock_ms() + TIMEOUT_MS;
	char chunk[16384];

	for (;;) {
		ssize_t n;
		int r = wait_for(fd, deadline);

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		if (n > 0)
			buf_add(answer, chunk, (size_t)n);
		if (answer->len > RUN_CTL_ANSWER_MAX)
			return -EBADMSG;
	}
}

static int ask_once(const char *run_dir, const char *question, json_t **ret)
{
	_cleanup_close_ int fd = unix_connect(run_dir, RUN_CTL_SOCKET);
	_cleanup_buf_ struct buf answer = { 0 };
	json_t *json;
	int r;

	if (fd < 0)
		return fd;
	r = send_line(fd, question);
	if (r == 0)
		r = read_all(fd, &answer);
	if (r < 0)
		return r;
	json = json_loadb(buf_text(&answer), answer.len, 0, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		return -EBADMSG;
	}
	*ret = json;
	return 0;
}

/* Who is not run for a second, on a busy node, is hung up on before it has asked. */
int ctl_ask(const char *run_dir, const char *question, json_t **ret)
{
	int r = -EBADMSG;

	for (int i = 0; i < ATTEMPTS; i++) {
		r = ask_once(run_dir, question, ret);
		if (r != -EBADMSG && r != -EPIPE && r != -ECONNRESET)
			break;
	}
	return r;
}

bool ctl_nobody(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED;
}

char *ctl_error(const char *run_dir, int err)
{
	if (ctl_nobody(err))
		return xasprintf("no agent at %s/" RUN_CTL_SOCKET ": is it running? (--run-dir)",
				 run_dir);
	if (err == -EACCES || err == -EPERM)
		return xasprintf("%s/" RUN_CTL_SOCKET ": permission denied: run as root", run_dir);
	if (err == -ETIMEDOUT)
		return xasprintf("the agent at %s/" RUN_CTL_SOCKET
				 " does not answer: see its log, restart it if it hangs",
				 run_dir);
	if (err == -EBADMSG)
		return xasprintf("%s/" RUN_CTL_SOCKET " does not answer as a weir agent does",
				 run_dir);
	return xasprintf("%s/" RUN_CTL_SOCKET ": %s", run_dir, strerror(-err));
}

const char *json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

long long json_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

bool json_flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

void json_print(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

void json_print_line(const json_t *json)
{
	json_dumpf(json, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	putchar('\n');
}

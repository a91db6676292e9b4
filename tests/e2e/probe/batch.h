// SPDX-License-Identifier: Apache-2.0
/*
 * probe batch: hundreds of connections and datagrams at once, each with an owner of its own, so
 * that a whole table of cases costs one process. Standard input has a line for each:
 *
 *   KIND UID GID GROUPS BIND TARGET
 *         KIND is tcp, udp (sendto on an unconnected socket) or udpc (connect, then send);
 *         GROUPS is a comma list, "-" for none; BIND is an address, "-" for none
 *
 * The socket is opened, bound and connected under the line's ids. The answers come in the order of
 * the questions; "acceptor" is the line that `probe serve` answers with.
 */
#pragma once
#include <getopt.h>
#include <poll.h>
#include <sys/resource.h>

#include "base.h"
#include "ids.h"

enum { MAX_BATCH = 8192 };

enum kind { TCP, UDP, UDP_CONNECTED };

struct question {
	enum kind kind;
	struct ids ids;
	char groups[256];
	struct address bind, target;
	int fd;
	bool connecting, done;
	const char *error;
	char line[4096]; /* what the acceptor said */
	size_t line_len;
	char sockname[ADDRESS_TEXT], peername[ADDRESS_TEXT], from[ADDRESS_TEXT];
};

static enum kind kind_of(const char *text)
{
	if (!strcmp(text, "tcp"))
		return TCP;
	if (!strcmp(text, "udpc"))
		return UDP_CONNECTED;
	if (strcmp(text, "udp"))
		die("%s: tcp, udp or udpc", text);
	return UDP;
}

static bool read_question(struct question *q)
{
	char kind[8], groups[256], bind[ADDRESS_TEXT], target[ADDRESS_TEXT];
	unsigned uid, gid;
	int n = scanf("%7s %u %u %255s %79s %79s", kind, &uid, &gid, groups, bind, target);

	if (n == EOF)
		return false;
	if (n != 6)
		die("batch: a line is KIND UID GID GROUPS BIND TARGET");
	*q = (struct question){ .kind = kind_of(kind), .ids = { uid, gid }, .fd = -1 };
	snprintf(q->groups, sizeof(q->groups), "%s", strcmp(groups, "-") ? groups : "");
	if (strcmp(bind, "-"))
		parse_address(bind, &q->bind);
	parse_address(target, &q->target);
	return true;
}

static void finish_question(struct question *q, const char *error)
{
	struct linger linger = { .l_onoff = 1 };

	q->done = true;
	q->error = error;
	if (error)
		q->line_len = 0;
	/* No TIME_WAIT: thousands of these run in a row. */
	if (q->kind == TCP)
		setsockopt(q->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(q->fd);
}

static void note_question(struct question *q)
{
	char text[ADDRESS_TEXT];

	snprintf(q->sockname, sizeof(q->sockname), "%s", name_of(getsockname, q->fd, text));
	if (q->kind != UDP)
		snprintf(q->peername, sizeof(q->peername), "%s", name_of(getpeername, q->fd, text));
}

/* 0, or the errno that ended it; runs under the question's ids */
static int open_question(struct question *q)
{
	static const char byte = '?';
	const struct sockaddr *target = (void *)&q->target.storage;
	int type = (q->kind == TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;

	q->fd = socket(q->target.storage.ss_family, type, 0);
	if (q->fd < 0)
		die("socket: %s", strerror(errno));
	if (q->bind.len && bind(q->fd, (void *)&q->bind.storage, q->bind.len))
		return errno;
	if (q->kind != UDP && connect(q->fd, target, q->target.len))
		return errno;
	if (q->kind == UDP && sendto(q->fd, &byte, 1, 0, target, q->target.len) < 0)
		return errno;
	if (q->kind == UDP_CONNECTED && send(q->fd, &byte, 1, 0) < 0)
		return errno;
	return 0;
}

static void ask(struct question *q)
{
	int error;

	set_groups(q->groups);
	become(q->ids, false);
	error = open_question(q);
	become_root();
	if (error == EINPROGRESS)
		q->connecting = true;
	else if (error)
		finish_question(q, errno_name(error));
	else
		note_question(q);
}

static void hear_datagram(struct question *q)
{
	struct address from = { .len = sizeof(from.storage) };
	ssize_t n =
		recvfrom(q->fd, q->line, sizeof(q->line) - 1, 0, (void *)&from.storage, &from.len);

	if (n < 0) {
		finish_question(q, errno_name(errno));
		return;
	}
	q->line_len = n - (n && q->line[n - 1] == '\n');
	note_question(q);
	format_address(&from.storage, q->from);
	finish_question(q, NULL);
}

static void hear_line(struct question *q)
{
	ssize_t n = recv(q->fd, q->line + q->line_len, sizeof(q->line) - 1 - q->line_len, 0);

	if (n <= 0) {
		finish_question(q, n ? errno_name(errno) : "EOF");
		return;
	}
	q->line_len += n;
	if (q->line[q->line_len - 1] != '\n' && q->line_len < sizeof(q->line) - 1)
		return;
	q->line_len--;
	finish_question(q, NULL);
}

static void hear(struct question *q)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (q->kind != TCP) {
		hear_datagram(q);
		return;
	}
	if (!q->connecting) {
		hear_line(q);
		return;
	}
	getsockopt(q->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		finish_question(q, errno_name(error));
		return;
	}
	q->connecting = false;
	note_question(q);
}

static void hear_all(struct question *questions, size_t count, double timeout)
{
	struct pollfd *pfds = grow(NULL, count * sizeof(*pfds));
	double deadline = now() + timeout;
	size_t left = count;

	while (left && now() < deadline) {
		left = 0;
		for (size_t i = 0; i < count; i++) {
			struct question *q = &questions[i];

			pfds[i] = (struct pollfd){ q->done ? -1 : q->fd,
						   q->connecting ? POLLOUT : POLLIN, 0 };
			left += !q->done;
		}
		if (!left || poll(pfds, count, 50) <= 0)
			continue;
		for (size_t i = 0; i < count; i++)
			if (pfds[i].revents)
				hear(&questions[i]);
	}
	for (size_t i = 0; i < count; i++)
		if (!questions[i].done)
			finish_question(&questions[i], "TIMEOUT");
	free(pfds);
}

static void print_answer(const struct question *q)
{
	char target[ADDRESS_TEXT];

	printf("{\"target\":\"%s\",", format_address(&q->target.storage, target));
	printf(q->error ? "\"errno\":\"%s\"," : "\"errno\":null,", q->error);
	printf("\"sockname\":\"%s\",\"peername\":\"%s\",\"from\":\"%s\",\"acceptor\":%.*s}\n",
	       q->sockname, q->peername, q->from, q->line_len ? (int)q->line_len : 4,
	       q->line_len ? q->line : "null");
}

static void allow_many_files(void)
{
	struct rlimit limit = { 2 * MAX_BATCH, 2 * MAX_BATCH };

	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("setrlimit: %s", strerror(errno));
}

static int batch_main(int argc, char **argv)
{
	static const struct option table[] = { { "timeout", required_argument, NULL, 'T' }, {} };
	struct question *questions = grow(NULL, MAX_BATCH * sizeof(*questions));
	double timeout = 5;
	size_t count = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option != 'T')
			exit(2);
		timeout = seconds(optarg);
	}
	allow_many_files();
	while (count < MAX_BATCH && read_question(&questions[count]))
		count++;
	for (size_t i = 0; i < count; i++)
		ask(&questions[i]);
	hear_all(questions, count, timeout);
	for (size_t i = 0; i < count; i++)
		print_answer(&questions[i]);
	free(questions);
	return 0;
}

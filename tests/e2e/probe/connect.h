// SPDX-License-Identifier: Apache-2.0
/* probe connect. */
#pragma once
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "base.h"
#include "ids.h"

enum tfo { TFO_OFF, TFO_CONNECT, TFO_SENDTO };

struct connect_options {
	struct address bind;
	bool bind_no_port, mapped, nonblock, mptcp, reuse_socket, greet, shutdown, reset, real_ids;
	enum tfo tfo;
	struct ids socket_ids, connect_ids;
	uint64_t send, expect, count;
	double timeout, hold;
};

struct exchange {
	struct address target;
	int fd;
	char line[BUFFER_SIZE]; /* what the acceptor said */
	size_t line_len;
	bool line_done, eof, shut, damaged;
	uint64_t sent, received, body; /* body: received without the line */
	const char *error, *io_error;
	char sockname[ADDRESS_TEXT], peername[ADDRESS_TEXT];
	double connect_time;
};

static int open_socket(const struct connect_options *options, int family)
{
	int fd;

	if (has_ids(options->socket_ids))
		become(options->socket_ids, options->real_ids);
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, options->mptcp ? IPPROTO_MPTCP : 0);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (has_ids(options->socket_ids))
		become_root();
	if (options->bind_no_port)
		set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, "IP_BIND_ADDRESS_NO_PORT");
	if (options->bind.len) {
		set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
		if (bind(fd, (const void *)&options->bind.storage, options->bind.len))
			die("bind: %s", strerror(errno));
	}
	if (options->tfo == TFO_CONNECT)
		set_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1, "TCP_FASTOPEN_CONNECT");
	return fd;
}

static void set_timeout(int fd, double timeout)
{
	struct timeval tv = { .tv_sec = (time_t)timeout,
			      .tv_usec = (long)(timeout * 1e6) % 1000000 };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv,
		   sizeof(tv)); /* also bounds a blocking connect() */
}

static int wait_connected(int fd, double timeout)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	int error = ETIMEDOUT;
	socklen_t len = sizeof(error);

	if (poll(&pfd, 1, (int)(timeout * 1000)) == 1)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error;
}

static int call_connect(const struct connect_options *options, struct exchange *x)
{
	char first[BUFFER_SIZE];
	size_t len = options->send < sizeof(first) ? options->send : sizeof(first);
	ssize_t n;

	if (options->tfo != TFO_SENDTO)
		return connect(x->fd, (void *)&x->target.storage, x->target.len) ? errno : 0;
	fill_pattern(first, len, 0);
	n = sendto(x->fd, first, len, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&x->target.storage,
		   x->target.len);
	if (n < 0)
		return errno;
	x->sent = n;
	return 0;
}

static void do_connect(const struct connect_options *options, struct exchange *x)
{
	double start = now();
	int error;

	set_timeout(x->fd, options->timeout);
	if (options->nonblock)
		fcntl(x->fd, F_SETFL, O_NONBLOCK);
	if (has_ids(options->connect_ids))
		become(options->connect_ids, options->real_ids);
	error = call_connect(options, x);
	if (has_ids(options->connect_ids))
		become_root();
	if (error == EINPROGRESS)
		error = options->nonblock ? wait_connected(x->fd, options->timeout) : ETIMEDOUT;
	x->error = error ? errno_name(error) : NULL;
	x->connect_time = now() - start;
}

/* Splits what arrived into the acceptor's line and the bytes after it. */
static void take(struct exchange *x, const char *buffer, size_t len)
{
	size_t used = 0;

	x->received += len;
	while (!x->line_done && used < len) {
		char c = buffer[used++];

		if (c == '\n' || x->line_len == sizeof(x->line) - 1)
			x->line_done = true;
		else
			x->line[x->line_len++] = c;
	}
	if (!is_pattern(buffer + used, len - used, x->body))
		x->damaged = true;
	x->body += len - used;
}

static void receive(struct exchange *x)
{
	static char buffer[1 << 18];
	ssize_t n = recv(x->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n > 0)
		take(x, buffer, n);
	else if (n == 0)
		x->eof = true;
	else if (errno != EAGAIN)
		x->io_error = errno_name(errno);
}

static void transmit(const struct connect_options *options, struct exchange *x)
{
	char buffer[BUFFER_SIZE];
	uint64_t left = options->send - x->sent;
	size_t len = left < sizeof(buffer) ? left : sizeof(buffer);
	ssize_t n;

	fill_pattern(buffer, len, x->sent);
	n = send(x->fd, buffer, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		x->sent += n;
	else if (errno != EAGAIN && errno != EINPROGRESS)
		x->io_error = errno_name(errno);
}

static bool exchange_done(const struct connect_options *options, const struct exchange *x)
{
	if (x->io_error || x->eof)
		return true;
	if (x->sent < options->send || !x->line_done || options->shutdown)
		return false;
	return x->body >= options->expect;
}

static void exchange_bytes(const struct connect_options *options, struct exchange *x)
{
	double deadline = now() + options->timeout;

	x->line_done = !options->greet;
	while (!exchange_done(options, x)) {
		bool sending = x->sent < options->send;
		struct pollfd pfd = { .fd = x->fd, .events = POLLIN | (sending ? POLLOUT : 0) };

		if (now() > deadline) {
			x->io_error = "TIMEOUT";
			break;
		}
		poll(&pfd, 1, 100);
		if (sending && pfd.revents & POLLOUT)
			transmit(options, x);
		if (pfd.revents & (POLLIN | POLLHUP | POLLERR))
			receive(x);
		if (options->shutdown && !x->shut && x->sent == options->send) {
			x->shut = true;
			shutdown(x->fd, SHUT_WR);
		}
	}
}

static void note_names(struct exchange *x)
{
	char text[ADDRESS_TEXT];

	snprintf(x->sockname, sizeof(x->sockname), "%s", name_of(getsockname, x->fd, text));
	snprintf(x->peername, sizeof(x->peername), "%s", name_of(getpeername, x->fd, text));
}

static void print_string(const char *key, const char *value)
{
	printf(value ? ",\"%s\":\"%s\"" : ",\"%s\":null", key, value);
}

static void print_exchange(const struct exchange *x)
{
	char target[ADDRESS_TEXT];
	bool is_json = x->line[0] == '{';

	printf("{\"target\":\"%s\",\"ok\":%s", format_address(&x->target.storage, target),
	       x->error ? "false" : "true");
	print_string("errno", x->error);
	print_string("io_error", x->io_error);
	print_string("sockname", x->sockname);
	print_string("peername", x->peername);
	printf(",\"acceptor\":%s", is_json ? x->line : "null");
	printf(",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"body\":%" PRIu64
	       ",\"intact\":%s,\"eof\":%s"
	       ",\"connect_us\":%.0f}\n",
	       x->sent, x->received, x->body, x->damaged ? "false" : "true",
	       x->eof ? "true" : "false", x->connect_time * 1e6);
}

static void close_socket(const struct connect_options *options, int fd)
{
	struct linger linger = { .l_onoff = 1 };

	if (options->reset)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* One attempt and its line; true when it went well. */
static bool attempt(const struct connect_options *options, const struct address *target, int fd)
{
	struct exchange *x = grow(NULL, sizeof(*x));
	bool ok;

	memset(x, 0, sizeof(*x));
	x->fd = fd;
	x->target = *target;
	do_connect(options, x);
	note_names(x);
	if (!x->error) {
		exchange_bytes(options, x);
		if (options->tfo) /* the SYN left with the first byte only */
			note_names(x);
	}
	print_exchange(x);
	ok = !x->error && !x->io_error && !x->damaged;
	free(x);
	return ok;
}

/* Sockets that --hold keeps open until all have been opened. */
struct held {
	int *fds;
	size_t count;
};

static void finish(const struct connect_options *options, struct held *held, int fd)
{
	if (!options->hold) {
		close_socket(options, fd);
		return;
	}
	held->fds = grow(held->fds, (held->count + 1) * sizeof(int));
	held->fds[held->count++] = fd;
}

static void release(const struct connect_options *options, struct held *held)
{
	struct timespec ts = { .tv_sec = (time_t)options->hold,
			       .tv_nsec = (long)((options->hold - (time_t)options->hold) * 1e9) };

	nanosleep(&ts, NULL);
	for (size_t i = 0; i < held->count; i++)
		close_socket(options, held->fds[i]);
	free(held->fds);
}

/* --reuse-socket: the targets in turn on one socket until one answers; else a socket for each */
static bool connect_round(const struct connect_options *options, const struct address *targets,
			  size_t count, struct held *held)
{
	bool all = true, any = false;
	int fd = -1;

	for (size_t i = 0; i < count && !(options->reuse_socket && any); i++) {
		if (!i || !options->reuse_socket)
			fd = open_socket(options, targets[i].storage.ss_family);
		if (attempt(options, &targets[i], fd))
			any = true;
		else
			all = false;
		if (!options->reuse_socket)
			finish(options, held, fd);
	}
	if (options->reuse_socket)
		finish(options, held, fd);
	return options->reuse_socket ? any : all;
}

static void set_family(struct connect_options *options, const char *text, int *family)
{
	if (!strcmp(text, "mapped"))
		options->mapped = true;
	else if (!strcmp(text, "4") || !strcmp(text, "6"))
		*family = *text == '4' ? AF_INET : AF_INET6;
	else
		die("--family is 4, 6 or mapped");
}

static bool is_real(const char *text)
{
	if (strcmp(text, "effective") && strcmp(text, "real"))
		die("--creds is effective or real");
	return !strcmp(text, "real");
}

static enum tfo tfo_of(const char *text)
{
	if (text && strcmp(text, "connect") && strcmp(text, "sendto"))
		die("--tfo is connect or sendto");
	return text && !strcmp(text, "sendto") ? TFO_SENDTO : TFO_CONNECT;
}

static void parse_connect(int argc, char **argv, struct connect_options *options, int *family)
{
	static const struct option table[] = {
		{ "bind", required_argument, NULL, 'b' },
		{ "bind-no-port", no_argument, NULL, 'B' },
		{ "family", required_argument, NULL, 'f' },
		{ "nonblock", no_argument, NULL, 'n' },
		{ "tfo", optional_argument, NULL, 't' },
		{ "mptcp", no_argument, NULL, 'm' },
		{ "reuse-socket", no_argument, NULL, 'R' },
		{ "socket-uid", required_argument, NULL, 'U' },
		{ "socket-gid", required_argument, NULL, 'G' },
		{ "uid", required_argument, NULL, 'u' },
		{ "gid", required_argument, NULL, 'g' },
		{ "groups", required_argument, NULL, 'p' },
		{ "creds", required_argument, NULL, 'c' },
		{ "send", required_argument, NULL, 's' },
		{ "expect", required_argument, NULL, 'e' },
		{ "shutdown", no_argument, NULL, 'w' },
		{ "timeout", required_argument, NULL, 'T' },
		{ "count", required_argument, NULL, 'N' },
		{ "hold", required_argument, NULL, 'h' },
		{ "no-greet", no_argument, NULL, 'q' },
		{ "reset", no_argument, NULL, 'r' },
		{},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (option) {
		case 'b':
			parse_address(optarg, &options->bind);
			break;
		case 'B':
			options->bind_no_port = true;
			break;
		case 'f':
			set_family(options, optarg, family);
			break;
		case 'n':
			options->nonblock = true;
			break;
		case 't':
			options->tfo = tfo_of(optarg);
			break;
		case 'm':
			options->mptcp = true;
			break;
		case 'R':
			options->reuse_socket = true;
			break;
		case 'U':
			options->socket_ids.uid = number(optarg);
			break;
		case 'G':
			options->socket_ids.gid = number(optarg);
			break;
		case 'u':
			options->connect_ids.uid = number(optarg);
			break;
		case 'g':
			options->connect_ids.gid = number(optarg);
			break;
		case 'p':
			set_groups(optarg);
			break;
		case 'c':
			options->real_ids = is_real(optarg);
			break;
		case 's':
			options->send = number(optarg);
			break;
		case 'e':
			options->expect = number(optarg);
			break;
		case 'w':
			options->shutdown = true;
			break;
		case 'T':
			options->timeout = seconds(optarg);
			break;
		case 'N':
			options->count = number(optarg);
			break;
		case 'h':
			options->hold = seconds(optarg);
			break;
		case 'q':
			options->greet = false;
			break;
		case 'r':
			options->reset = true;
			break;
		default:
			exit(2);
		}
	}
	if (options->expect == UINT64_MAX)
		options->expect = options->send; /* an echo */
	if (options->tfo && !options->send)
		die("--tfo needs --send: the SYN leaves with the first byte");
}

static void parse_target(const struct connect_options *options, int family, const char *text,
			 struct address *target)
{
	parse_address(text, target);
	if (options->mapped && target->storage.ss_family == AF_INET)
		map_to_ipv6(target);
	if (family && target->storage.ss_family != family)
		die("%s is not of that family", text);
}

static int connect_main(int argc, char **argv)
{
	struct connect_options options = {
		.greet = true,
		.count = 1,
		.timeout = 10,
		.expect = UINT64_MAX,
		.socket_ids = { -1, -1 },
		.connect_ids = { -1, -1 },
	};
	struct address targets[MAX_ITEMS];
	struct held held = {};
	size_t count = 0;
	int family = 0;
	bool ok = true;

	setlinebuf(stdout);
	parse_connect(argc, argv, &options, &family);
	for (; optind < argc && count < MAX_ITEMS; optind++)
		parse_target(&options, family, argv[optind], &targets[count++]);
	if (!count || optind < argc)
		die("connect takes 1 to %d targets", MAX_ITEMS);
	if (options.mapped && options.bind.storage.ss_family == AF_INET)
		map_to_ipv6(&options.bind);

	for (uint64_t i = 0; i < options.count; i++)
		ok &= connect_round(&options, targets, count, &held);
	release(&options, &held);
	return !ok;
}

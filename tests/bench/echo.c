// SPDX-License-Identifier: Apache-2.0
/*
 * echo: the server of the accounting's benchmarks, IPv4.
 *
 *   echo --port PORT [--discard 1] [--cpu N]
 *
 * Sends back what comes, or discards it, and closes a connection in order when the other side does.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { BACKLOG = 4096, EVENTS = 64, BUFFER = 1 << 18 };

struct options {
	uint64_t port, discard;
};

static int open_listener(uint16_t port)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&self, sizeof(self)) || listen(fd, BACKLOG))
		die("port %u: %s", port, strerror(errno));
	return fd;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl: %s", strerror(errno));
}

static void take(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
		return;
	if (fd < 0)
		die("accept: %s", strerror(errno));
	no_delay(fd);
	watch(epoll, fd);
}

static void serve(int fd, int discard)
{
	static char buffer[BUFFER];
	ssize_t length = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (length < 0 && errno == EAGAIN)
		return;
	if (length <= 0 || (!discard && send(fd, buffer, length, MSG_NOSIGNAL) != length))
		close(fd);
}

static struct options parse(int argc, char **argv)
{
	struct options o = { 0 };

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--port"))
			o.port = number(argv[i + 1], UINT16_MAX);
		else if (!strcmp(argv[i], "--discard"))
			o.discard = number(argv[i + 1], 1);
		else if (!strcmp(argv[i], "--cpu"))
			pin(number(argv[i + 1], CPU_SETSIZE - 1));
		else
			die("%s: no such option (see the head of tests/bench/echo.c)", argv[i]);
	}
	if (!o.port)
		die("--port is missing");
	return o;
}

int main(int argc, char **argv)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), listener;
	struct options o;

	program = "echo";
	o = parse(argc, argv);
	raise_files();
	listener = open_listener(o.port);
	watch(epoll, listener);
	for (;;) {
		struct epoll_event events[EVENTS];
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == listener)
				take(epoll, listener);
			else
				serve(events[i].data.fd, o.discard);
		}
	}
}

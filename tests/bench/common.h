// SPDX-License-Identifier: Apache-2.0
/* What relay.c, echo.c and load.c share; each is one translation unit, so that one command builds
 * it. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *program;

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s: ", program);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static inline uint64_t number(const char *text, uint64_t most)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > most)
		die("%s: not a number from 0 to %llu", text, (unsigned long long)most);
	return value;
}

/* ADDR:PORT, IPv4 */
static inline struct sockaddr_in endpoint(const char *text)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		die("%s: not an IPv4 address with a port", text);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		die("%s: not an IPv4 address with a port", text);
	address.sin_port = htons(number(colon + 1, UINT16_MAX));
	return address;
}

/*
 * Client, relay and server share one processor: handing over between them is then a plain switch,
 * where waking an idle processor of a virtual machine costs more than all that is measured here.
 */
static inline void pin(uint64_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("cpu %llu: %s", (unsigned long long)cpu, strerror(errno));
}

/* As many connections at a time as this process may have. */
static inline void raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		die("RLIMIT_NOFILE: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("RLIMIT_NOFILE: %s", strerror(errno));
}

static inline void no_delay(int fd)
{
	int one = 1;

	if (setsockopt(fd, SOL_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY: %s", strerror(errno));
}

/* By reset: no TIME_WAIT, which would use up the ports of one address pair within a second. */
static inline void close_by_reset(int fd)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

// SPDX-License-Identifier: Apache-2.0
/* What all subcommands share: errors, numbers, the byte pattern, addresses as text. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SO_ORIGINAL_DST                                                                           \
	80 /* the same number at SOL_IP and SOL_IPV6; linux/netfilter_ipv4.h clashes with netinet \
	    */

enum {
	ADDRESS_TEXT = 80,
	BUFFER_SIZE = 16384,
	MAX_ITEMS = 64, /* listeners, targets, option lengths, groups */
	PATTERN_PERIOD = 251, /* prime: a lost or doubled block shifts the pattern */
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("probe: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

static const char *errno_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "unknown";
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-')
		die("not a number: %s", text);
	return value;
}

static double seconds(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || value < 0)
		die("not a number of seconds: %s", text);
	return value;
}

static size_t number_list(char *text, uint64_t *list)
{
	size_t count = 0;

	for (char *item = strtok(text, ","); item; item = strtok(NULL, ",")) {
		if (count == MAX_ITEMS)
			die("too many items in a list");
		list[count++] = number(item);
	}
	return count;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void *grow(void *memory, size_t size)
{
	memory = realloc(memory, size);
	if (!memory)
		die("out of memory");
	return memory;
}

static void fill_pattern(char *buffer, size_t len, uint64_t offset)
{
	for (size_t i = 0; i < len; i++)
		buffer[i] = (char)((offset + i) % PATTERN_PERIOD);
}

static bool is_pattern(const char *buffer, size_t len, uint64_t offset)
{
	for (size_t i = 0; i < len; i++)
		if (buffer[i] != (char)((offset + i) % PATTERN_PERIOD))
			return false;
	return true;
}

struct address {
	struct sockaddr_storage storage;
	socklen_t len;
};

static void set_ipv4(struct address *address, struct in_addr ip, uint16_t port)
{
	struct sockaddr_in *in = (void *)&address->storage;

	*in = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr = ip,
				    .sin_port = htons(port) };
	address->len = sizeof(*in);
}

static void set_ipv6(struct address *address, struct in6_addr ip, uint16_t port)
{
	struct sockaddr_in6 *in6 = (void *)&address->storage;

	*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
				      .sin6_addr = ip,
				      .sin6_port = htons(port) };
	address->len = sizeof(*in6);
}

/* 10.0.0.1:80, [::1]:80; the port may be missing (0) */
static void parse_address(const char *text, struct address *address)
{
	char host[INET6_ADDRSTRLEN] = "";
	bool bracketed = text[0] == '[';
	const char *end = bracketed ? strchr(text, ']') : strchrnul(text, ':');
	struct in_addr ip;
	struct in6_addr ip6;
	uint64_t port = 0;

	if (!end || (size_t)(end - text) >= sizeof(host))
		die("not an address: %s", text);
	memcpy(host, text + bracketed, end - text - bracketed);
	end += bracketed;
	if (*end == ':')
		port = number(end + 1);
	if (port > UINT16_MAX || (*end && *end != ':'))
		die("not an address: %s", text);

	if (bracketed && inet_pton(AF_INET6, host, &ip6) == 1)
		set_ipv6(address, ip6, port);
	else if (!bracketed && inet_pton(AF_INET, host, &ip) == 1)
		set_ipv4(address, ip, port);
	else
		die("not an address: %s", text);
}

static void map_to_ipv6(struct address *address)
{
	const struct sockaddr_in *in = (void *)&address->storage;
	struct in6_addr ip6 = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
	uint16_t port = ntohs(in->sin_port);

	memcpy(&ip6.s6_addr[12], &in->sin_addr, sizeof(in->sin_addr));
	set_ipv6(address, ip6, port);
}

static const char *format_address(const void *sockaddr, char text[ADDRESS_TEXT])
{
	char host[INET6_ADDRSTRLEN];
	const struct sockaddr_in *in = sockaddr;
	const struct sockaddr_in6 *in6 = sockaddr;

	if (in->sin_family == AF_INET)
		snprintf(text, ADDRESS_TEXT, "%s:%u",
			 inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)),
			 ntohs(in->sin_port));
	else if (in->sin_family == AF_INET6)
		snprintf(text, ADDRESS_TEXT, "[%s]:%u",
			 inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)),
			 ntohs(in6->sin6_port));
	else
		snprintf(text, ADDRESS_TEXT, "family %u", in->sin_family);
	return text;
}

typedef int name_call(int fd, struct sockaddr *address, socklen_t *len);

/* getsockname or getpeername as text; the errno's name when it failed */
static const char *name_of(name_call *call, int fd, char text[ADDRESS_TEXT])
{
	struct address address = { .len = sizeof(address.storage) };

	if (call(fd, (void *)&address.storage, &address.len))
		return errno_name(errno);
	return format_address(&address.storage, text);
}

static void set_option(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		die("%s: %s", name, strerror(errno));
}

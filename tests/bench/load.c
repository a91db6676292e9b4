// SPDX-License-Identifier: Apache-2.0
/*
 * load: the client of the benchmarks, IPv4. Prints one line of JSON.
 *
 *   load open    --to ADDR:PORT --count N             connect, half-close, await the reset, close
 *   load once    --to ADDR:PORT --count N --size S    connect, one round trip of S bytes, reset
 *   load close   --to ADDR:PORT --count N --size S    the same, and an orderly close
 *   load stream  --to ADDR:PORT --count N --size S    round trips of S bytes on one connection
 *   load bulk    --to ADDR:PORT --count N --size S    N times S bytes one way on one connection
 *   load refused --to ADDR:PORT --count N             connect to a closed port
 *   load hold    --to ADDR:PORT --count N --size S    N connections until standard input ends; a
 *                                                     round trip on each at first and for each byte
 *                                                     read there, after which it prints "ready"
 *   load stats                                        no load: the kernel times BPF programs until
 *                                                     standard input ends; "ready" when it does
 *
 * --cpu N pins it. The operations are timed in CHUNKS portions: "ns" is the median portion's time
 * for one operation, which a busy neighbour does not move, "mean_ns" is over all, and "connect_ns"
 * the part of "ns" that the application spends in connect().
 *
 * Every connection but those of "close" ends in a reset by one side or the other: an orderly close
 * leaves TIME_WAIT behind, and the ports between two addresses would be used up within seconds.
 * "open" waits for the proxy to have accepted and given up the connection, so that the proxy's
 * share of the work is counted and its queue never overflows.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { CHUNKS = 20, MAX_SIZE = 1 << 20 };

struct load {
	struct sockaddr_in to;
	uint64_t count, size;
	int fd; /* of "stream" and "bulk" */
	uint64_t connect_ns; /* of the chunk at hand */
	char *out, *in;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* The socket and what connect() said: 0 or errno. */
static int try_connect(struct load *load, int *ret_fd)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t start;
	int error;

	if (fd < 0)
		die("socket: %s", strerror(errno));
	start = now_ns();
	error = connect(fd, (struct sockaddr *)&load->to, sizeof(load->to)) ? errno : 0;
	load->connect_ns += now_ns() - start;
	*ret_fd = fd;
	return error;
}

static int dial(struct load *load)
{
	int fd, error = try_connect(load, &fd);

	if (error)
		die("connect to %s:%u: %s", inet_ntoa(load->to.sin_addr), ntohs(load->to.sin_port),
		    strerror(error));
	no_delay(fd);
	return fd;
}

static void send_all(struct load *load, int fd)
{
	for (uint64_t done = 0; done < load->size;) {
		ssize_t sent = send(fd, load->out + done, load->size - done, MSG_NOSIGNAL);

		if (sent < 0)
			die("send: %s", strerror(errno));
		done += sent;
	}
}

static void round_trip(struct load *load, int fd)
{
	send_all(load, fd);
	for (uint64_t done = 0; done < load->size;) {
		ssize_t got = recv(fd, load->in + done, load->size - done, 0);

		if (got <= 0)
			die("recv: %s", got ? strerror(errno) : "the connection ended");
		done += got;
	}
}

static void operate_open(struct load *load)
{
	int fd = dial(load);
	char byte;

	shutdown(fd, SHUT_WR);
	if (recv(fd, &byte, 1, 0) >= 0 || errno != ECONNRESET)
		die("the proxy did not reset a connection without a request");
	close(fd);
}

static void operate_once(struct load *load)
{
	int fd = dial(load);

	round_trip(load, fd);
	close_by_reset(fd);
}

static void operate_close(struct load *load)
{
	int fd = dial(load);
	char byte;

	round_trip(load, fd);
	shutdown(fd, SHUT_WR);
	if (recv(fd, &byte, 1, 0))
		die("the server did not close the connection in order");
	close(fd);
}

static void operate_stream(struct load *load)
{
	round_trip(load, load->fd);
}

static void operate_bulk(struct load *load)
{
	send_all(load, load->fd);
}

static void operate_refused(struct load *load)
{
	int fd, error = try_connect(load, &fd);

	if (error != ECONNREFUSED)
		die("connect: %s, where a closed port was expected", strerror(error));
	close(fd);
}

static const struct mode {
	const char *name;
	void (*operate)(struct load *load);
	bool one_connection;
	bool has_size;
} modes[] = {
	{ "open", operate_open, false, false },	 { "once", operate_once, false, true },
	{ "close", operate_close, false, true }, { "stream", operate_stream, true, true },
	{ "bulk", operate_bulk, true, true },	 { "refused", operate_refused, false, false },
	{ "hold", NULL, false, true },
};

static const struct mode *find_mode(const char *name)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		if (!strcmp(name, modes[i].name))
			return &modes[i];
	}
	die("usage: load open|once|close|stream|bulk|refused|hold|stats (see the head of "
	    "tests/bench/load.c)");
}

static void parse(int argc, char **argv, const struct mode *mode, struct load *load)
{
	for (int i = 0; i < argc; i += 2) {
		if (i + 1 == argc)
			die("%s: its value is missing", argv[i]);
		if (!strcmp(argv[i], "--to"))
			load->to = endpoint(argv[i + 1]);
		else if (!strcmp(argv[i], "--count"))
			load->count = number(argv[i + 1], 1000000000);
		else if (!strcmp(argv[i], "--size"))
			load->size = number(argv[i + 1], MAX_SIZE);
		else if (!strcmp(argv[i], "--cpu"))
			pin(number(argv[i + 1], CPU_SETSIZE - 1));
		else
			die("%s: no such option (see the head of tests/bench/load.c)", argv[i]);
	}
	if (!load->to.sin_port || load->count < CHUNKS)
		die("--to and --count, of %d or more, are needed", CHUNKS);
	if (mode->has_size != !!load->size)
		die("--size: %s", mode->has_size ? "missing" : "not for this mode");
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, CHUNKS, sizeof(*values), by_value);
	return (values[CHUNKS / 2 - 1] + values[CHUNKS / 2]) / 2;
}

static void measure(const struct mode *mode, struct load *load)
{
	uint64_t per_chunk = load->count / CHUNKS;
	double whole[CHUNKS], inside[CHUNKS], sum = 0;

	for (int chunk = 0; chunk < CHUNKS; chunk++) {
		uint64_t start = now_ns();

		load->connect_ns = 0;
		for (uint64_t i = 0; i < per_chunk; i++)
			mode->operate(load);
		whole[chunk] = (double)(now_ns() - start) / per_chunk;
		inside[chunk] = (double)load->connect_ns / per_chunk;
		sum += whole[chunk];
	}
	printf("{\"operations\": %llu, \"ns\": %.1f, \"mean_ns\": %.1f, \"connect_ns\": %.1f}\n",
	       (unsigned long long)per_chunk * CHUNKS, median(whole), sum / CHUNKS, median(inside));
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* The kernel stops timing when this process has ended, however it ends: nothing to restore. */
static void time_programs(void)
{
	union bpf_attr attr = { .enable_stats.type = BPF_STATS_RUN_TIME };
	char byte;

	if (syscall(SYS_bpf, BPF_ENABLE_STATS, &attr, sizeof(attr)) < 0)
		die("BPF_ENABLE_STATS: %s", strerror(errno));
	ready();
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

/* What is held ends with the process; its resets spare the next run the TIME_WAITs. */
static void hold(struct load *load)
{
	int *fds = calloc(load->count, sizeof(*fds));
	char byte;

	if (!fds)
		die("out of memory");
	raise_files();
	for (uint64_t i = 0; i < load->count; i++) {
		fds[i] = dial(load);
		round_trip(load, fds[i]);
	}
	ready();
	while (read(STDIN_FILENO, &byte, 1) > 0) {
		for (uint64_t i = 0; i < load->count; i++)
			round_trip(load, fds[i]);
		ready();
	}
	for (uint64_t i = 0; i < load->count; i++)
		close_by_reset(fds[i]);
	free(fds);
}

int main(int argc, char **argv)
{
	struct load load = { .fd = -1 };
	const struct mode *mode;

	program = "load";
	if (argc == 2 && !strcmp(argv[1], "stats")) {
		time_programs();
		return 0;
	}
	mode = find_mode(argc > 1 ? argv[1] : "");
	parse(argc - 2, argv + 2, mode, &load);
	load.out = calloc(1, load.size + 1);
	load.in = calloc(1, load.size + 1);
	if (!load.out || !load.in)
		die("out of memory");
	if (mode->one_connection)
		load.fd = dial(&load);
	if (mode->operate)
		measure(mode, &load);
	else
		hold(&load);
	free(load.out);
	free(load.in);
	return 0;
}

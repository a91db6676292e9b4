/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams for the benchmark, IPv4.
 *
 *     datagram serve CPU PORT             sends back what comes
 *     datagram ask CPU IP PORT COUNT SIZE prints the nanoseconds of one round trip, of COUNT
 *     datagram pour CPU IP PORT COUNT SIZE prints the nanoseconds of one send(), of COUNT
 */
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static char payload[65536];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static _Noreturn void serve(int fd, struct sockaddr_in *at)
{
	struct sockaddr_in from;
	socklen_t len;
	ssize_t n;

	if (bind(fd, (struct sockaddr *)at, sizeof(*at)) < 0)
		die("bind");
	puts("ready");
	fflush(stdout);
	for (;;) {
		len = sizeof(from);
		n = recvfrom(fd, payload, sizeof(payload), 0, (struct sockaddr *)&from, &len);
		if (n < 0)
			die("recvfrom");
		sendto(fd, payload, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int drive(int fd, const struct sockaddr_in *to, int answered, long number, size_t size)
{
	double began;

	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		die("connect");
	began = seconds();
	for (long i = 0; i < number; i++) {
		if (send(fd, payload, size, 0) < 0)
			die("send");
		if (answered && recv(fd, payload, sizeof(payload), 0) < 0)
			die("recv");
	}
	printf("%.1f\n", (seconds() - began) * 1e9 / (double)number);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		die("socket");
	if (argc == 4 && !strcmp(argv[1], "serve")) {
		stay_on(atoi(argv[2]));
		at.sin_port = htons((uint16_t)atoi(argv[3]));
		serve(fd, &at);
	}
	if (argc != 7 || inet_pton(AF_INET, argv[3], &at.sin_addr) != 1) {
		fprintf(stderr, "datagram: see the top of datagram.c\n");
		return 2;
	}
	stay_on(atoi(argv[2]));
	at.sin_port = htons((uint16_t)atoi(argv[4]));
	return drive(fd, &at, !strcmp(argv[1], "ask"), atol(argv[5]), (size_t)atol(argv[6]));
}

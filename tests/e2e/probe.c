// SPDX-License-Identifier: Apache-2.0
/*
 * probe: the sockets tool of the end-to-end tests.
 *
 *   probe serve|sink|bulk --listen ADDR:PORT...
 *         accept, say what the acceptor sees, then echo, swallow or pour
 *   probe connect TARGET...
 *         connect, say what the client sees, exchange bytes
 *   probe batch < QUESTIONS
 *         connect to many places at once as many users, one line for each
 *   probe exec --netns PATH --cgroup PATH -- CMD
 *         run a command as a container's process would run
 *
 * Results are single lines of JSON on standard output. "sent" and "received" are the probe's own
 * books: every payload byte of that socket, the acceptor's line included, so that they can be
 * compared with what weir counted. Usage errors exit 2; connect exits 1 when a connection failed.
 * It needs nothing but libc, and is one translation unit so that one command builds it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "probe/batch.h"
#include "probe/connect.h"
#include "probe/exec.h"
#include "probe/serve.h"

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	argc--;
	argv++;
	if (!strcmp(command, "serve"))
		serve_main(argc, argv, ECHO);
	if (!strcmp(command, "sink"))
		serve_main(argc, argv, SINK);
	if (!strcmp(command, "bulk"))
		serve_main(argc, argv, BULK);
	if (!strcmp(command, "connect"))
		return connect_main(argc, argv);
	if (!strcmp(command, "batch"))
		return batch_main(argc, argv);
	if (!strcmp(command, "exec"))
		exec_main(argc, argv);
	die("usage: probe serve|sink|bulk|connect|batch|exec ... (see the head of "
	    "tests/e2e/probe.c)");
}

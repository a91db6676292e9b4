// SPDX-License-Identifier: Apache-2.0
/* probe exec: network namespace, cgroup and ids first, then the command. */
#pragma once
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base.h"
#include "ids.h"

struct exec_options {
	const char *netns, *cgroup;
	struct ids ids;
	bool pdeathsig;
};

static void enter_cgroup(const char *path)
{
	char procs[4096];
	int fd;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		die("%s: %s", procs, strerror(errno));
	close(fd);
}

static void enter_netns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die("%s: %s", path, strerror(errno));
	close(fd);
}

/* After the change of ids, which clears the signal; a parent that died before that has gone
 * unnoticed. */
static void die_with_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		die("the parent has ended");
}

static void parse_exec(int argc, char **argv, struct exec_options *options)
{
	static const struct option table[] = {
		{ "netns", required_argument, NULL, 'n' },
		{ "cgroup", required_argument, NULL, 'c' },
		{ "uid", required_argument, NULL, 'u' },
		{ "gid", required_argument, NULL, 'g' },
		{ "groups", required_argument, NULL, 'p' },
		{ "pdeathsig", no_argument, NULL, 'd' },
		{},
	};
	int option;

	while ((option = getopt_long(argc, argv, "+", table, NULL)) != -1) {
		switch (option) {
		case 'n':
			options->netns = optarg;
			break;
		case 'c':
			options->cgroup = optarg;
			break;
		case 'u':
			options->ids.uid = number(optarg);
			break;
		case 'g':
			options->ids.gid = number(optarg);
			break;
		case 'p':
			set_groups(optarg);
			break;
		case 'd':
			options->pdeathsig = true;
			break;
		default:
			exit(2);
		}
	}
	if (optind == argc)
		die("exec: the command is missing");
}

/* Below a home directory, say, that the new ids may not enter: the file was opened before they
 * changed. */
static void exec_opened(int fd, char **argv)
{
	if (fd >= 0 && errno == EACCES)
		syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
}

__attribute__((noreturn)) static void exec_main(int argc, char **argv)
{
	struct exec_options options = { .ids = { -1, -1 } };
	pid_t parent = getppid();
	int fd;

	parse_exec(argc, argv, &options);
	fd = strchr(argv[optind], '/') ? open(argv[optind], O_PATH | O_CLOEXEC) : -1;
	if (options.cgroup)
		enter_cgroup(options.cgroup);
	if (options.netns)
		enter_netns(options.netns);
	if (setresgid(options.ids.gid, options.ids.gid, options.ids.gid) ||
	    setresuid(options.ids.uid, options.ids.uid, options.ids.uid))
		die("changing ids: %s", strerror(errno));
	if (options.pdeathsig)
		die_with_parent(parent);
	execvp(argv[optind], argv + optind);
	exec_opened(fd, argv + optind);
	die("%s: %s", argv[optind], strerror(errno));
}

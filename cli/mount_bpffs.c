/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir mount-bpffs: for nodes whose system mounts no bpf file system (those of kind, which are
 * containers). The agent cannot do it: what it mounts ends with it, and so would all that is
 * pinned.
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "base/opts.h"
#include "cli/command.h"
#include "cli/options.h"

struct command_line {
	struct options options;
	const char *dir;
};

static const struct argp_option table[] = {
	{ "dir", OPT_TEXT(struct command_line, dir), "DIR", 0, "where (/sys/fs/bpf)", 0 },
	{ 0 },
};

static const struct argp argp = {
	.options = table,
	.parser = options_parser,
	.doc = "Mounts a bpf file system unless there is one.\v"
	       "In a container it reaches the node only by a mount with propagation to the host.",
	.children = options_children,
};

int weir_mount_bpffs_main(int argc, char **argv)
{
	struct command_line c = { .dir = "/sys/fs/bpf" };
	struct statfs fs;

	options_parse(&argp, argc, argv, &c.options, &c);
	if (statfs(c.dir, &fs) < 0)
		return options_fail(&c.options, "%s: %s", c.dir, strerror(errno));
	if ((unsigned long)fs.f_type == BPF_FS_MAGIC) {
		printf("%s is a bpf file system already\n", c.dir);
		return EXIT_SUCCESS;
	}
	if (mount("bpf", c.dir, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return options_fail(&c.options, "cannot mount a bpf file system at %s: %s", c.dir,
				    strerror(errno));
	printf("mounted a bpf file system at %s\n", c.dir);
	return EXIT_SUCCESS;
}

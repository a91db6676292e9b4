/* SPDX-License-Identifier: Apache-2.0 */
/* weir: finds the subcommand and runs it. */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/near.h"

#define EXIT_UNKNOWN_COMMAND 2

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *help;
} commands[] = {
#define COMMAND(name, function, help) { #name, function, help },
#include "cli/commands.def"
#undef COMMAND
};

static void print_help(FILE *out)
{
	fputs("Usage: weir COMMAND [OPTION...]\n\n"
	      "Diverts the traffic of Kubernetes pods to the proxy beside them, with eBPF instead "
	      "of\n"
	      "iptables, and gauges every connection.\n\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-13s%s\n", commands[i].name, commands[i].help);
	fputs("\nweir help COMMAND tells its options; the manual is weir(8).\n", out);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const struct command *nearest = &commands[0];

	for (size_t i = 1; i < ARRAY_SIZE(commands); i++)
		if (near_distance(name, commands[i].name) < near_distance(name, nearest->name))
			nearest = &commands[i];
	if (near_enough(name, nearest->name))
		fprintf(stderr, "weir: no command '%s'; did you mean 'weir %s'?\n", name,
			nearest->name);
	else
		fprintf(stderr, "weir: no command '%s'; 'weir help' lists them\n", name);
	return EXIT_UNKNOWN_COMMAND;
}

/* argv[0] becomes "weir NAME", as it is to appear in messages. */
static int run(const char *name, int argc, char **argv)
{
	const struct command *command = find_command(name);
	char full[64];
	int status;

	if (!command)
		return unknown_command(name);
	snprintf(full, sizeof(full), "weir %s", name);
	argv[0] = full;
	status = command->main(argc, argv);
	if ((fflush(stdout) || ferror(stdout)) && status == EXIT_SUCCESS) {
		perror("weir: cannot write to standard output");
		status = EXIT_FAILURE;
	}
	return status;
}

static int help(int argc, char **argv)
{
	char *args[] = { NULL, (char[]){ "--help" }, NULL };

	if (argc >= 2)
		return run(argv[1], 2, args);
	print_help(stdout);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return EXIT_UNKNOWN_COMMAND;
	}
	libbpf_set_print(NULL); /* errors are told once, in weir's words */
	argc--;
	argv++;
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 ||
	    strcmp(argv[0], "help") == 0)
		return help(argc, argv);
	if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0) {
		puts("weir " WEIR_VERSION);
		return EXIT_SUCCESS;
	}
	return run(argv[0], argc, argv);
}

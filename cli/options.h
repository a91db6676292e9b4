/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all subcommands share: where weir's state lies, how to print, how to fail. A command line
 * that cannot be understood ends the program with EX_USAGE (64) and one line; a command that cannot
 * do its work says one line and exits 1.
 */
#ifndef WEIR_CLI_OPTIONS_H
#define WEIR_CLI_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_WIDE };

struct options {
	const char *command; /* as typed: "weir status" */
	const char *bpf_dir;
	const char *run_dir;
	enum output output;
	bool has_wide; /* the command knows OUTPUT_WIDE; set at ARGP_KEY_INIT */
};

/*
 * For struct argp.children. A command without options of its own needs no parser; one whose options
 * only fill members (base/opts.h) of a struct that begins with struct options has this one. Any
 * other hands the struct options on: state->child_inputs[0] = ... at ARGP_KEY_INIT.
 */
extern const struct argp_child options_children[];
error_t options_parser(int key, char *arg, struct argp_state *state);

/* Sets *o to the defaults, then parses into input, which holds *o. Does not return on bad usage. */
void options_parse(const struct argp *argp, int argc, char **argv, struct options *o, void *input);

/* "COMMAND: MESSAGE (COMMAND --help)" and exit 64. */
void options_usage(const struct argp_state *state, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* "COMMAND: MESSAGE" on standard error. Returns EXIT_FAILURE. */
int options_fail(const struct options *o, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* A decimal number of at most max; bad usage of `name` otherwise. */
uint32_t options_number(const struct argp_state *state, const char *name, const char *text,
			uint32_t max);

#endif

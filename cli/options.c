/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/buf.h"
#include "base/opts.h"

static const struct argp_option table[] = {
	{ "bpf-dir", OPT_TEXT(struct options, bpf_dir), "DIR", 0,
	  "pinned maps and links (/sys/fs/bpf/weir)", 10 },
	{ "run-dir", OPT_TEXT(struct options, run_dir), "DIR", 0,
	  "the agent's control socket (/run/weir)", 10 },
	{ "output", 'o', "FORMAT", 0, "text, or json for machines", 10 },
	{ 0 },
};

static enum output parse_output(const struct argp_state *state, const struct options *o,
				const char *arg)
{
	if (*arg == '=') /* -o=json, as kubectl takes it */
		arg++;
	if (strcmp(arg, "json") == 0)
		return OUTPUT_JSON;
	if (strcmp(arg, "text") == 0)
		return OUTPUT_TEXT;
	if (o->has_wide && strcmp(arg, "wide") == 0)
		return OUTPUT_WIDE;
	options_usage(state, "-o %s: give -o text%s or -o json", arg,
		      o->has_wide ? ", -o wide" : "");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->err_stream =
			NULL; /* getopt says what is wrong; argp would add a second line */
		return 0;
	case 'o':
		o->output = parse_output(state, o, arg);
		return 0;
	case ARGP_KEY_ARG:
		options_usage(state, "what is '%s'?", arg);
	}
	return opts_set(o, key, arg);
}

static const struct argp shared = { .options = table, .parser = parse };

const struct argp_child options_children[] = { { .argp = &shared }, { 0 } };

error_t options_parser(int key, char *arg, struct argp_state *state)
{
	if (key != ARGP_KEY_INIT)
		return opts_set(state->input, key, arg);
	state->child_inputs[0] = state->input;
	return 0;
}

void options_parse(const struct argp *argp, int argc, char **argv, struct options *o, void *input)
{
	*o = (struct options){
		.command = argv[0],
		.bpf_dir = "/sys/fs/bpf/weir",
		.run_dir = "/run/weir",
	};
	if (argp_parse(argp, argc, argv, 0, NULL, input) != 0)
		exit(EX_USAGE);
}

void options_usage(const struct argp_state *state, const char *fmt, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	if (state->flags & ARGP_NO_HELP)
		fprintf(stderr, "%s: %s\n", state->name, buf_text(&text));
	else
		fprintf(stderr, "%s: %s (%s --help)\n", state->name, buf_text(&text), state->name);
	exit(EX_USAGE);
}

int options_fail(const struct options *o, const char *fmt, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s: %s\n", o->command, buf_text(&text));
	return EXIT_FAILURE;
}

uint32_t options_number(const struct argp_state *state, const char *name, const char *text,
			uint32_t max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > max)
		options_usage(state, "--%s=%s: give a number from 0 to %u", name, text, max);
	return (uint32_t)value;
}

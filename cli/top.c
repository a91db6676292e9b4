/* SPDX-License-Identifier: Apache-2.0 */
/* weir top: the busiest workloads, pods, edges or connections of this node. */
#include "cli/top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/opts.h"
#include "cli/command.h"
#include "cli/ctl.h"
#include "cli/options.h"

enum { KEY_VIEW = 0x200, KEY_SORT };

#define DELAY	    3.0 /* seconds, as top(1) */
#define DELAY_MIN   0.1
#define BATCH_WIDTH 80

struct top_options {
	struct options shared;
	struct top top;
	bool batch;
	bool wide; /* likewise: names as long as they are */
	bool json;
	uint32_t iterations; /* 0: without end */
	double delay;
};

static const struct argp_option table[] = {
	{ "batch", 'b', NULL, 0, "plain text, one table after the other, for scripts", 1 },
	{ "wide", 'w', NULL, 0, "with -b: names as long as they are, instead of 80 columns", 1 },
	{ "iterations", 'n', "N", 0, "end after N tables (with -o json: 1)", 1 },
	{ "delay", 'd', "SECONDS", 0, "between two of them (3)", 1 },
	{ "view", KEY_VIEW, "VIEW", 0, "workloads, pods, edges or connections (workloads)", 1 },
	{ "sort", KEY_SORT, "COLUMN", 0,
	  "name, bytes, sent, received, conns, open, failed, rtt or retransmits (bytes)", 1 },
	{ "reverse", 'r', NULL, 0, "the other way round", 1 },
	{ "idle", 'i', NULL, 0, "without what is idle, as in top", 1 },
	{ "filter", OPT_TEXT(struct top_options, top.filter), "TEXT", 0,
	  "only names that hold this", 1 },
	{ 0 },
};

static double parse_delay(const struct argp_state *state, const char *arg)
{
	char *end;
	double delay = strtod(arg, &end);

	if (end == arg || *end || !(delay >= DELAY_MIN && delay <= 3600))
		options_usage(state, "--delay=%s: give seconds from 0.1 to 3600", arg);
	return delay;
}

/* The whole word or its beginning: "conn". */
static void parse_view(const struct argp_state *state, struct top *t, const char *arg)
{
	for (int i = 0; i < TOP_VIEWS; i++)
		if (*arg && !strncmp(top_view_names[i], arg, strlen(arg))) {
			t->view = (enum top_view)i;
			return;
		}
	options_usage(state, "--view=%s: workloads, pods, edges or connections", arg);
}

static size_t find_column(const char *name)
{
	size_t i = 0;

	while (i < top_columns_n && strcmp(top_columns[i].name, name))
		i++;
	return i;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct top_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->shared;
		return 0;
	case 'b':
		o->batch = true;
		return 0;
	case 'n':
		o->iterations = options_number(state, "iterations", arg, 1000000000);
		return 0;
	case 'd':
		o->delay = parse_delay(state, arg);
		return 0;
	case KEY_VIEW:
		parse_view(state, &o->top, arg);
		return 0;
	case KEY_SORT:
		o->top.sort = find_column(arg);
		if (o->top.sort == top_columns_n)
			options_usage(state, "--sort=%s: not a column", arg);
		return 0;
	case 'r':
		o->top.reverse = true;
		return 0;
	case 'i':
		o->top.active = true;
		return 0;
	case 'w':
		o->wide = true;
		return 0;
	case ARGP_KEY_END:
		o->json = o->shared.output == OUTPUT_JSON;
		if (o->json && !o->iterations)
			o->iterations = 1;
		return 0;
	}
	return opts_set(state->input, key, arg);
}

static const struct argp argp = {
	.options = table,
	.parser = parse,
	.doc = "What goes on between this node's workloads, in rates.\v"
	       "Keys: h help, q quit, 1-4 or Tab view, < > sort, r reverse, / filter, i idle, = "
	       "all, d delay, "
	       "space refresh, p pause. Read from the pinned maps: no agent is needed.",
	.children = options_children,
};

static void wait_for(double seconds)
{
	struct timespec left = { (time_t)seconds,
				 (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static void print_text(const struct top *t, size_t width, bool again)
{
	_cleanup_buf_ struct buf text = { 0 };

	top_write(t, width, 0, &text);
	printf("%s%s", again ? "\n" : "", buf_text(&text));
}

/* A line for each table. */
static void print_json(const struct top *t)
{
	_cleanup_json_ json_t *answer = top_json(t);

	json_dumpf(answer, stdout, JSON_COMPACT);
	putchar('\n');
}

/* Rates need two samples: the first table comes after a delay. */
static int run_batch(const struct top_options *o, struct top *t)
{
	_cleanup_free_ char *error = NULL;

	for (uint32_t i = 0; !o->iterations || i <= o->iterations; i++) {
		if (i)
			wait_for(o->delay);
		if (top_read(t, &error) < 0)
			return options_fail(&o->shared, "%s", error);
		if (!i)
			continue;
		if (o->json)
			print_json(t);
		else
			print_text(t, o->wide ? 0 : BATCH_WIDTH, i > 1);
		if (fflush(stdout))
			break; /* main() says so */
	}
	return EXIT_SUCCESS;
}

int weir_top_main(int argc, char **argv)
{
	struct top_options o = { .delay = DELAY };
	_cleanup_free_ char *error = NULL;
	int status = EXIT_FAILURE;

	o.top.sort = find_column("bytes");
	options_parse(&argp, argc, argv, &o.shared, &o);
	o.batch = o.batch || o.json;
	if (!o.batch && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
		return options_fail(&o.shared, "this is no terminal: give -b for plain text");
	if (top_open(&o.top, o.shared.bpf_dir, &error) < 0)
		options_fail(&o.shared, "%s", error);
	else
		status =
			o.batch ? run_batch(&o, &o.top) : top_screen(&o.top, o.delay, o.iterations);
	top_close(&o.top);
	return status;
}

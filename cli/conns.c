/* SPDX-License-Identifier: Apache-2.0 */
/* weir conns: the TCP connections and UDP sockets of this node's pods, now. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/buf.h"
#include "base/opts.h"
#include "cli/columns.h"
#include "cli/command.h"
#include "cli/conn_field.h"
#include "cli/conn_filter.h"
#include "cli/conn_list.h"
#include "cli/ctl.h"
#include "cli/options.h"

enum {
	KEY_PEER = 0x200,
	KEY_PORT,
	KEY_STATE,
	KEY_DIRECTION,
	KEY_VIA,
	KEY_SORT,
};

#define NARROW 80 /* columns of a terminal that does not tell */

struct conns_options {
	struct options shared;
	struct conn_filter filter;
	const struct conn_field *sort;
	bool reverse;
	bool wide;
	bool exact;
};

static const struct argp_option table[] = {
	{ "namespace", 'n', "NAME", 0, "of the pod", 1 },
	{ "pod", OPT_TEXT(struct conns_options, filter.pod), "[NS/]NAME", 0, "the pod", 1 },
	{ "workload", OPT_TEXT(struct conns_options, filter.workload), "[NS/]NAME", 0,
	  "the pod's workload", 1 },
	{ "peer", KEY_PEER, "PEER", 0, "workload or Service ([NS/]NAME), address, or prefix", 1 },
	{ "port", KEY_PORT, "PORT", 0, "as dialled", 1 },
	{ "state", KEY_STATE, "STATE", 0,
	  "established, syn-sent, fin-wait-1, ..., unconnected (UDP); several with commas", 1 },
	{ "direction", KEY_DIRECTION, "DIR", 0, "in or out", 1 },
	{ "via", KEY_VIA, "VIA", 0, "proxy, direct, network_leg, application_leg or local", 1 },
	{ "tcp", 't', NULL, 0, "TCP connections: what is listed if nothing else is asked for", 1 },
	{ "udp", 'u', NULL, 0,
	  "UDP sockets that have moved datagrams, with their last peer, while the agent counts "
	  "datagrams",
	  1 },
	{ "all", 'a', NULL, 0, "those within a pod too, such as the proxy's end of a diverted one",
	  1 },
	{ "sort", KEY_SORT, "FIELD", 0,
	  "pod, workload, direction, peer, name, address, dialled, real, port, "
	  "protocol, state, sent, received, bytes, "
	  "rtt, retransmits, age, via or reason (pod); numbers: the greatest first",
	  2 },
	{ "reverse", 'r', NULL, 0, "the other way round", 2 },
	{ "wide", 'w', NULL, 0, "all columns, exact numbers, however wide (also: -o wide)", 3 },
	{ "bytes", 'b', NULL, 0, "exact bytes instead of K, M, G", 3 },
	{ 0 },
};

static void parse_sort(struct argp_state *state, struct conns_options *o, const char *arg)
{
	o->sort = conn_field_find(arg);
	if (!o->sort)
		options_usage(state, "--sort=%s: not a field that can be sorted by", arg);
}

static const char *parse_word(struct argp_state *state, const char *name, const char *arg,
			      const char *(*find)(const char *))
{
	const char *found = find(arg);

	if (!found)
		options_usage(state, "--%s=%s: not a %s", name, arg, name);
	return found;
}

static void parse_states(struct argp_state *state, struct conn_filter *filter, char *arg)
{
	char *rest = NULL;

	for (char *word = strtok_r(arg, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		if (filter->n_states == CONN_FILTER_STATES)
			options_usage(state, "--state: too many of them");
		filter->states[filter->n_states++] =
			parse_word(state, "state", word, conn_filter_state);
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct conns_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->shared;
		o->shared.has_wide = true;
		return 0;
	case 'n':
		o->filter.namespace = arg;
		return 0;
	case KEY_PEER:
		if (!conn_filter_peer(arg))
			options_usage(state, "--peer=%s: no prefix is that long", arg);
		o->filter.peer = arg;
		return 0;
	case KEY_PORT:
		o->filter.port = (uint16_t)options_number(state, "port", arg, UINT16_MAX);
		return 0;
	case KEY_STATE:
		parse_states(state, &o->filter, arg);
		return 0;
	case KEY_DIRECTION:
		o->filter.direction = parse_word(state, "direction", arg, conn_filter_direction);
		return 0;
	case KEY_VIA:
		o->filter.via = parse_word(state, "via", arg, conn_filter_via);
		return 0;
	case 't':
		o->filter.tcp = true;
		return 0;
	case 'u':
		o->filter.udp = true;
		return 0;
	case 'a':
		o->filter.all = true;
		return 0;
	case KEY_SORT:
		parse_sort(state, o, arg);
		return 0;
	case 'r':
		o->reverse = true;
		return 0;
	case 'w':
		o->wide = true;
		return 0;
	case 'b':
		o->exact = true;
		return 0;
	}
	return opts_set(state->input, key, arg);
}

static const struct argp argp = {
	.options = table,
	.parser = parse,
	.doc = "The TCP connections of this node's pods, now; with -u UDP sockets.\v"
	       "Names may be shell patterns. Read from the pinned maps: no agent is needed. Each "
	       "connection is listed once, as metrics count it, and the proxy's onward legs apart.",
	.children = options_children,
};

/* The protocol where there may be more than one. */
static const char *const narrow[] = { "pod",  "direction", "peer", "protocol", "state",
				      "sent", "received",  "rtt",  "age",      "via" };
static const char *const wide[] = { "pod",	   "workload", "direction", "name",
				    "address",	   "dialled",  "real",	    "protocol",
				    "state",	   "sent",     "received",  "rtt",
				    "retransmits", "age",      "via",	    "reason" };

static size_t choose_fields(const struct conns_options *o,
			    const struct conn_field *fields[ARRAY_SIZE(wide)])
{
	const char *const *names = o->wide ? wide : narrow;
	size_t all = o->wide ? ARRAY_SIZE(wide) : ARRAY_SIZE(narrow), n = 0;

	for (size_t i = 0; i < all; i++)
		if (o->filter.udp || strcmp(names[i], "protocol"))
			fields[n++] = conn_field_find(names[i]);
	return n;
}

/* The terminal's, or COLUMNS, or what every terminal has. */
static size_t screen_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	if (columns && atoi(columns) > 0)
		return (size_t)atoi(columns);
	return NARROW;
}

static void print_text(const struct conns_options *o, const struct conn *conns, size_t n)
{
	const struct conn_field *fields[ARRAY_SIZE(wide)];
	size_t columns = choose_fields(o, fields);
	struct table_column layout[ARRAY_SIZE(wide)];
	_cleanup_table_ struct table t = { .columns = columns,
					   .layout = layout,
					   .width = o->wide ? 0 : screen_width() };

	for (size_t f = 0; f < columns; f++) {
		layout[f] = (struct table_column){ fields[f]->number, fields[f]->shrinks };
		table_add(&t, fields[f]->header);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t f = 0; f < columns; f++) {
			_cleanup_buf_ struct buf b = { 0 };

			fields[f]->format(&b, &conns[i], o->exact || o->wide);
			table_add(&t, buf_text(&b));
		}
	if (n)
		table_print(&t, stdout);
	else
		fprintf(stderr, "no connections\n");
}

static void print_json(const struct conn *conns, size_t n)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, conn_json(&conns[i]));
	answer = json_pack("{s:o}", "connections", list);
	json_print(answer);
}

int weir_conns_main(int argc, char **argv)
{
	struct conns_options o = { .sort = conn_field_find("pod") };
	_cleanup_conn_list_ struct conn_list list = { 0 };
	_cleanup_free_ char *error = NULL;

	options_parse(&argp, argc, argv, &o.shared, &o);
	o.wide = o.wide || o.shared.output == OUTPUT_WIDE;
	if (conn_list_open(o.shared.bpf_dir, &list, &error) < 0)
		return options_fail(&o.shared, "%s", error);
	if (o.filter.udp && !live_has_udp(list.live))
		return options_fail(&o.shared,
				    "-u: nobody counts datagrams here: start the agent with "
				    "--metrics.udp");
	if (conn_list_read(&list, &o.filter, &error) < 0)
		return options_fail(&o.shared, "%s", error);
	conn_sort(list.conns, list.n, o.sort, o.reverse);
	if (o.shared.output == OUTPUT_JSON)
		print_json(list.conns, list.n);
	else
		print_text(&o, list.conns, list.n);
	return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/explain_line.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/inet.h"

enum {
	KEY_TO = 0x200,
	KEY_INBOUND,
	KEY_PROTO,
	KEY_UID,
	KEY_GID,
	KEY_FROM,
	KEY_INTERFACE,
	KEY_BATCH
};

static const struct argp_option table[] = {
	{ "to", KEY_TO, "IP:PORT", 0, "outbound: what the application dials ([IPv6]:PORT)", 1 },
	{ "inbound", KEY_INBOUND, "[IP:]PORT", 0,
	  "inbound: the port of the pod that is dialled, and at which of its addresses", 1 },
	{ "from", KEY_FROM, "IP", 0,
	  "source address (the pod's own; inbound: an address outside the pod)", 2 },
	{ "interface", KEY_INTERFACE, "NAME", 0,
	  "the pod's interface that it comes in by; with --to: from a virtual machine behind it",
	  2 },
	{ "proto", KEY_PROTO, "PROTOCOL", 0, "tcp or udp (tcp)", 2 },
	{ "uid", KEY_UID, "N", 0, "user that opened the socket, as the node sees it (0)", 2 },
	{ "gid", KEY_GID, "N", 0, "its primary group (0)", 2 },
	{ "batch", KEY_BATCH, NULL, 0,
	  "answer questions from standard input, each a line of the arguments above", 3 },
	{ 0 },
};

static void set_to(const struct argp_state *state, struct explain_query *q, const char *arg)
{
	if (inet_parse_endpoint(arg, q->to.ip, &q->port) < 0 || !q->port)
		options_usage(
			state,
			"--to=%s: give IP:PORT, as 10.96.0.1:80 or [fd00::1]:80; names are not "
			"looked up",
			arg);
}

static void set_inbound(const struct argp_state *state, struct explain_query *q, const char *arg)
{
	q->direction = WEIR_INBOUND;
	q->has_to = strchr(arg, ':') != NULL;
	if (q->has_to && inet_parse_endpoint(arg, q->to.ip, &q->port) < 0)
		options_usage(state, "--inbound=%s: give PORT, IP:PORT or [IPv6]:PORT", arg);
	if (!q->has_to)
		q->port = (uint16_t)options_number(state, "inbound", arg, UINT16_MAX);
	if (!q->port)
		options_usage(state, "--inbound=%s: give a port from 1 to 65535", arg);
}

static void set_from(const struct argp_state *state, struct explain_query *q, const char *arg)
{
	if (inet_parse(arg, q->from.ip) < 0 || weir_addr_is_any(&q->from))
		options_usage(state, "--from=%s: give an IP address", arg);
	q->has_from = true;
}

static void set_proto(const struct argp_state *state, struct explain_query *q, const char *arg)
{
	if (strcmp(arg, "tcp") != 0 && strcmp(arg, "udp") != 0)
		options_usage(state, "--proto=%s: give tcp or udp", arg);
	q->udp = strcmp(arg, "udp") == 0;
}

static void set_pod(const struct argp_state *state, struct explain_line *c, const char *arg)
{
	const char *slash = strchr(arg, '/');

	if (c->pod)
		options_usage(state, "one pod at a time, not %s and %s", c->pod, arg);
	if (!slash || slash == arg || !slash[1] || strchr(slash + 1, '/'))
		options_usage(state, "%s: give NAMESPACE/POD", arg);
	c->pod = arg;
}

static void check_line(const struct argp_state *state, const struct explain_line *c)
{
	const struct explain_query *q = &c->query;

	if (c->batch && (c->has_to || c->has_inbound))
		options_usage(state, "--batch: the questions come from standard input");
	if (c->batch)
		return;
	if (!c->pod)
		options_usage(state, "which pod? give NAMESPACE/POD");
	if (c->has_to == c->has_inbound)
		options_usage(state, "give either --to=IP:PORT or --inbound=PORT");
	if ((c->has_to || q->has_to) && q->has_from &&
	    weir_addr_is_v4(&q->from) != weir_addr_is_v4(&q->to))
		options_usage(state, "--from and --%s are of different address families",
			      c->has_to ? "to" : "inbound");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct explain_line *c = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &c->options;
		return 0;
	case KEY_TO:
		set_to(state, &c->query, arg);
		c->has_to = true;
		return 0;
	case KEY_INBOUND:
		set_inbound(state, &c->query, arg);
		c->has_inbound = true;
		return 0;
	case KEY_FROM:
		set_from(state, &c->query, arg);
		return 0;
	case KEY_INTERFACE:
		c->query.interface = arg;
		return 0;
	case KEY_PROTO:
		set_proto(state, &c->query, arg);
		return 0;
	case KEY_UID:
		c->query.uid = options_number(state, "uid", arg, UINT32_MAX);
		c->query.has_uid = true;
		return 0;
	case KEY_GID:
		c->query.gid = options_number(state, "gid", arg, UINT32_MAX);
		c->query.has_gid = true;
		return 0;
	case KEY_BATCH:
		if (state->flags & ARGP_NO_HELP)
			options_usage(state, "--batch: this is one already");
		c->batch = true;
		return 0;
	case ARGP_KEY_ARG:
		set_pod(state, c, arg);
		return 0;
	case ARGP_KEY_END:
		check_line(state, c);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc =
		"NAMESPACE/POD --to=IP:PORT\nNAMESPACE/POD --inbound=PORT\n[NAMESPACE/POD] --batch",
	.doc = "Where a connection would go, and why.\v"
	       "The same decision code runs in the kernel. It is asked with what the pinned maps "
	       "say, "
	       "with or without an agent.",
	.children = options_children,
};

void explain_line_parse(int argc, char **argv, struct explain_line *ret)
{
	*ret = (struct explain_line){ 0 };
	options_parse(&argp, argc, argv, &ret->options, ret);
}

bool explain_line_of_batch(const struct explain_line *batch, char *name, char *text,
			   struct explain_line *ret)
{
	char *argv[EXPLAIN_WORDS + 1] = { name }, *rest = NULL;
	int argc = 1;

	*ret = *batch;
	ret->options.command = name;
	for (char *word = strtok_r(text, " \t\r\n", &rest); word && argc < EXPLAIN_WORDS;
	     word = strtok_r(NULL, " \t\r\n", &rest))
		argv[argc++] = word;
	if (argc == 1)
		return false;
	ret->batch = false;
	if (argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, ret) != 0)
		exit(EX_USAGE);
	ret->batch = true;
	return true;
}

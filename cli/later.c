/* SPDX-License-Identifier: Apache-2.0 */
/* Subcommands whose names are taken and whose work is not done yet. Each says so and fails. */
#include "cli/command.h"
#include "cli/options.h"

static int not_yet(const char *doc, const char *instead, int argc, char **argv)
{
	const struct argp argp = { .doc = doc, .children = options_children };
	struct options o;

	options_parse(&argp, argc, argv, &o, &o);
	return options_fail(&o, "not there yet; %s", instead);
}

int weir_top_main(int argc, char **argv)
{
	return not_yet("The busiest workloads (not there yet).",
		       "ask Prometheus: topk(10, rate(weir_tcp_sent_bytes_total[1m]))", argc, argv);
}

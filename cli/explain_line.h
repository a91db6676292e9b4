/* SPDX-License-Identifier: Apache-2.0 */
/* The question as it is typed: on the command line of weir explain, or on a line of its batch. */
#ifndef WEIR_CLI_EXPLAIN_LINE_H
#define WEIR_CLI_EXPLAIN_LINE_H

#include <stdbool.h>

#include "cli/explain.h"
#include "cli/options.h"

/* Words on a line of a batch; what goes beyond says nothing new, for options overwrite each other.
 */
#define EXPLAIN_WORDS 32

struct explain_line {
	struct options options;
	struct explain_query query;
	const char *pod; /* NAMESPACE/POD */
	bool has_to;
	bool has_inbound;
	bool batch; /* the command line: questions follow; a question: one of several */
};

/* Does not return on bad usage. */
void explain_line_parse(int argc, char **argv, struct explain_line *ret);
/*
 * A line of a batch: what its command line said, and the words of `text`, which is cut up and
 * pointed to like `name` ("weir explain: line 3", for messages). False when the line is empty; bad
 * usage ends the program.
 */
bool explain_line_of_batch(const struct explain_line *batch, char *name, char *text,
			   struct explain_line *ret);

#endif

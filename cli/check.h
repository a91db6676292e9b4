/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir check: points in groups, each of them fine, a warning or a failure that says what to do.
 * Nothing is attached, changed or left behind.
 */
#ifndef WEIR_CLI_CHECK_H
#define WEIR_CLI_CHECK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "cli/maps.h"

enum check_result { CHECK_OK, CHECK_WARNING, CHECK_FAILURE };

struct check {
	const char *bpf_dir;
	const char *run_dir;
	char *cgroup_root; /* as given or as found; NULL when there is none */
	char *mount; /* of the v2 hierarchy; NULL when there is none */
	json_t *groups; /* the report: [{"name", "points": [{"result", "text", "hint"}]}] */
	unsigned int failures;
	unsigned int warnings;
};

/* Starts a group; the points that follow belong to it. */
void check_group(struct check *c, const char *name);
/* hint: what to do, NULL when there is nothing to do. */
void check_point(struct check *c, enum check_result result, const char *hint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* One group each. */
void check_kernel(struct check *c);
void check_capabilities(struct check *c);
void check_programs(struct check *c);
void check_cgroup(struct check *c);
void check_foreign(struct check *c);
void check_agent(struct check *c);

#endif

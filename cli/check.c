/* SPDX-License-Identifier: Apache-2.0 */
/* weir check: runs all groups and prints the report. */
#include "cli/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cgroup.h"
#include "base/opts.h"
#include "cli/command.h"
#include "cli/ctl.h"
#include "cli/options.h"

static const struct {
	const char *name;
	const char *mark;
} results[] = {
	[CHECK_OK] = { "ok", "\xe2\x88\x9a" }, /* √ */
	[CHECK_WARNING] = { "warning", "\xe2\x80\xbc" }, /* ‼ */
	[CHECK_FAILURE] = { "failure", "\xc3\x97" }, /* × */
};

static void (*const groups[])(struct check *) = {
	check_kernel, check_capabilities, check_programs, check_cgroup, check_foreign, check_agent,
};

struct command_line {
	struct options options;
	const char *cgroup_root;
};

static const struct argp_option table[] = {
	{ "cgroup-root", OPT_TEXT(struct command_line, cgroup_root), "PATH", 0,
	  "cgroup of all pods (the one that is found)", 1 },
	{ 0 },
};

static const struct argp argp = {
	.options = table,
	.parser = options_parser,
	.doc = "Whether this node can run weir, and whether weir does its work.\v"
	       "Exits 1 when a point fails; warnings do not count.",
	.children = options_children,
};

void check_group(struct check *c, const char *name)
{
	json_array_append_new(c->groups, json_pack("{s:s, s:[]}", "name", name, "points"));
}

void check_point(struct check *c, enum check_result result, const char *hint, const char *fmt, ...)
{
	json_t *group = json_array_get(c->groups, json_array_size(c->groups) - 1);
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	c->failures += result == CHECK_FAILURE;
	c->warnings += result == CHECK_WARNING;
	json_array_append_new(json_object_get(group, "points"),
			      json_pack("{s:i, s:s%, s:s}", "result", result, "text",
					buf_text(&text), text.len, "hint", hint ?: ""));
}

static void print_text(const struct check *c)
{
	json_t *group, *point;
	size_t i, j;

	json_array_foreach (c->groups, i, group) {
		printf("%s%s\n", i ? "\n" : "", json_text(group, "name"));
		json_array_foreach (json_object_get(group, "points"), j, point) {
			long long result = json_number(point, "result");

			printf("%s %s\n", results[result].mark, json_text(point, "text"));
			if (*json_text(point, "hint"))
				printf("    %s\n", json_text(point, "hint"));
		}
	}
	printf("\n%u failed, %u warnings\n", c->failures, c->warnings);
}

static void print_json(const struct check *c)
{
	_cleanup_json_ json_t *json =
		json_pack("{s:b, s:i, s:i, s:O}", "ok", !c->failures, "failures", (int)c->failures,
			  "warnings", (int)c->warnings, "groups", c->groups);
	json_t *group, *point;
	size_t i, j;

	json_array_foreach (c->groups, i, group)
		json_array_foreach (json_object_get(group, "points"), j, point)
			json_object_set_new(
				point, "result",
				json_string(results[json_number(point, "result")].name));
	json_print(json);
}

static void check_free(struct check *c)
{
	json_decref(c->groups);
	free(c->cgroup_root);
	free(c->mount);
}

int weir_check_main(int argc, char **argv)
{
	struct command_line line = { 0 };
	_cleanup_(check_free) struct check c = { 0 };

	options_parse(&argp, argc, argv, &line.options, &line);
	c.bpf_dir = line.options.bpf_dir;
	c.run_dir = line.options.run_dir;
	c.cgroup_root = line.cgroup_root ? xstrdup(line.cgroup_root) : NULL;
	c.groups = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		groups[i](&c);
	if (line.options.output == OUTPUT_JSON)
		print_json(&c);
	else
		print_text(&c);
	return c.failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

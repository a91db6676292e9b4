/* SPDX-License-Identifier: Apache-2.0 */
/* weir status: what the agent says of itself; without an agent, what is pinned. */
#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/command.h"
#include "cli/ctl.h"
#include "cli/fallback.h"
#include "cli/maps.h"
#include "cli/options.h"
#include "cli/pinned.h"
#include "cli/columns.h"

static const struct argp argp = {
	.doc = "What the agent does: hooks, pods, problems.\v"
	       "Without an agent it tells from the pinned programs what happens to traffic.",
	.children = options_children,
};

/* What is printed of the answer, in this order, when it is there. */
static const struct {
	const char *key;
	const char *label;
} fields[] = {
	{ "started", "started" },    { "node", "node" },    { "mesh", "mesh" },
	{ "cgroup_root", "cgroup" }, { "bpf_dir", "maps" }, { "pods_dir", "pod files" },
	{ "metrics", "metrics" },
};

static void add_pods(struct table *t, const json_t *pods)
{
	_cleanup_buf_ struct buf line = { 0 };
	const char *state;
	json_t *n;

	json_object_foreach ((json_t *)pods, state, n)
		buf_printf(&line, "%s%" JSON_INTEGER_FORMAT " %s", line.len ? ", " : "",
			   json_integer_value(n), state);
	for (char *p = line.data; p && *p; p++)
		if (*p == '_')
			*p = ' ';
	table_add(t, "pods");
	table_add(t, buf_text(&line));
}

static void add_api(struct table *t, const json_t *kubernetes)
{
	const char *error = json_text(kubernetes, "error");

	if (!json_is_object(kubernetes))
		return;
	table_add(t, "kubernetes");
	table_addf(t, "%s %s since %s%s%s", json_text(kubernetes, "server"),
		   json_flag(kubernetes, "reachable") ? "reachable" : "NOT reachable",
		   json_text(kubernetes, "since"), *error ? ": " : "", error);
}

/* How long ago what is known was last known to be current. */
static void add_age(struct table *t, const json_t *resource)
{
	double age = json_real_value(json_object_get(resource, "age_seconds"));

	if (json_is_real(json_object_get(resource, "age_seconds")))
		table_addf(t, age < 10 ? "%.1fs" : "%.0fs", age);
	else
		table_add(t, "never");
}

static void print_resources(const json_t *resources)
{
	static const char *const header[] = { "RESOURCE", "WATCH",  "SINCE", "AGE",   "VERSION",
					      "OBJECTS",  "BROKEN", "LISTS", "ERRORS" };
	static const char *const counts[] = { "objects", "broken", "lists", "errors" };
	_cleanup_table_ struct table t = { .columns = ARRAY_SIZE(header) };
	json_t *resource;
	size_t i;

	if (!json_array_size(resources))
		return;
	for (size_t c = 0; c < ARRAY_SIZE(header); c++)
		table_add(&t, header[c]);
	json_array_foreach ((json_t *)resources, i, resource) {
		table_add(&t, json_text(resource, "resource"));
		table_add(&t, json_flag(resource, "up") ? "open" : "NO");
		table_add(&t, json_text(resource, "since"));
		add_age(&t, resource);
		table_add(&t, json_text(resource, "version"));
		for (size_t c = 0; c < ARRAY_SIZE(counts); c++)
			table_addf(&t, "%lld", json_number(resource, counts[c]));
	}
	putchar('\n');
	table_print(&t, stdout);
}

static void print_hooks(const json_t *hooks)
{
	_cleanup_table_ struct table t = { .columns = 3 };
	size_t i;
	json_t *hook;

	if (!json_array_size(hooks))
		return;
	table_add(&t, "HOOK");
	table_add(&t, "ATTACHED");
	table_add(&t, "DETAIL");
	json_array_foreach ((json_t *)hooks, i, hook) {
		table_add(&t, json_text(hook, "name"));
		table_add(&t, json_flag(hook, "attached") ? "yes" : "NO");
		table_add(&t, json_text(hook, "detail"));
	}
	putchar('\n');
	table_print(&t, stdout);
}

static void print_notes(const json_t *notes)
{
	size_t i;
	json_t *note;

	json_array_foreach ((json_t *)notes, i, note)
		printf("%snote: %s\n", i ? "" : "\n", json_string_value(note));
}

static void print_status(const json_t *status)
{
	_cleanup_table_ struct table t = { .columns = 2 };

	table_add(&t, "agent");
	if (json_object_get(status, "pid"))
		table_addf(&t, "%s, version %s, pid %lld",
			   json_flag(status, "ready") ? "ready" : "not ready yet",
			   json_text(status, "version"), json_number(status, "pid"));
	else
		table_add(&t, "not running");
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!*json_text(status, fields[i].key))
			continue;
		table_add(&t, fields[i].label);
		table_add(&t, json_text(status, fields[i].key));
	}
	add_api(&t, json_object_get(status, "kubernetes"));
	add_pods(&t, json_object_get(status, "pods"));
	table_print(&t, stdout);
	print_resources(json_object_get(json_object_get(status, "kubernetes"), "resources"));
	print_hooks(json_object_get(status, "hooks"));
	print_notes(json_object_get(status, "notes"));
}

static json_t *count_states(const struct pod_list *pods)
{
	json_t *counts =
		json_pack("{s:i, s:i, s:i}", "captured", 0, "not_captured", 0, "failed", 0);

	for (size_t i = 0; i < pods->n; i++) {
		const char *state = maps_state_name(&pods->items[i]);

		json_object_set_new(counts, state, json_integer(json_number(counts, state) + 1));
	}
	return counts;
}

static json_t *pinned_hooks(const char *bpf_dir)
{
	json_t *hooks = json_array();

	for (size_t i = 0; i < pinned_hooks_n; i++) {
		_cleanup_free_ char *path = xasprintf("%s/links/%s", bpf_dir, pinned_hook_names[i]);
		struct pinned_link link;
		int r = pinned_link_read(path, &link);
		bool attached = r == 0 && link.attached;

		json_array_append_new(hooks,
				      json_pack("{s:s, s:b, s:s}", "name", pinned_hook_names[i],
						"attached", attached, "detail",
						attached       ? ""
						: r == 0       ? "pinned, but detached"
						: r == -ENOENT ? "not pinned"
							       : strerror(-r)));
	}
	return hooks;
}

static int status_from_maps(const struct options *o, int ctl_err)
{
	_cleanup_free_ char *why = ctl_error(o->run_dir, ctl_err);
	_cleanup_pods_ struct pod_list pods = { 0 };
	_cleanup_json_ json_t *status = NULL;
	int r = maps_pods(o->bpf_dir, &pods);

	if (r == -ENOENT)
		return options_fail(o, "%s; nothing is pinned under %s either", why, o->bpf_dir);
	if (r < 0) {
		_cleanup_free_ char *text = maps_error(o->bpf_dir, "weir_pod_names", r);

		return options_fail(o, "%s; %s", why, text);
	}
	fallback_say(o, ctl_err);
	status = json_pack("{s:b, s:s, s:o, s:o, s:[s]}", "ready", false, "bpf_dir", o->bpf_dir,
			   "pods", count_states(&pods), "hooks", pinned_hooks(o->bpf_dir), "notes",
			   "told from the pinned maps and links: no agent answers");
	if (o->output == OUTPUT_JSON)
		json_print(status);
	else
		print_status(status);
	return EXIT_SUCCESS;
}

int weir_status_main(int argc, char **argv)
{
	_cleanup_json_ json_t *status = NULL;
	struct options o;
	int r;

	options_parse(&argp, argc, argv, &o, &o);
	r = ctl_ask(o.run_dir, "status", &status);
	if (r < 0)
		return status_from_maps(&o, r);
	if (o.output == OUTPUT_JSON)
		json_print(status);
	else
		print_status(status);
	return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The agent, and what it has pinned. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/check.h"
#include "cli/ctl.h"
#include "cli/pinned.h"

static const char *const restart = "restart the agent: it attaches again what is missing";

static void check_ready(struct check *c, const json_t *status)
{
	json_t *note;
	size_t i;

	check_point(c, CHECK_OK, NULL, "the agent answers: version %s, pid %lld",
		    json_text(status, "version"), json_number(status, "pid"));
	if (json_flag(status, "ready"))
		check_point(c, CHECK_OK, NULL, "the agent is ready");
	else
		check_point(c, CHECK_FAILURE, "its log says what it waits for",
			    "the agent is not ready");
	json_array_foreach (json_object_get(status, "notes"), i, note)
		check_point(c, CHECK_WARNING, NULL, "the agent notes: %s", json_string_value(note));
}

/* Not installed is no failure: the other groups are what one wants to know before. */
static void report_no_agent(struct check *c, int err, bool installed)
{
	_cleanup_free_ char *text = ctl_error(c->run_dir, err);

	if (ctl_nobody(err) && !installed)
		check_point(c, CHECK_WARNING, "start it: weir agent", "weir does not run here yet");
	else if (ctl_nobody(err))
		check_point(c, CHECK_FAILURE,
			    "start it: known pods stay diverted, new ones wait for it",
			    "the agent is not running");
	else
		check_point(c, CHECK_FAILURE, "see its log, restart it if it hangs", "%s", text);
}

static void check_hook(struct check *c, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/links/%s", c->bpf_dir, name);
	struct pinned_link link;
	int r = pinned_link_read(path, &link);

	if (r < 0)
		check_point(c, CHECK_FAILURE, restart, "hook %s: %s", name,
			    r == -ENOENT ? "not pinned" : strerror(-r));
	else if (!link.attached)
		check_point(c, CHECK_FAILURE, restart,
			    "hook %s: detached, or its cgroup was removed", name);
	else
		check_point(c, CHECK_OK, NULL, "hook %s is attached", name);
}

static void check_netns_links(struct check *c, const struct pod_list *pods)
{
	unsigned int captured = 0, attached = 0;

	for (size_t i = 0; i < pods->n; i++) {
		const struct pod_entry *pod = &pods->items[i];
		_cleanup_free_ char *path =
			xasprintf("%s/netns/%llu", c->bpf_dir, (unsigned long long)pod->cookie);
		struct pinned_link link;
		int r;

		if (!pod->has_policy || pod->policy.mode == WEIR_MODE_OBSERVE)
			continue;
		captured++;
		r = pinned_link_read(path, &link);
		if (r == 0 && link.attached)
			attached++;
		else
			check_point(c, CHECK_FAILURE, restart,
				    "pod %s/%s: inbound connections are not diverted (%s)",
				    pod->names.namespace, pod->names.name,
				    r == 0	   ? "its network namespace is gone"
				    : r == -ENOENT ? "not attached"
						   : strerror(-r));
	}
	if (attached == captured)
		check_point(c, CHECK_OK, NULL,
			    "inbound connections are diverted in %u of %u captured pods", attached,
			    captured);
}

static void check_failed_pods(struct check *c)
{
	_cleanup_json_ json_t *answer = NULL;
	unsigned int failed = 0;
	json_t *item;
	size_t i;

	if (ctl_ask(c->run_dir, "pods", &answer) < 0)
		return;
	json_array_foreach (json_object_get(answer, "pods"), i, item) {
		if (strcmp(json_text(item, "state"), "failed") != 0)
			continue;
		failed++;
		check_point(c, CHECK_FAILURE, json_text(item, "reason"),
			    "pod %s/%s cannot be captured, so its traffic is refused",
			    json_text(item, "namespace"), json_text(item, "name"));
	}
	json_array_foreach (json_object_get(answer, "errors"), i, item)
		check_point(c, CHECK_WARNING, json_text(item, "error"), "%s is not understood",
			    json_text(item, "file"));
	if (!failed)
		check_point(c, CHECK_OK, NULL, "no pod failed");
}

void check_agent(struct check *c)
{
	_cleanup_pods_ struct pod_list pods = { 0 };
	_cleanup_json_ json_t *status = NULL;
	int maps = maps_pods(c->bpf_dir, &pods);
	int r = ctl_ask(c->run_dir, "status", &status);

	check_group(c, "agent");
	if (r == 0)
		check_ready(c, status);
	else
		report_no_agent(c, r, maps != -ENOENT);
	if (maps < 0 && (r == 0 || maps != -ENOENT)) {
		_cleanup_free_ char *text = maps_error(c->bpf_dir, "weir_pod_names", maps);

		check_point(c, CHECK_FAILURE, "give the agent's --bpf-dir", "%s", text);
	}
	if (maps < 0)
		return;
	for (size_t i = 0; i < pinned_hooks_n; i++)
		check_hook(c, pinned_hook_names[i]);
	check_netns_links(c, &pods);
	if (r == 0)
		check_failed_pods(c);
}

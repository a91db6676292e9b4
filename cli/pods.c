/* SPDX-License-Identifier: Apache-2.0 */
/* weir pods: the pods of this node and what becomes of their traffic. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "base/brief.h"
#include "base/buf.h"
#include "base/inet.h"
#include "cli/command.h"
#include "cli/ctl.h"
#include "cli/fallback.h"
#include "cli/maps.h"
#include "cli/options.h"
#include "cli/columns.h"
#include "maps/flow.h"

static const struct argp argp = {
	.doc = "The pods of this node and what becomes of their traffic.\v"
	       "Without an agent it lists what the pinned maps hold.",
	.children = options_children,
};

static const char *const header[] = { "NAMESPACE", "NAME", "MESH",  "STATE",
				      "PROXY",	   "IP",   "FOUND", "REASON" };

static void add_ips(struct table *t, const json_t *ips)
{
	_cleanup_buf_ struct buf line = { 0 };
	json_t *ip;
	size_t i;

	json_array_foreach ((json_t *)ips, i, ip)
		buf_printf(&line, "%s%s", i ? "," : "", json_string_value(ip));
	table_add(t, buf_text(&line));
}

/* Outbound and inbound port of the proxy. */
static void add_proxy(struct table *t, const json_t *proxy)
{
	if (json_is_object(proxy))
		table_addf(t, "%lld/%lld", json_number(proxy, "outbound_port"),
			   json_number(proxy, "inbound_port"));
	else
		table_add(t, NULL);
}

static void print_warnings(const json_t *pod)
{
	json_t *warning;
	size_t i;

	json_array_foreach (json_object_get(pod, "warnings"), i, warning) {
		_cleanup_free_ char *text = brief(json_string_value(warning), BRIEF_REASON);

		fprintf(stderr, "%s/%s: %s\n", json_text(pod, "namespace"), json_text(pod, "name"),
			text);
	}
}

static void print_pods(const json_t *pods)
{
	_cleanup_table_ struct table t = { .columns = ARRAY_SIZE(header) };
	json_t *pod;
	size_t i;

	for (size_t c = 0; c < ARRAY_SIZE(header); c++)
		table_add(&t, header[c]);
	json_array_foreach ((json_t *)pods, i, pod) {
		_cleanup_free_ char *reason = brief(json_text(pod, "reason"), BRIEF_REASON);

		table_add(&t, json_text(pod, "namespace"));
		table_add(&t, json_text(pod, "name"));
		table_add(&t, json_text(pod, "mesh"));
		table_add(&t, json_text(pod, "state"));
		add_proxy(&t, json_object_get(pod, "proxy"));
		add_ips(&t, json_object_get(pod, "ips"));
		table_add(&t, json_text(pod, "found_by"));
		table_add(&t, reason);
	}
	if (i)
		table_print(&t, stdout);
	else
		fprintf(stderr, "no pods\n");
	fflush(stdout);
	json_array_foreach ((json_t *)pods, i, pod)
		print_warnings(pod);
}

static void print_errors(const json_t *errors)
{
	json_t *error;
	size_t i;

	json_array_foreach ((json_t *)errors, i, error)
		fprintf(stderr, "%s: %s\n", json_text(error, "file"), json_text(error, "error"));
}

static void print_answer(const struct options *o, const json_t *answer)
{
	if (o->output == OUTPUT_JSON) {
		json_print(answer);
		return;
	}
	print_pods(json_object_get(answer, "pods"));
	print_errors(json_object_get(answer, "errors"));
}

static void append_ip(json_t *ips, const struct weir_addr *addr)
{
	char text[INET_TEXT];

	if (!weir_addr_is_any(addr))
		json_array_append_new(ips, json_string(inet_format(addr->ip, text)));
}

static void add_workload(json_t *json, int names_fd, uint32_t id)
{
	struct weir_name name;

	if (names_fd < 0 || bpf_map_lookup_elem(names_fd, &id, &name) < 0)
		return;
	name.name[sizeof(name.name) - 1] = name.kind[sizeof(name.kind) - 1] = '\0';
	json_object_set_new(json, "workload", json_string(name.name));
	json_object_set_new(json, "workload_kind", json_string(name.kind));
}

static void add_policy(json_t *json, const struct weir_pod *policy)
{
	json_t *ips = json_array();

	append_ip(ips, &policy->ip4);
	append_ip(ips, &policy->ip6);
	json_object_set_new(json, "ips", ips);
	if (policy->mode == WEIR_MODE_CAPTURE)
		json_object_set_new(json, "proxy",
				    json_pack("{s:i, s:i, s:I, s:I}", "outbound_port",
					      policy->outbound_port, "inbound_port",
					      policy->inbound_port, "uid",
					      (json_int_t)policy->proxy_uid, "gid",
					      (json_int_t)policy->proxy_gid));
}

/* All that the agent would say of it; what only the agent knows is empty. */
static json_t *pod_from_maps(const struct pod_entry *pod, int names_fd)
{
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:[], s:[]}",
		"namespace", pod->names.namespace, "name", pod->names.name, "uid", pod->names.uid,
		"mesh", maps_mesh_name(pod->names.mesh), "state", maps_state_name(pod), "reason",
		"", "netns", pod->names.netns, "netns_cookie", (json_int_t)pod->cookie, "workload",
		"", "workload_kind", "", "cgroup", "", "found_by", "", "file", "", "warnings",
		"ips");

	if (!json) /* a name that is not UTF-8: no name of a pod */
		return json_pack("{s:s, s:I}", "error", "not printable", "netns_cookie",
				 (json_int_t)pod->cookie);
	if (pod->has_policy) {
		add_policy(json, &pod->policy);
		add_workload(json, names_fd, pod->policy.workload);
	}
	return json;
}

static int pods_from_maps(const struct options *o, int ctl_err)
{
	_cleanup_close_ int names_fd =
		maps_open(o->bpf_dir, "weir_names", sizeof(uint32_t), sizeof(struct weir_name));
	_cleanup_free_ char *why = ctl_error(o->run_dir, ctl_err);
	_cleanup_pods_ struct pod_list pods = { 0 };
	_cleanup_json_ json_t *answer = NULL;
	json_t *list = json_array();
	int r = maps_pods(o->bpf_dir, &pods);

	answer = json_pack("{s:o, s:[], s:s}", "pods", list, "errors", "told_by", "maps");
	if (r < 0) {
		_cleanup_free_ char *text = maps_error(o->bpf_dir, "weir_pod_names", r);

		return options_fail(o, "%s; %s", why, text);
	}
	fallback_say(o, ctl_err);
	for (size_t i = 0; i < pods.n; i++)
		json_array_append_new(list, pod_from_maps(&pods.items[i], names_fd));
	print_answer(o, answer);
	return EXIT_SUCCESS;
}

int weir_pods_main(int argc, char **argv)
{
	_cleanup_json_ json_t *answer = NULL;
	struct options o;
	int r;

	options_parse(&argp, argc, argv, &o, &o);
	r = ctl_ask(o.run_dir, "pods", &answer);
	if (r < 0)
		return pods_from_maps(&o, r);
	print_answer(&o, answer);
	return EXIT_SUCCESS;
}

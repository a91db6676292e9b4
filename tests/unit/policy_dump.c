/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pods compile to, without a kernel: reads a Kubernetes object or List as JSON from each file
 * that is named (or from standard input) and writes one policy a line, as JSON, for each pod.
 * Namespaces and Services in the same text count. For tests that compare, and for people.
 */
#include "agent/object.h"
#include "agent/policy.h"
#include "base/buf.h"
#include "base/inet.h"

#include <stdio.h>
#include <string.h>

static const char *const flags[] = {
	"ipv4",
	"ipv6",
	"out_all",
	"out_cidrs",
	"out_ports",
	"out_ports_exclude",
	"out_cidrs_exclude",
	"out_loopback",
	"in_all",
	"in_ports",
	"in_ports_exclude",
	"in_sources_exclude",
	"proxy_uid",
	"proxy_gid",
	"dns",
	"dns_all",
	"tproxy",
	"proxy_uids",
	"proxy_gids",
	"groups_include",
	"groups_exclude",
	"if_exclude",
	"if_virtual",
};

static const char *const lists[WEIR_LIST_MAX] = {
#define X(number, NAME, name) [number] = #name,
	WEIR_LISTS(X)
#undef X
};

static const char *const settings[WEIR_SETTING_MAX] = {
	[WEIR_SETTING_PROXY_UID] = "proxy_uid",
	[WEIR_SETTING_PROXY_GID] = "proxy_gid",
	[WEIR_SETTING_OUTBOUND_PORT] = "outbound_port",
	[WEIR_SETTING_INBOUND_PORT] = "inbound_port",
	[WEIR_SETTING_BEFORE_PROXY] = "before_proxy",
	[WEIR_SETTING_PROXY_DOWN] = "proxy_down",
	[WEIR_SETTING_CAPTURE] = "capture",
	[WEIR_SETTING_DNS] = "dns",
	[WEIR_SETTING_MODE] = "mode",
	[WEIR_SETTING_LOOPBACK] = "loopback",
	[WEIR_SETTING_FAMILIES] = "families",
};

static const char *const sources[] = {
#define X(number, NAME, text) [number] = text,
	WEIR_SOURCES(X)
#undef X
};

static void put_string(json_t *o, const char *key, const char *text)
{
	json_object_set_new(o, key, json_string(text) ?: json_string("(not UTF-8)"));
}

static void put_number(json_t *o, const char *key, int64_t n)
{
	json_object_set_new(o, key, json_integer(n));
}

static void put_addr(json_t *o, const char *key, const struct weir_addr *addr)
{
	char text[INET_TEXT];

	put_string(o, key, inet_format(addr->ip, text));
}

static json_t *list_of(json_t *all, enum weir_list list)
{
	json_t *items = json_object_get(all, lists[list]);

	if (items)
		return items;
	items = json_array();
	json_object_set_new(all, lists[list], items);
	return items;
}

static void add_item(json_t *all, enum weir_list list, char *text)
{
	json_array_append_new(list_of(all, list), json_string(text));
	free(text);
}

static json_t *dump_lists(const struct policy *p)
{
	json_t *all = json_object();

	for (size_t i = 0; i < p->n_ports; i++) {
		const struct port_range *r = &p->ports[i];

		add_item(all, r->list,
			 r->lo == r->hi ? xasprintf("%u", r->lo)
					: xasprintf("%u-%u", r->lo, r->hi));
	}
	for (size_t i = 0; i < p->n_cidrs; i++) {
		const struct cidr *c = &p->cidrs[i];
		unsigned int v4 = weir_addr_is_v4(&c->addr) && c->bits >= 96 ? 96 : 0;
		char text[INET_TEXT];

		add_item(all, c->list,
			 xasprintf("%s/%u", inet_format(c->addr.ip, text), c->bits - v4));
	}
	for (size_t i = 0; i < p->n_ids; i++)
		add_item(all, p->ids[i].list, xasprintf("%u", p->ids[i].id));
	for (size_t i = 0; i < p->n_interfaces; i++)
		add_item(all, p->interfaces[i].list, xstrdup(p->interfaces[i].name));
	return all;
}

static json_t *dump_sources(const struct policy *p)
{
	json_t *o = json_object();

	for (size_t i = 1; i < WEIR_SETTING_MAX; i++) {
		const char *name = i < WEIR_LIST_MAX ? lists[i] : settings[i];

		if (name)
			put_string(o, name, sources[p->sources[i]]);
	}
	return o;
}

static json_t *dump_flags(const struct policy *p)
{
	json_t *names = json_array();

	for (size_t i = 0; i < 32; i++)
		if (p->pod.flags & 1U << i)
			json_array_append_new(names,
					      json_string(i < ARRAY_SIZE(flags) ? flags[i] : "?"));
	return names;
}

static void dump_rules(json_t *o, const struct weir_pod *pod)
{
	static const char *const modes[] = { "observe", "capture", "refuse" };
	const uint8_t *net = pod->loopback_net;
	_cleanup_free_ char *loopback =
		xasprintf("%u.%u.%u.%u/%u", net[0], net[1], net[2], net[3], pod->loopback_bits);

	put_string(o, "mode", modes[pod->mode]);
	put_string(o, "rules", pod->rules == WEIR_RULES_LINKERD ? "linkerd" : "istio");
	put_string(o, "before_proxy", pod->before_proxy ? "direct" : "refuse");
	put_string(o, "proxy_down", pod->proxy_down ? "direct" : "refuse");
	put_number(o, "proxy_uid", pod->proxy_uid);
	put_number(o, "proxy_gid", pod->proxy_gid);
	put_number(o, "outbound_port", pod->outbound_port);
	put_number(o, "inbound_port", pod->inbound_port);
	put_number(o, "tunnel_port", pod->tunnel_port);
	put_number(o, "dns_port", pod->dns_port);
	put_string(o, "loopback", loopback);
	put_addr(o, "ip4", &pod->ip4);
	put_addr(o, "ip6", &pod->ip6);
}

static json_t *dump(const struct pod *pod, const struct policy *p)
{
	json_t *o = json_object(), *warnings = json_array();

	put_string(o, "namespace", pod->namespace);
	put_string(o, "name", pod->name);
	put_string(o, "state", policy_state_name(p->state));
	put_string(o, "mesh", policy_mesh_name(p->mesh));
	put_string(o, "reason", p->reason);
	dump_rules(o, &p->pod);
	put_number(o, "generation", policy_generation(p));
	json_object_set_new(o, "flags", dump_flags(p));
	json_object_set_new(o, "lists", dump_lists(p));
	json_object_set_new(o, "sources", dump_sources(p));
	for (size_t i = 0; i < p->n_warnings; i++)
		json_array_append_new(warnings, json_string(p->warnings[i]));
	json_object_set_new(o, "warnings", warnings);
	return o;
}

static const struct service *find_service(const struct objects *o, const char *namespace,
					  const char *name)
{
	for (size_t i = 0; i < o->n_services; i++)
		if (!strcmp(o->services[i]->namespace, namespace) &&
		    !strcmp(o->services[i]->name, name))
			return o->services[i];
	return NULL;
}

static void dump_pod(const struct objects *o, const struct pod *pod)
{
	struct policy_options options = {
		.api_server = find_service(o, "default", "kubernetes"),
		.cluster_dns = find_service(o, "kube-system", "kube-dns"),
	};
	_cleanup_policy_ struct policy *p = NULL;
	json_t *out;

	for (size_t i = 0; i < o->n_namespaces; i++) {
		if (strcmp(o->namespaces[i]->name, pod->namespace))
			continue;
		options.namespace_annotations = &o->namespaces[i]->annotations;
		options.namespace_labels = &o->namespaces[i]->labels;
	}
	policy_compile(pod, &options, &p);
	out = dump(pod, p);
	json_dumpf(out, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(out);
}

static int dump_file(const char *name, FILE *f)
{
	_cleanup_objects_ struct objects objects = { 0 };
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_free_ char *error = NULL;
	char chunk[65536];
	size_t n;

	while ((n = fread(chunk, 1, sizeof(chunk), f)))
		buf_add(&text, chunk, n);
	if (objects_parse(buf_text(&text), text.len, &objects, &error) < 0) {
		fprintf(stderr, "%s: %s\n", name, error);
		return 1;
	}
	for (size_t i = 0; i < objects.n_errors; i++)
		fprintf(stderr, "%s: %s\n", name, objects.errors[i]);
	for (size_t i = 0; i < objects.n_pods; i++)
		dump_pod(&objects, objects.pods[i]);
	return objects.n_errors != 0;
}

int main(int argc, char **argv)
{
	int status = argc < 2 ? dump_file("standard input", stdin) : 0;

	for (int i = 1; i < argc; i++) {
		_cleanup_fclose_ FILE *f = fopen(argv[i], "r");

		if (!f)
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
		status |= !f || dump_file(argv[i], f);
	}
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Kubernetes objects from JSON. A field of the wrong type is an error that names it. */
#include "agent/object.h"

#include "base/buf.h"
#include "base/inet.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define MAX_NAMESPACE 63 /* Kubernetes' lengths, for which struct weir_pod_names is made */
#define MAX_NAME      253

#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

int field_addrs(const json_t *o, const char *path, const char *key, const char *within,
		struct weir_addr **ret, size_t *ret_n, char **ret_error)
{
	_cleanup_free_ struct weir_addr *addrs = NULL;
	const json_t *list, *item;
	size_t i, n = 0;
	int r;

	r = field_array(o, path, key, &list, ret_error);
	if (r < 0)
		return r;
	addrs = xcalloc(json_array_size(list), sizeof(*addrs));
	json_array_foreach (list, i, item) {
		const json_t *text = within ? json_object_get(item, within) : item;

		if (json_is_object(item) && (!text || json_is_null(text)))
			continue; /* a load balancer known by its host name alone */
		if (!json_is_string(text))
			return fail(ret_error, "%s.%s[%zu] is no address", path, key, i);
		if (inet_parse(json_string_value(text), addrs[n].ip) < 0)
			return fail(ret_error, "%s.%s[%zu]: '%s' is no IP address", path, key, i,
				    json_string_value(text));
		n++;
	}
	*ret = TAKE_PTR(addrs);
	*ret_n = n;
	return 0;
}

/*
 * Names end up in tables of fixed width, in file names and in log lines. The API admits only DNS
 * names; a file may hold anything.
 */
static int check_name(const char *path, const char *name, size_t max, char **ret_error)
{
	if (!name || !*name)
		return fail(ret_error, "%s is missing", path);
	if (strlen(name) > max)
		return fail(ret_error, "%s has %zu bytes, more than %zu", path, strlen(name), max);
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '/')
			return fail(ret_error,
				    "%s '%s' holds a space, a slash or a control character", path,
				    name);
	return 0;
}

int field_meta(const json_t *object, const char *kind, const json_t **ret_metadata,
	       char **ret_namespace, char **ret_name, char **ret_error)
{
	_cleanup_free_ char *actual = NULL, *namespace = NULL, *name = NULL;
	const json_t *metadata;
	int r;

	if (!json_is_object(object))
		return fail(ret_error, "this is %s, not a %s", field_type(object), kind);
	r = field_string(object, "", "kind", &actual, ret_error);
	if (r < 0)
		return r;
	if (actual && strcmp(actual, kind))
		return fail(ret_error, "kind is %s, not %s", actual, kind);
	r = field_object(object, "", "metadata", &metadata, ret_error);
	if (!r && !metadata)
		r = fail(ret_error, "metadata is missing");
	if (!r)
		r = field_string(metadata, "metadata", "name", &name, ret_error);
	if (!r)
		r = check_name("metadata.name", name, MAX_NAME, ret_error);
	if (!r && ret_namespace)
		r = field_string(metadata, "metadata", "namespace", &namespace, ret_error);
	if (!r && ret_namespace)
		r = check_name("metadata.namespace", namespace, MAX_NAMESPACE, ret_error);
	if (r < 0)
		return r;
	*ret_metadata = metadata;
	*ret_name = TAKE_PTR(name);
	if (ret_namespace)
		*ret_namespace = TAKE_PTR(namespace);
	return 0;
}

/* "None" is what a headless Service has. */
static int add_cluster_ip(struct service *s, const char *text, char **ret_error)
{
	if (!*text || !strcmp(text, "None"))
		return 0;
	if (inet_parse(text, s->cluster_ips[s->n_cluster_ips].ip) < 0)
		return fail(ret_error, "spec.clusterIPs: '%s' is no IP address", text);
	s->n_cluster_ips++;
	return 0;
}

/* clusterIPs, or clusterIP of old objects. */
static int parse_cluster_ips(struct service *s, const json_t *spec, char **ret_error)
{
	_cleanup_free_ char *single = NULL;
	const json_t *list, *item;
	size_t i;
	int r;

	r = field_array(spec, "spec", "clusterIPs", &list, ret_error);
	if (!r)
		r = field_string(spec, "spec", "clusterIP", &single, ret_error);
	if (r < 0)
		return r;
	s->cluster_ips = xcalloc(json_array_size(list) + 1, sizeof(*s->cluster_ips));
	if (!json_array_size(list))
		return add_cluster_ip(s, single ?: "", ret_error);
	json_array_foreach (list, i, item) {
		if (!json_is_string(item))
			return fail(ret_error, "spec.clusterIPs[%zu] is %s, not a string", i,
				    field_type(item));
		r = add_cluster_ip(s, json_string_value(item), ret_error);
		if (r < 0)
			return r;
	}
	return 0;
}

/* spec.externalIPs and the addresses of the load balancer, one after the other. */
static int parse_external_ips(struct service *s, const json_t *spec, const json_t *object,
			      char **ret_error)
{
	const json_t *status, *balancer = NULL;
	_cleanup_free_ struct weir_addr *more = NULL;
	size_t n_more = 0;
	int r;

	r = field_addrs(spec, "spec", "externalIPs", NULL, &s->external_ips, &s->n_external_ips,
			ret_error);
	if (!r)
		r = field_object(object, "", "status", &status, ret_error);
	if (!r)
		r = field_object(status, "status", "loadBalancer", &balancer, ret_error);
	if (!r)
		r = field_addrs(balancer, "status.loadBalancer", "ingress", "ip", &more, &n_more,
				ret_error);
	if (r < 0 || !n_more)
		return r;
	s->external_ips =
		xrealloc(s->external_ips, (s->n_external_ips + n_more) * sizeof(*s->external_ips));
	memcpy(s->external_ips + s->n_external_ips, more, n_more * sizeof(*more));
	s->n_external_ips += n_more;
	return 0;
}

/* A number, or the name of a port that each pod may number as it likes. */
static int parse_target_port(struct service_port *port, const json_t *item, const char *path,
			     char **ret_error)
{
	int64_t number = 0;
	int r = 0;

	if (!json_is_string(json_object_get(item, "targetPort")))
		r = field_int(item, path, "targetPort", 0, UINT16_MAX, 0, &number, ret_error);
	if (!r && json_is_string(json_object_get(item, "targetPort")))
		port->target_port = 0;
	else if (!r)
		port->target_port = number ? (uint16_t)number : port->port;
	return r;
}

uint8_t protocol_parse(const char *name)
{
	if (name && !strcmp(name, "UDP"))
		return IPPROTO_UDP;
	return name && !strcmp(name, "SCTP") ? IPPROTO_SCTP : IPPROTO_TCP;
}

static int parse_service_port(void *ctx, const json_t *item, const char *path, char **ret_error)
{
	struct service *s = ctx;
	_cleanup_free_ char *protocol = NULL;
	struct service_port *port;
	int64_t number, node_port = 0;
	int r;

	list_append(s->ports, s->n_ports, (struct service_port){ 0 });
	port = &s->ports[s->n_ports - 1];
	r = field_int(item, path, "port", 1, UINT16_MAX, 0, &number, ret_error);
	if (!r && !number)
		r = fail(ret_error, "%s.port is missing", path);
	if (!r)
		r = field_int(item, path, "nodePort", 0, UINT16_MAX, 0, &node_port, ret_error);
	if (!r)
		r = field_string(item, path, "protocol", &protocol, ret_error);
	if (!r)
		r = field_string(item, path, "name", &port->name, ret_error);
	if (r < 0)
		return r;
	port->port = (uint16_t)number;
	port->node_port = (uint16_t)node_port;
	port->protocol = protocol_parse(protocol);
	return parse_target_port(port, item, path, ret_error);
}

static int parse_service_spec(struct service *s, const json_t *object, char **ret_error)
{
	const json_t *spec;
	int r;

	r = field_object(object, "", "spec", &spec, ret_error);
	if (!r)
		r = field_string(spec, "spec", "type", &s->type, ret_error);
	if (!r && !s->type)
		s->type = xstrdup("ClusterIP");
	if (!r)
		r = parse_cluster_ips(s, spec, ret_error);
	if (!r)
		r = parse_external_ips(s, spec, object, ret_error);
	if (!r)
		r = field_pairs(spec, "spec", "selector", &s->selector, ret_error);
	if (!r)
		r = field_each(spec, "spec", "ports", parse_service_port, s, ret_error);
	return r;
}

int service_parse(const json_t *object, struct service **ret, char **ret_error)
{
	struct service *s = xcalloc(1, sizeof(*s));
	const json_t *metadata;
	int r;

	r = field_meta(object, "Service", &metadata, &s->namespace, &s->name, ret_error);
	if (!r)
		r = parse_service_spec(s, object, ret_error);
	if (r < 0)
		service_free(s);
	else
		*ret = s;
	return r;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_ports; i++)
		free(s->ports[i].name);
	pairs_free(&s->selector);
	free(s->ports);
	free(s->external_ips);
	free(s->cluster_ips);
	free(s->type);
	free(s->name);
	free(s->namespace);
	free(s);
}

int namespace_parse(const json_t *object, struct namespace **ret, char **ret_error)
{
	struct namespace *ns = xcalloc(1, sizeof(*ns));
	const json_t *metadata;
	int r;

	r = field_meta(object, "Namespace", &metadata, NULL, &ns->name, ret_error);
	if (!r)
		r = field_pairs(metadata, "metadata", "labels", &ns->labels, ret_error);
	if (!r)
		r = field_pairs(metadata, "metadata", "annotations", &ns->annotations, ret_error);
	if (r < 0)
		namespace_free(ns);
	else
		*ret = ns;
	return r;
}

void namespace_free(struct namespace *ns)
{
	if (!ns)
		return;
	pairs_free(&ns->labels);
	pairs_free(&ns->annotations);
	free(ns->name);
	free(ns);
}

/* Adds one object of the kinds that are read. */
#define ADD(type, member, n)                                                             \
	static int add_##type(struct objects *o, const json_t *object, char **ret_error) \
	{                                                                                \
		struct type *parsed;                                                     \
		int r = type##_parse(object, &parsed, ret_error);                        \
                                                                                         \
		if (!r)                                                                  \
			list_append(o->member, o->n, parsed);                            \
		return r;                                                                \
	}
ADD(pod, pods, n_pods)
ADD(service, services, n_services)
ADD(endpoint_slice, slices, n_slices)
ADD(namespace, namespaces, n_namespaces)
ADD(node, nodes, n_nodes)

static const struct {
	const char *name;
	const char *list;
	int (*add)(struct objects *objects, const json_t *object, char **ret_error);
} kinds[] = {
	{ "Pod", "PodList", add_pod },
	{ "Service", "ServiceList", add_service },
	{ "EndpointSlice", "EndpointSliceList", add_endpoint_slice },
	{ "Namespace", "NamespaceList", add_namespace },
	{ "Node", "NodeList", add_node },
};

/* `implied` is the kind of a typed list's items, which do not name it themselves. */
static int add_object(struct objects *o, const json_t *object, const char *implied,
		      char **ret_error)
{
	const char *name = json_string_value(json_object_get(object, "kind"));

	if (!json_is_object(object))
		return fail(ret_error, "this is %s, not a Kubernetes object", field_type(object));
	name = name ?: implied;
	if (!name)
		return fail(ret_error, "kind is missing");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return kinds[i].add(o, object, ret_error);
	return fail(ret_error,
		    "kind is %s, not Pod, Service, EndpointSlice, Namespace, Node or List", name);
}

static void add_error(struct objects *o, const json_t *item, size_t i, char *error)
{
	const json_t *metadata = json_object_get(item, "metadata");
	const char *kind = json_string_value(json_object_get(item, "kind")) ?: "object";
	const char *namespace = json_string_value(json_object_get(metadata, "namespace"));
	const char *name = json_string_value(json_object_get(metadata, "name"));
	size_t n = o->n_errors;

	list_append(o->failed, n, namespace && name ? xasprintf("%s/%s", namespace, name) : NULL);
	list_append(o->errors, o->n_errors,
		    name ? xasprintf("items[%zu] (%s %s%s%s): %s", i, kind, namespace ?: "",
				     namespace ? "/" : "", name, error)
			 : xasprintf("items[%zu]: %s", i, error));
	free(error);
}

static int add_list(struct objects *o, const json_t *list, const char *implied, char **ret_error)
{
	const json_t *metadata, *items = NULL, *item;
	size_t i, failed = 0;
	char *error;
	int r;

	r = field_object(list, "", "metadata", &metadata, ret_error);
	if (!r)
		r = field_array(list, "", "items", &items, ret_error);
	if (!r) {
		free(o->resource_version);
		o->resource_version = NULL;
		r = field_string(metadata, "metadata", "resourceVersion", &o->resource_version,
				 ret_error);
	}
	if (r < 0)
		return r;
	json_array_foreach (items, i, item) {
		if (add_object(o, item, implied, &error) < 0) {
			add_error(o, item, i, error);
			failed++;
		}
	}
	if (failed && failed == json_array_size(items))
		return fail(ret_error, "%s%s", o->errors[o->n_errors - failed],
			    failed > 1 ? ", and no other item is right" : "");
	return 0;
}

int objects_add(const json_t *object, struct objects *o, char **ret_error)
{
	const char *kind = json_string_value(json_object_get(object, "kind"));

	if (kind && !strcmp(kind, "List"))
		return add_list(o, object, NULL, ret_error);
	for (size_t i = 0; kind && i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].list, kind))
			return add_list(o, object, kinds[i].name, ret_error);
	return add_object(o, object, NULL, ret_error);
}

int objects_parse(const char *text, size_t len, struct objects *ret, char **ret_error)
{
	_cleanup_objects_ struct objects objects = { 0 };
	json_error_t error;
	json_t *root;
	int r;

	root = json_loadb(text, len, JSON_DECODE_ANY, &error);
	if (!root)
		return fail(ret_error, "not JSON: %s, line %d column %d", error.text, error.line,
			    error.column);
	r = objects_add(root, &objects, ret_error);
	json_decref(root);
	if (r < 0)
		return r;
	*ret = objects;
	objects = (struct objects){ 0 };
	return 0;
}

#define FREE_ALL(items, n, free_item)               \
	({                                          \
		for (size_t i_ = 0; i_ < (n); i_++) \
			free_item((items)[i_]);     \
		free(items);                        \
	})

void objects_free(struct objects *o)
{
	FREE_ALL(o->pods, o->n_pods, pod_free);
	FREE_ALL(o->services, o->n_services, service_free);
	FREE_ALL(o->slices, o->n_slices, endpoint_slice_free);
	FREE_ALL(o->namespaces, o->n_namespaces, namespace_free);
	FREE_ALL(o->nodes, o->n_nodes, node_free);
	FREE_ALL(o->errors, o->n_errors, free);
	FREE_ALL(o->failed, o->n_errors, free);
	free(o->resource_version);
	*o = (struct objects){ 0 };
}

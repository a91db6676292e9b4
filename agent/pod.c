/* SPDX-License-Identifier: Apache-2.0 */
/* Pods from JSON. A field of the wrong type is an error that names it, as kubectl would say. */
#include "agent/pod.h"

#include "agent/object.h"
#include "base/buf.h"
#include "base/inet.h"

#include <errno.h>
#include <string.h>

/* Lengths of struct weir_pod_names, which are those of Kubernetes. */
#define MAX_UID 63
/* The largest id that is one: (uid_t)-1 means "leave as it is". */
#define MAX_ID (UINT32_MAX - 1)

#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

const char *field_type(const json_t *value)
{
	if (!value)
		return "nothing";
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_NULL:
		return "null";
	default:
		return "a boolean";
	}
}

/* NULL when absent. */
static const json_t *field(const json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);

	return json_is_null(value) ? NULL : value;
}

static int wrong_type(const char *path, const char *key, const json_t *value, const char *expected,
		      char **ret_error)
{
	return fail(ret_error, "%s%s%s is %s, not %s", path, *path ? "." : "", key,
		    field_type(value), expected);
}

int field_string(const json_t *o, const char *path, const char *key, char **ret, char **ret_error)
{
	const json_t *value = field(o, key);

	if (value && !json_is_string(value))
		return wrong_type(path, key, value, "a string", ret_error);
	*ret = value ? xstrdup(json_string_value(value)) : NULL;
	return 0;
}

int field_bool(const json_t *o, const char *path, const char *key, bool absent, bool *ret,
	       char **ret_error)
{
	const json_t *value = field(o, key);

	if (value && !json_is_boolean(value))
		return wrong_type(path, key, value, "true or false", ret_error);
	*ret = value ? json_is_true(value) : absent;
	return 0;
}

int field_int(const json_t *o, const char *path, const char *key, int64_t min, int64_t max,
	      int64_t absent, int64_t *ret, char **ret_error)
{
	const json_t *value = field(o, key);
	json_int_t n = value ? json_integer_value(value) : absent;

	if (value && !json_is_integer(value))
		return wrong_type(path, key, value, "an integer", ret_error);
	if (value && (n < min || n > max))
		return fail(ret_error, "%s.%s is %lld, not in %lld to %lld", path, key,
			    (long long)n, (long long)min, (long long)max);
	*ret = n;
	return 0;
}

int field_object(const json_t *o, const char *path, const char *key, const json_t **ret,
		 char **ret_error)
{
	const json_t *value = field(o, key);

	if (value && !json_is_object(value))
		return wrong_type(path, key, value, "an object", ret_error);
	*ret = value;
	return 0;
}

int field_array(const json_t *o, const char *path, const char *key, const json_t **ret,
		char **ret_error)
{
	const json_t *value = field(o, key);

	if (value && !json_is_array(value))
		return wrong_type(path, key, value, "a list", ret_error);
	*ret = value;
	return 0;
}

int field_each(const json_t *o, const char *path, const char *key,
	       int (*fn)(void *ctx, const json_t *item, const char *path, char **ret_error),
	       void *ctx, char **ret_error)
{
	const json_t *list, *item;
	size_t i;
	int r = field_array(o, path, key, &list, ret_error);

	if (r < 0)
		return r;
	json_array_foreach (list, i, item) {
		_cleanup_free_ char *at = xasprintf("%s%s%s[%zu]", path, *path ? "." : "", key, i);

		if (!json_is_object(item))
			return fail(ret_error, "%s is %s, not an object", at, field_type(item));
		r = fn(ctx, item, at, ret_error);
		if (r)
			return r;
	}
	return 0;
}

void pairs_free(struct pod_pairs *pairs)
{
	for (size_t i = 0; i < pairs->n; i++) {
		free(pairs->items[i].key);
		free(pairs->items[i].value);
	}
	free(pairs->items);
	*pairs = (struct pod_pairs){ 0 };
}

/* The last of that name: in an environment it is the one that counts; elsewhere keys are unique. */
const char *pairs_get(const struct pod_pairs *pairs, const char *key)
{
	for (size_t i = pairs->n; i > 0; i--)
		if (!strcmp(pairs->items[i - 1].key, key))
			return pairs->items[i - 1].value;
	return NULL;
}

int field_pairs(const json_t *o, const char *path, const char *key, struct pod_pairs *ret,
		char **ret_error)
{
	_cleanup_(pairs_free) struct pod_pairs pairs = { 0 };
	const json_t *map;
	const char *name;
	json_t *value;
	int r;

	r = field_object(o, path, key, &map, ret_error);
	if (r < 0)
		return r;
	pairs.items = xcalloc(json_object_size(map), sizeof(*pairs.items));
	json_object_foreach ((json_t *)map, name, value) {
		if (json_is_null(value))
			continue;
		if (!json_is_string(value))
			return fail(ret_error, "%s.%s['%s'] is %s, not a string", path, key, name,
				    field_type(value));
		pairs.items[pairs.n].key = xstrdup(name);
		pairs.items[pairs.n++].value = xstrdup(json_string_value(value));
	}
	*ret = pairs;
	pairs = (struct pod_pairs){ 0 };
	return 0;
}

/* 1 when it is the one that counts. */
static int parse_owner(void *ctx, const json_t *owner, const char *path, char **ret_error)
{
	struct pod *pod = ctx;
	bool controller;
	int r = field_bool(owner, path, "controller", false, &controller, ret_error);

	if (r < 0 || !controller)
		return r;
	r = field_string(owner, path, "kind", &pod->owner_kind, ret_error);
	if (!r)
		r = field_string(owner, path, "name", &pod->owner_name, ret_error);
	return r ?: 1;
}

static int parse_metadata(struct pod *pod, const json_t *object, char **ret_error)
{
	const json_t *metadata;
	int r;

	r = field_meta(object, "Pod", &metadata, &pod->namespace, &pod->name, ret_error);
	if (!r)
		r = field_string(metadata, "metadata", "uid", &pod->uid, ret_error);
	if (!r && !pod->uid)
		pod->uid = xstrdup("");
	if (!r && strlen(pod->uid) > MAX_UID)
		r = fail(ret_error, "metadata.uid has more than %d bytes", MAX_UID);
	if (!r)
		r = field_string(metadata, "metadata", "generateName", &pod->generate_name,
				 ret_error);
	if (!r)
		r = field_string(metadata, "metadata", "creationTimestamp", &pod->created,
				 ret_error);
	if (!r)
		r = field_pairs(metadata, "metadata", "labels", &pod->labels, ret_error);
	if (!r)
		r = field_pairs(metadata, "metadata", "annotations", &pod->annotations, ret_error);
	if (!r)
		r = field_each(metadata, "metadata", "ownerReferences", parse_owner, pod,
			       ret_error);
	if (r < 0)
		return r;
	pod->deleting = field(metadata, "deletionTimestamp");
	return 0;
}

static int parse_args(struct pod_container *c, const json_t *o, const char *path, char **ret_error)
{
	const json_t *list, *item;
	size_t i;
	int r;

	r = field_array(o, path, "args", &list, ret_error);
	if (r < 0)
		return r;
	c->args = xcalloc(json_array_size(list), sizeof(*c->args));
	json_array_foreach (list, i, item) {
		if (!json_is_string(item))
			return fail(ret_error, "%s.args[%zu] is %s, not a string", path, i,
				    field_type(item));
		c->args[c->n_args++] = xstrdup(json_string_value(item));
	}
	return 0;
}

static int parse_env(void *ctx, const json_t *item, const char *path, char **ret_error)
{
	struct pod_container *c = ctx;
	struct pod_pairs *env = field(item, "valueFrom") ? &c->env_elsewhere : &c->env;
	struct pod_pair *pair;
	int r;

	list_append(env->items, env->n, (struct pod_pair){ 0 });
	pair = &env->items[env->n - 1];
	r = field_string(item, path, "name", &pair->key, ret_error);
	if (!r && !pair->key)
		r = fail(ret_error, "%s.name is missing", path);
	if (!r)
		r = field_string(item, path, "value", &pair->value, ret_error);
	if (!r && !pair->value)
		pair->value = xstrdup("");
	return r;
}

static int parse_port(void *ctx, const json_t *item, const char *path, char **ret_error)
{
	struct pod_container *c = ctx;
	_cleanup_free_ char *protocol = NULL;
	struct pod_port *port;
	int64_t n;
	int r;

	list_append(c->ports, c->n_ports, (struct pod_port){ 0 });
	port = &c->ports[c->n_ports - 1];
	r = field_int(item, path, "containerPort", 1, UINT16_MAX, 0, &n, ret_error);
	if (!r && !n)
		r = fail(ret_error, "%s.containerPort is missing", path);
	if (!r)
		r = field_string(item, path, "protocol", &protocol, ret_error);
	if (!r)
		r = field_string(item, path, "name", &port->name, ret_error);
	if (r < 0)
		return r;
	port->port = (uint16_t)n;
	port->udp = protocol && strcmp(protocol, "TCP");
	return 0;
}

static int parse_ids(const json_t *o, const char *path, int64_t *ret_user, int64_t *ret_group,
		     char **ret_error)
{
	_cleanup_free_ char *at = xasprintf("%s.securityContext", path);
	const json_t *context;
	int r;

	r = field_object(o, path, "securityContext", &context, ret_error);
	if (!r)
		r = field_int(context, at, "runAsUser", 0, MAX_ID, -1, ret_user, ret_error);
	if (!r)
		r = field_int(context, at, "runAsGroup", 0, MAX_ID, -1, ret_group, ret_error);
	return r;
}

static int parse_container(void *ctx, const json_t *o, const char *path, char **ret_error)
{
	struct pod_containers *containers = ctx;
	struct pod_container *c;
	int r;

	list_append(containers->items, containers->n, (struct pod_container){ 0 });
	c = &containers->items[containers->n - 1];
	r = field_string(o, path, "name", &c->name, ret_error);
	if (!r && (!c->name || !*c->name))
		r = fail(ret_error, "%s.name is missing", path);
	if (!r)
		r = parse_args(c, o, path, ret_error);
	if (!r)
		r = field_each(o, path, "env", parse_env, c, ret_error);
	if (!r)
		r = field_each(o, path, "ports", parse_port, c, ret_error);
	if (!r)
		r = parse_ids(o, path, &c->run_as_user, &c->run_as_group, ret_error);
	return r;
}

static int parse_dns(struct pod *pod, const json_t *spec, char **ret_error)
{
	const json_t *config = NULL;
	int r;

	r = field_string(spec, "spec", "dnsPolicy", &pod->dns_policy, ret_error);
	if (!r)
		r = field_object(spec, "spec", "dnsConfig", &config, ret_error);
	return r
		       ?: field_addrs(config, "spec.dnsConfig", "nameservers", NULL,
				      &pod->dns_servers, &pod->n_dns_servers, ret_error);
}

/* A spec is not asked for: the peers in a pods directory may be mere names with addresses. */
static int parse_spec(struct pod *pod, const json_t *object, char **ret_error)
{
	const json_t *spec;
	int r;

	r = field_object(object, "", "spec", &spec, ret_error);
	if (!r)
		r = field_each(spec, "spec", "containers", parse_container, &pod->containers,
			       ret_error);
	if (!r)
		r = field_each(spec, "spec", "initContainers", parse_container,
			       &pod->init_containers, ret_error);
	if (!r)
		r = parse_ids(spec, "spec", &pod->run_as_user, &pod->run_as_group, ret_error);
	if (!r)
		r = field_bool(spec, "spec", "hostNetwork", false, &pod->host_network, ret_error);
	if (!r)
		r = field_bool(spec, "spec", "hostUsers", true, &pod->host_users, ret_error);
	if (!r)
		r = field_string(spec, "spec", "serviceAccountName", &pod->service_account,
				 ret_error);
	if (!r)
		r = field_string(spec, "spec", "nodeName", &pod->node_name, ret_error);
	if (!r)
		r = parse_dns(pod, spec, ret_error);
	return r;
}

/* A list of objects with an address each, or the single address of old objects. */
static int parse_ips(const json_t *status, const char *list, const char *single,
		     struct weir_addr **ret, size_t *ret_n, char **ret_error)
{
	_cleanup_free_ char *text = NULL;
	int r = field_addrs(status, "status", list, "ip", ret, ret_n, ret_error);

	if (!r)
		r = field_string(status, "status", single, &text, ret_error);
	if (r < 0 || *ret_n || !text || !*text)
		return r;
	free(*ret);
	*ret = xcalloc(1, sizeof(**ret));
	if (inet_parse(text, (*ret)[0].ip) < 0)
		return fail(ret_error, "status.%s: '%s' is no IP address", single, text);
	*ret_n = 1;
	return 0;
}

static int parse_status(struct pod *pod, const json_t *object, char **ret_error)
{
	const json_t *status;
	int r;

	r = field_object(object, "", "status", &status, ret_error);
	if (!r)
		r = field_string(status, "status", "phase", &pod->phase, ret_error);
	if (!r)
		r = parse_ips(status, "podIPs", "podIP", &pod->ips, &pod->n_ips, ret_error);
	if (!r)
		r = parse_ips(status, "hostIPs", "hostIP", &pod->host_ips, &pod->n_host_ips,
			      ret_error);
	return r;
}

int pod_parse(const json_t *object, struct pod **ret, char **ret_error)
{
	_cleanup_pod_ struct pod *pod = xcalloc(1, sizeof(*pod));
	int r;

	r = parse_metadata(pod, object, ret_error);
	if (!r)
		r = parse_spec(pod, object, ret_error);
	if (!r)
		r = parse_status(pod, object, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(pod);
	return 0;
}

static void containers_free(struct pod_containers *containers)
{
	for (size_t i = 0; i < containers->n; i++) {
		struct pod_container *c = &containers->items[i];

		for (size_t j = 0; j < c->n_args; j++)
			free(c->args[j]);
		for (size_t j = 0; j < c->n_ports; j++)
			free(c->ports[j].name);
		pairs_free(&c->env);
		pairs_free(&c->env_elsewhere);
		free(c->args);
		free(c->ports);
		free(c->name);
	}
	free(containers->items);
}

void pod_free(struct pod *pod)
{
	if (!pod)
		return;
	pairs_free(&pod->labels);
	pairs_free(&pod->annotations);
	containers_free(&pod->containers);
	containers_free(&pod->init_containers);
	free(pod->namespace);
	free(pod->name);
	free(pod->uid);
	free(pod->generate_name);
	free(pod->owner_kind);
	free(pod->owner_name);
	free(pod->service_account);
	free(pod->node_name);
	free(pod->phase);
	free(pod->dns_policy);
	free(pod->dns_servers);
	free(pod->created);
	free(pod->ips);
	free(pod->host_ips);
	free(pod);
}

const char *pod_annotation(const struct pod *pod, const char *key)
{
	return pairs_get(&pod->annotations, key);
}

const char *pod_label(const struct pod *pod, const char *key)
{
	return pairs_get(&pod->labels, key);
}

const char *pod_env(const struct pod_container *c, const char *key)
{
	return pairs_get(&c->env, key);
}

const struct pod_container *pod_container(const struct pod *pod, const char *name)
{
	const struct pod_containers *both[] = { &pod->containers, &pod->init_containers };

	for (size_t i = 0; i < ARRAY_SIZE(both); i++)
		for (size_t j = 0; j < both[i]->n; j++)
			if (!strcmp(both[i]->items[j].name, name))
				return &both[i]->items[j];
	return NULL;
}

bool pod_has_ztunnel(const struct pod *pod)
{
	const char *redirection = pod_annotation(pod, "ambient.istio.io/redirection");

	return redirection && !strcmp(redirection, "enabled");
}

bool pod_finished(const struct pod *pod)
{
	return pod->phase && (!strcmp(pod->phase, "Succeeded") || !strcmp(pod->phase, "Failed"));
}

static int compare_rank(const struct pod *a, const struct pod *b)
{
	bool runs_a = a->phase && !strcmp(a->phase, "Running");
	bool runs_b = b->phase && !strcmp(b->phase, "Running");
	int r = (int)b->deleting - (int)a->deleting;

	if (!r)
		r = (int)runs_a - (int)runs_b;
	if (!r)
		r = strcmp(a->created ?: "", b->created ?: "");
	if (!r)
		r = strcmp(b->namespace, a->namespace);
	if (!r)
		r = strcmp(b->name, a->name);
	return r ? r : strcmp(b->uid, a->uid); /* whatever, but always the same */
}

bool pod_supersedes(const struct pod *pod, const struct pod *other)
{
	if (pod_finished(pod) != pod_finished(other))
		return pod_finished(other);
	return compare_rank(pod, other) > 0;
}

void pod_addresses(const struct pod *pod, struct weir_addr *ret_v4, struct weir_addr *ret_v6)
{
	*ret_v4 = *ret_v6 = (struct weir_addr){ { 0 } };
	for (size_t i = pod->n_ips; i > 0; i--)
		*(weir_addr_is_v4(&pod->ips[i - 1]) ? ret_v4 : ret_v6) = pod->ips[i - 1];
}

/* The label is the newer of the two and beats the annotation, whatever it says. */
const char *pod_istio_inject(const struct pod *pod)
{
	static const char key[] = "sidecar.istio.io/inject";

	return pod_label(pod, key) ?: pod_annotation(pod, key);
}

/* The namespaces that Istio's injector never looks at; NULL: of no namespace in particular. */
static bool is_ignored(const char *namespace)
{
	static const char *const names[] = { "kube-system", "kube-public", "kube-node-lease",
					     "local-path-storage" };

	for (size_t i = 0; namespace && i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], namespace))
			return true;
	return false;
}

bool pod_asks_for_istio(const struct pod *pod, const struct pod_pairs *namespace_labels)
{
	const char *injection =
		namespace_labels ? pairs_get(namespace_labels, "istio-injection") : NULL;
	const char *revision =
		namespace_labels ? pairs_get(namespace_labels, "istio.io/rev") : NULL;
	const char *label = pod_label(pod, "sidecar.istio.io/inject");
	const char *inject = pod_istio_inject(pod);
	const char *own_revision = pod_label(pod, "istio.io/rev");

	if (pod->host_network || is_ignored(pod->namespace) || (inject && !strcmp(inject, "false")))
		return false;
	if (injection || (revision && *revision)) /* istio-injection beats istio.io/rev */
		return injection ? !strcmp(injection, "enabled") : true;
	/* the webhook selects pods by labels; the annotation alone does not reach it */
	return (label && !strcmp(label, "true")) || (own_revision && *own_revision) ||
	       (!namespace_labels && inject && !strcmp(inject, "true"));
}

/* What the chart's selector of namespaces leaves out: no annotation there has an effect. */
static bool linkerd_ignores(const struct pod *pod, const struct pod_pairs *namespace_labels)
{
	const char *webhooks = namespace_labels ? pairs_get(namespace_labels,
							    "config.linkerd.io/admission-webhooks")
						: NULL;

	return pod->host_network || (webhooks && !strcmp(webhooks, "disabled")) ||
	       (pod->namespace && (!strcmp(pod->namespace, "kube-system") ||
				   !strcmp(pod->namespace, "cert-manager")));
}

bool pod_asks_for_linkerd(const struct pod *pod, const struct pod_pairs *namespace_annotations,
			  const struct pod_pairs *namespace_labels)
{
	const char *inject = pod_annotation(pod, "linkerd.io/inject");

	if (linkerd_ignores(pod, namespace_labels))
		return false;
	if (!inject && namespace_annotations)
		inject = pairs_get(namespace_annotations, "linkerd.io/inject");
	return inject && (!strcmp(inject, "enabled") || !strcmp(inject, "ingress"));
}

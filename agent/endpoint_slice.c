/* SPDX-License-Identifier: Apache-2.0 */
/* EndpointSlices from JSON: where the connections to a Service end. */
#include "agent/object.h"

#include "base/buf.h"

#include <errno.h>
#include <string.h>

#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

static int parse_target(const json_t *item, const char *path, char **ret_pod, char **ret_error)
{
	_cleanup_free_ char *at = xasprintf("%s.targetRef", path), *kind = NULL, *name = NULL;
	const json_t *target;
	int r;

	r = field_object(item, path, "targetRef", &target, ret_error);
	if (!r)
		r = field_string(target, at, "kind", &kind, ret_error);
	if (!r)
		r = field_string(target, at, "name", &name, ret_error);
	if (!r)
		*ret_pod = kind && !strcmp(kind, "Pod") ? TAKE_PTR(name) : NULL;
	return r;
}

static int parse_endpoint(struct endpoint_slice *slice, const json_t *item, size_t i,
			  char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("endpoints[%zu]", i), *pod = NULL;
	_cleanup_free_ struct weir_addr *addrs = NULL;
	size_t n = 0;
	int r;

	if (!json_is_object(item))
		return fail(ret_error, "%s is %s, not an object", path, field_type(item));
	r = field_addrs(item, path, "addresses", NULL, &addrs, &n, ret_error);
	if (!r)
		r = parse_target(item, path, &pod, ret_error);
	for (size_t j = 0; !r && j < n; j++) {
		struct endpoint endpoint = { addrs[j], pod ? xstrdup(pod) : NULL };

		list_append(slice->endpoints, slice->n_endpoints, endpoint);
	}
	return r;
}

/* A port without a number stands for all of them. */
static int parse_ports(struct endpoint_slice *slice, const json_t *object, char **ret_error)
{
	const json_t *list, *item;
	size_t i;
	int r;

	r = field_array(object, "", "ports", &list, ret_error);
	if (r < 0)
		return r;
	json_array_foreach (list, i, item) {
		_cleanup_free_ char *path = xasprintf("ports[%zu]", i);
		int64_t number;

		if (!json_is_object(item))
			return fail(ret_error, "%s is %s, not an object", path, field_type(item));
		r = field_int(item, path, "port", 0, UINT16_MAX, 0, &number, ret_error);
		if (r < 0)
			return r;
		if (number)
			list_append(slice->ports, slice->n_ports, (uint16_t)number);
	}
	return 0;
}

static int parse_endpoints(struct endpoint_slice *slice, const json_t *object,
			   const json_t *metadata, char **ret_error)
{
	_cleanup_(pairs_free) struct pod_pairs labels = { 0 };
	_cleanup_free_ char *type = NULL;
	const json_t *list = NULL, *item;
	const char *service;
	size_t i;
	int r;

	r = field_pairs(metadata, "metadata", "labels", &labels, ret_error);
	if (!r)
		r = field_string(object, "", "addressType", &type, ret_error);
	if (!r)
		r = field_array(object, "", "endpoints", &list, ret_error);
	if (!r)
		r = parse_ports(slice, object, ret_error);
	if (r < 0)
		return r;
	service = pairs_get(&labels, "kubernetes.io/service-name");
	slice->service = service ? xstrdup(service) : NULL;
	if (type && !strcmp(type, "FQDN"))
		return 0; /* its addresses are names */
	json_array_foreach (list, i, item) {
		r = parse_endpoint(slice, item, i, ret_error);
		if (r < 0)
			return r;
	}
	return 0;
}

int endpoint_slice_parse(const json_t *object, struct endpoint_slice **ret, char **ret_error)
{
	struct endpoint_slice *s = xcalloc(1, sizeof(*s));
	const json_t *metadata;
	int r;

	r = field_meta(object, "EndpointSlice", &metadata, &s->namespace, &s->name, ret_error);
	if (!r)
		r = parse_endpoints(s, object, metadata, ret_error);
	if (r < 0)
		endpoint_slice_free(s);
	else
		*ret = s;
	return r;
}

void endpoint_slice_free(struct endpoint_slice *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_endpoints; i++)
		free(s->endpoints[i].pod);
	free(s->endpoints);
	free(s->ports);
	free(s->service);
	free(s->name);
	free(s->namespace);
	free(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* EndpointSlices from JSON: where the connections to a Service end. */
#include "agent/object.h"

#include "base/buf.h"

#include <errno.h>
#include <string.h>

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

static int parse_endpoint(void *ctx, const json_t *item, const char *path, char **ret_error)
{
	struct endpoint_slice *slice = ctx;
	_cleanup_free_ struct weir_addr *addrs = NULL;
	_cleanup_free_ char *pod = NULL;
	size_t n = 0;
	int r;

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
static int parse_port(void *ctx, const json_t *item, const char *path, char **ret_error)
{
	struct endpoint_slice *slice = ctx;
	_cleanup_free_ char *protocol = NULL;
	int64_t number;
	int r = field_int(item, path, "port", 0, UINT16_MAX, 0, &number, ret_error);

	if (!r)
		r = field_string(item, path, "protocol", &protocol, ret_error);
	if (!r && number)
		list_append(slice->ports, slice->n_ports,
			    ((struct slice_port){ (uint16_t)number, protocol_parse(protocol) }));
	return r;
}

static int parse_endpoints(struct endpoint_slice *slice, const json_t *object,
			   const json_t *metadata, char **ret_error)
{
	_cleanup_(pairs_free) struct pod_pairs labels = { 0 };
	_cleanup_free_ char *type = NULL;
	const char *service;
	int r;

	r = field_pairs(metadata, "metadata", "labels", &labels, ret_error);
	if (!r)
		r = field_string(object, "", "addressType", &type, ret_error);
	if (!r)
		r = field_each(object, "", "ports", parse_port, slice, ret_error);
	if (r < 0)
		return r;
	service = pairs_get(&labels, "kubernetes.io/service-name");
	slice->service = service ? xstrdup(service) : NULL;
	if (type && !strcmp(type, "FQDN"))
		return 0; /* its addresses are names */
	return field_each(object, "", "endpoints", parse_endpoint, slice, ret_error);
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

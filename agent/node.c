/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes from JSON: their addresses are where kubelets, host processes and NodePorts are. */
#include "agent/object.h"

#include "base/buf.h"
#include "base/inet.h"

#include <errno.h>
#include <string.h>

#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

/* InternalIP and ExternalIP; the other types are names. */
static int parse_address(struct node *node, const json_t *item, size_t i, char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("status.addresses[%zu]", i), *type = NULL,
			    *text = NULL;
	struct weir_addr addr;
	int r;

	if (!json_is_object(item))
		return fail(ret_error, "%s is %s, not an object", path, field_type(item));
	r = field_string(item, path, "type", &type, ret_error);
	if (!r)
		r = field_string(item, path, "address", &text, ret_error);
	if (r < 0)
		return r;
	if (!type || !text || (strcmp(type, "InternalIP") && strcmp(type, "ExternalIP")))
		return 0;
	if (inet_parse(text, addr.ip) < 0)
		return fail(ret_error, "%s.address: '%s' is no IP address", path, text);
	list_append(node->addresses, node->n_addresses, addr);
	return 0;
}

static int parse_addresses(struct node *node, const json_t *object, char **ret_error)
{
	const json_t *status, *list, *item;
	size_t i;
	int r;

	r = field_object(object, "", "status", &status, ret_error);
	if (!r)
		r = field_array(status, "status", "addresses", &list, ret_error);
	if (r < 0)
		return r;
	json_array_foreach (list, i, item) {
		r = parse_address(node, item, i, ret_error);
		if (r < 0)
			return r;
	}
	return 0;
}

int node_parse(const json_t *object, struct node **ret, char **ret_error)
{
	struct node *node = xcalloc(1, sizeof(*node));
	const json_t *metadata;
	int r;

	r = field_meta(object, "Node", &metadata, NULL, &node->name, ret_error);
	if (!r)
		r = parse_addresses(node, object, ret_error);
	if (r < 0)
		node_free(node);
	else
		*ret = node;
	return r;
}

void node_free(struct node *node)
{
	if (!node)
		return;
	free(node->addresses);
	free(node->name);
	free(node);
}

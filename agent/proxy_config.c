/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/proxy_config.h"

#include "agent/object.h"
#include "base/buf.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

void proxy_config_free(struct proxy_config *config)
{
	free(config->interception_mode);
	pairs_free(&config->metadata);
	*config = (struct proxy_config){ 0 };
}

/* Takes reason. */
static int invalid(const char *text, char *reason, char **ret_error)
{
	*ret_error = xasprintf("invalid value '%s' for annotation '" ISTIO_PROXY_CONFIG
			       "': failed to convert to apply proxy config: %s",
			       text, reason);
	free(reason);
	return -EINVAL;
}

/* Go's strings end at no NUL; a value of ours does, and none that has one is of use. */
static const char *scalar(const yaml_node_t *node)
{
	return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
						      : NULL;
}

/* Null is absent, unless it is quoted. */
static bool is_null(const yaml_node_t *node)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };

	if (!node || node->type != YAML_SCALAR_NODE ||
	    node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return !node;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(words[i], scalar(node)))
			return true;
	return false;
}

/*
 * A string field. What YAML reads as a number or a truth value is no string to protobuf, which the
 * injector reads it with: `ISTIO_META_DNS_CAPTURE: true` without quotes is refused.
 */
static char *string_error(const char *name, const yaml_node_t *node)
{
	static const char *const words[] = { "true", "True", "TRUE", "false", "False", "FALSE",
					     "yes",  "Yes",  "YES",  "no",    "No",    "NO",
					     "on",   "On",   "ON",   "off",   "Off",   "OFF" };
	const char *text = scalar(node);
	char *end;

	if (!text)
		return xasprintf("json: cannot unmarshal %s into Go value of type string (%s)",
				 node->type == YAML_MAPPING_NODE ? "object" : "array", name);
	if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(words[i], text))
			return xasprintf(
				"json: cannot unmarshal bool into Go value of type string (%s)",
				name);
	strtod(text, &end);
	if (*text && !*end && strspn(text, "+-.0123456789eExXabcdefABCDEF_") == strlen(text))
		return xasprintf("json: cannot unmarshal number into Go value of type string (%s)",
				 name);
	return NULL;
}

static char *read_metadata(yaml_document_t *document, const yaml_node_t *map,
			   struct pod_pairs *pairs)
{
	size_t n;

	if (is_null(map))
		return NULL;
	if (map->type != YAML_MAPPING_NODE)
		return xstrdup("json: cannot unmarshal into Go value of type "
			       "map[string]json.RawMessage (proxyMetadata)");
	n = (size_t)(map->data.mapping.pairs.top - map->data.mapping.pairs.start);
	pairs->items = xcalloc(n, sizeof(*pairs->items));
	for (size_t i = 0; i < n; i++) {
		const yaml_node_pair_t *pair = &map->data.mapping.pairs.start[i];
		const char *key = scalar(yaml_document_get_node(document, pair->key));
		const yaml_node_t *value = yaml_document_get_node(document, pair->value);
		char *error = key ? NULL : xstrdup("a key of proxyMetadata is no string");

		if (!error && !is_null(value))
			error = string_error(key, value);
		if (error)
			return error;
		pairs->items[pairs->n].key = xstrdup(key);
		pairs->items[pairs->n++].value = xstrdup(is_null(value) ? "" : scalar(value));
	}
	return NULL;
}

/* NULL, or why the mapping is no ProxyConfig, owned by the caller. */
static char *read_config(yaml_document_t *document, const yaml_node_t *root,
			 struct proxy_config *config)
{
	const yaml_node_pair_t *end = root->data.mapping.pairs.top;

	for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < end; pair++) {
		const char *key = scalar(yaml_document_get_node(document, pair->key));
		const yaml_node_t *value = yaml_document_get_node(document, pair->value);
		char *error = NULL;

		/* protobuf takes a field by its JSON name or by its own */
		if (key && (!strcmp(key, "proxyMetadata") || !strcmp(key, "proxy_metadata"))) {
			pairs_free(&config->metadata);
			error = read_metadata(document, value, &config->metadata);
		} else if (key &&
			   (!strcmp(key, "interceptionMode") ||
			    !strcmp(key, "interception_mode")) &&
			   !is_null(value)) {
			free(config->interception_mode);
			config->interception_mode = NULL;
			error = string_error(key, value);
			if (!error)
				config->interception_mode = xstrdup(scalar(value));
		}
		if (error)
			return error;
	}
	return NULL;
}

/* The ProxyConfig's own enumeration: NONE is an annotation's value alone. */
static char *mode_error(const char *mode)
{
	if (!mode || !strcmp(mode, "REDIRECT") || !strcmp(mode, "TPROXY"))
		return NULL;
	return xasprintf("unknown value \"%s\" for enum "
			 "istio.mesh.v1alpha1.ProxyConfig_InboundInterceptionMode",
			 mode);
}

static char *read_document(yaml_document_t *document, struct proxy_config *config)
{
	const yaml_node_t *root = yaml_document_get_root_node(document);
	char *error;

	if (is_null(root))
		return NULL; /* an empty text is an empty ProxyConfig */
	if (root->type != YAML_MAPPING_NODE)
		return xasprintf("json: cannot unmarshal %s into Go value of type "
				 "map[string]json.RawMessage",
				 root->type == YAML_SEQUENCE_NODE ? "array" : "string");
	error = read_config(document, root, config);
	return error ?: mode_error(config->interception_mode);
}

int proxy_config_parse(const char *text, struct proxy_config *ret, char **ret_error)
{
	struct proxy_config config = { 0 };
	yaml_document_t document;
	yaml_parser_t parser;
	char *error;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, strlen(text));
	if (yaml_parser_load(&parser, &document)) {
		error = read_document(&document, &config);
		yaml_document_delete(&document);
	} else {
		error = xasprintf("yaml: line %zu: %s", parser.problem_mark.line + 1,
				  parser.problem ?: "cannot be read");
	}
	yaml_parser_delete(&parser);
	if (error) {
		proxy_config_free(&config);
		return invalid(text, error, ret_error);
	}
	*ret = config;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/proxy_config.h"

#include "agent/object.h"
#include "base/buf.h"
#include "base/yaml.h"

#include <errno.h>
#include <string.h>

void proxy_config_free(struct proxy_config *config)
{
	free(config->interception_mode);
	pairs_free(&config->metadata);
	*config = (struct proxy_config){ 0 };
}

/* protobuf takes a field by its JSON name or by its own. */
static const char *either(const json_t *o, const char *json_name, const char *own_name)
{
	return json_object_get(o, json_name) ? json_name : own_name;
}

/* The ProxyConfig's own enumeration: NONE is an annotation's value alone. */
static int check_mode(const char *mode, char **ret_error)
{
	if (!mode || !strcmp(mode, "REDIRECT") || !strcmp(mode, "TPROXY"))
		return 0;
	*ret_error = xasprintf("unknown value \"%s\" for enum "
			       "istio.mesh.v1alpha1.ProxyConfig_InboundInterceptionMode",
			       mode);
	return -EINVAL;
}

/*
 * Values of proxyMetadata are strings: a plain true or 1 is none, and refused by the injector too
 * (ISTIO_META_DNS_CAPTURE: "true" needs its quotes).
 */
static int read_config(const json_t *root, struct proxy_config *config, char **ret_error)
{
	int r;

	if (json_is_null(root))
		return 0;
	if (!json_is_object(root)) {
		*ret_error = xasprintf("this is %s, not an object", field_type(root));
		return -EINVAL;
	}
	r = field_pairs(root, "ProxyConfig", either(root, "proxyMetadata", "proxy_metadata"),
			&config->metadata, ret_error);
	if (!r)
		r = field_string(root, "ProxyConfig",
				 either(root, "interceptionMode", "interception_mode"),
				 &config->interception_mode, ret_error);
	return r ?: check_mode(config->interception_mode, ret_error);
}

int proxy_config_parse(const char *text, struct proxy_config *ret, char **ret_error)
{
	_cleanup_(proxy_config_free) struct proxy_config config = { 0 };
	_cleanup_free_ char *reason = NULL;
	json_t *root = NULL;
	int r;

	r = yaml_load(text, strlen(text), &root, &reason);
	if (!r)
		r = read_config(root, &config, &reason);
	json_decref(root);
	if (r < 0) {
		*ret_error = xasprintf("invalid value '%s' for annotation '" ISTIO_PROXY_CONFIG
				       "': failed to convert to apply proxy config: %s",
				       text, reason ?: strerror(-r));
		return -EINVAL;
	}
	*ret = config;
	config = (struct proxy_config){ 0 };
	return 0;
}

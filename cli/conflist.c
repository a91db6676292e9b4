/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conflist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/cni_request.h"

static const char *type_of(const json_t *plugin)
{
	return json_string_value(json_object_get(plugin, "type")) ?: "";
}

static bool is_ours(const json_t *plugin)
{
	return !strcmp(type_of(plugin), CONFLIST_PLUGIN);
}

static bool is_meta(const json_t *plugin)
{
	return !strcmp(type_of(plugin), "multus") || !strcmp(type_of(plugin), "multus-shim");
}

static const json_t *plugins_of(const json_t *conf)
{
	return json_object_get(conf, "plugins");
}

static int check_plugins(const json_t *plugins, char **ret_error)
{
	json_t *plugin;
	size_t i;

	if (!json_array_size(plugins)) {
		*ret_error = xstrdup("its list of plugins is empty or no list");
		return -EINVAL;
	}
	json_array_foreach ((json_t *)plugins, i, plugin)
		if (!*type_of(plugin)) {
			*ret_error = xasprintf("plugins[%zu] has no type", i);
			return -EINVAL;
		}
	return 0;
}

int conflist_parse(const char *text, size_t len, json_t **ret, enum conflist_kind *ret_kind,
		   char **ret_error)
{
	json_error_t where;
	json_t *conf = json_loadb(text, len, 0, &where);
	const json_t *plugins = plugins_of(conf);
	int err = 0;

	if (!conf)
		*ret_error = xasprintf("it is no JSON: line %d, column %d: %s", where.line,
				       where.column, where.text);
	else if (!json_is_string(json_object_get(conf, "name")))
		*ret_error = xstrdup("it has no name");
	else if (plugins)
		err = check_plugins(plugins, ret_error);
	else if (!*type_of(conf))
		*ret_error = xstrdup("it has neither plugins nor a type");
	if (err || *ret_error) {
		json_decref(conf);
		return -EINVAL;
	}
	*ret_kind = is_meta(plugins ? json_array_get(plugins, 0) : conf) ? CONFLIST_META
		    : plugins						 ? CONFLIST_LIST
									 : CONFLIST_SINGLE;
	*ret = conf;
	return 0;
}

/* As libcni does it when it is to run a single plugin. */
static json_t *make_chain(const json_t *single)
{
	json_t *chain = json_object();
	json_t *version = json_object_get(single, "cniVersion");

	if (version)
		json_object_set(chain, "cniVersion", version);
	json_object_set(chain, "name", json_object_get(single, "name"));
	json_object_set_new(chain, "plugins", json_pack("[o]", json_deep_copy(single)));
	return chain;
}

/* One entry of ours, with these settings. True when something was to change. */
static bool put_entry(json_t *plugins, const json_t *entry)
{
	bool found = false, changed = false;

	for (size_t i = 0; i < json_array_size(plugins);) {
		const json_t *plugin = json_array_get(plugins, i);

		if (!is_ours(plugin)) {
			i++;
		} else if (found) {
			json_array_remove(plugins, i);
			changed = true;
		} else {
			found = true;
			if (!json_equal(plugin, entry)) {
				json_array_set_new(plugins, i, json_deep_copy(entry));
				changed = true;
			}
			i++;
		}
	}
	if (found)
		return changed;
	json_array_append_new(plugins, json_deep_copy(entry));
	return true;
}

int conflist_chain(const json_t *conf, enum conflist_kind kind, const json_t *entry, json_t **ret,
		   char **ret_error)
{
	const char *version = json_string_value(json_object_get(conf, "cniVersion")) ?: "0.1.0";
	json_t *chain;

	if (cni_version_number(version) < 0) {
		*ret_error = xasprintf("its cniVersion is %s, and weir-cni knows 0.3.1, 0.4.0, "
				       "1.0.0 and 1.1.0",
				       version);
		return -ENOTSUP;
	}
	chain = kind == CONFLIST_SINGLE ? make_chain(conf) : json_deep_copy(conf);
	if (!put_entry(json_object_get(chain, "plugins"), entry)) {
		json_decref(chain);
		chain = NULL;
	}
	*ret = chain;
	return 0;
}

int conflist_unchain(const json_t *conf, json_t **ret)
{
	json_t *copy = json_deep_copy(conf), *plugins = json_object_get(copy, "plugins");
	size_t before = json_array_size(plugins);

	for (size_t i = json_array_size(plugins); i > 0; i--)
		if (is_ours(json_array_get(plugins, i - 1)))
			json_array_remove(plugins, i - 1);
	if (before && !json_array_size(plugins)) {
		json_decref(copy);
		return -ENOENT;
	}
	if (json_array_size(plugins) == before) {
		json_decref(copy);
		copy = NULL;
	}
	*ret = copy;
	return 0;
}

const json_t *conflist_single(const json_t *chain)
{
	const json_t *plugins = plugins_of(chain), *single = NULL;
	json_t *plugin;
	size_t i;

	json_array_foreach ((json_t *)plugins, i, plugin) {
		if (is_ours(plugin))
			continue;
		if (single)
			return NULL;
		single = plugin;
	}
	return single;
}

char *conflist_text(const json_t *conf)
{
	_cleanup_free_ char *text = json_dumps(conf, JSON_INDENT(2));

	return text ? xasprintf("%s\n", text) : NULL;
}

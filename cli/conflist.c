/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conflist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json_text.h"
#include "cli/cni_request.h"
#include "cli/ctl.h"

/* Numbers of any size are fine: none is looked at. */
#define FLAGS (JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

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

static json_t *plugins_of(const json_t *conf)
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

void conflist_free(struct conflist *c)
{
	free(c->text);
	json_decref(c->json);
	*c = (struct conflist){ 0 };
}

int conflist_parse(char *text, size_t len, struct conflist *ret, char **ret_error)
{
	json_error_t where;
	_cleanup_conflist_ struct conflist c = { .text = text, .len = len };
	const json_t *plugins;

	c.json = json_loadb(text, len, FLAGS, &where);
	plugins = plugins_of(c.json);
	if (!c.json)
		*ret_error = xasprintf("it is no JSON: line %d, column %d: %s", where.line,
				       where.column, where.text);
	else if (!json_is_string(json_object_get(c.json, "name")))
		*ret_error = xstrdup("it has no name");
	else if (plugins)
		check_plugins(plugins, ret_error);
	else if (!*type_of(c.json))
		*ret_error = xstrdup("it has neither plugins nor a type");
	if (*ret_error)
		return -EINVAL;
	c.kind = is_meta(plugins ? json_array_get(plugins, 0) : c.json) ? CONFLIST_META
		 : plugins						? CONFLIST_LIST
									: CONFLIST_SINGLE;
	*ret = c;
	c = (struct conflist){ 0 };
	return 0;
}

/* -- the text ---------------------------------------------------------------------------------- */

/* `text` with other bytes in the place of those from begin to end. */
static char *splice(const char *text, const char *begin, const char *end, const char *instead)
{
	return xasprintf("%.*s%s%s", (int)(begin - text), text, instead, end);
}

static bool find_plugins(const char *text, struct json_span *ret)
{
	return json_text_member(text, "plugins", ret) && *ret->begin == '[';
}

static json_t *load_span(struct json_span span, size_t flags)
{
	return json_loadb(span.begin, (size_t)(span.end - span.begin), flags, NULL);
}

static bool is_ours_at(struct json_span span)
{
	_cleanup_json_ json_t *plugin = load_span(span, FLAGS);

	return is_ours(plugin);
}

/* The n-th entry of ours in the list, and the element before it (none: begin is NULL). */
static bool find_ours(struct json_span plugins, int n, struct json_span *ret,
		      struct json_span *ret_before)
{
	struct json_span at = { 0 }, before = { 0 };

	for (; json_text_next(plugins.begin, &at); before = at) {
		if (!is_ours_at(at) || n-- > 0)
			continue;
		*ret = at;
		*ret_before = before;
		return true;
	}
	return false;
}

/* With the comma and the space that led to it; the first one with those that follow. */
static char *without(const char *text, struct json_span plugins, struct json_span ours,
		     struct json_span before)
{
	struct json_span next = ours;

	if (before.begin)
		return splice(text, before.end, ours.end, "");
	if (json_text_next(plugins.begin, &next))
		return splice(text, ours.begin, next.begin, "");
	return splice(text, ours.begin, ours.end, "");
}

/* Behind the last element, at the same distance from it as that is from what is before it. */
static char *append(const char *text, struct json_span plugins, const char *entry)
{
	struct json_span last = { 0 };
	_cleanup_free_ char *added = NULL;
	const char *gap;

	while (json_text_next(plugins.begin, &last))
		;
	for (gap = last.begin; strchr(" \t\r\n", gap[-1]); gap--)
		;
	added = xasprintf(",%.*s%s", (int)(last.begin - gap), gap, entry);
	return splice(text, last.end, last.end, added);
}

/* The first entry of ours becomes this one, further ones go; NULL when nothing is to change. */
static char *put_entry(const char *text, const json_t *entry)
{
	_cleanup_free_ char *line = json_dumps(entry, 0), *edited = NULL;
	_cleanup_json_ json_t *found = NULL;
	struct json_span plugins, ours, before;

	if (!find_plugins(text, &plugins))
		return NULL;
	if (!find_ours(plugins, 0, &ours, &before))
		return append(text, plugins, line);
	found = load_span(ours, JSON_ALLOW_NUL);
	if (!json_equal(found, entry))
		edited = splice(text, ours.begin, ours.end, line);
	while (find_plugins(edited ?: text, &plugins) && find_ours(plugins, 1, &ours, &before)) {
		char *shorter = without(edited ?: text, plugins, ours, before);

		free(edited);
		edited = shorter;
	}
	return TAKE_PTR(edited);
}

/* As libcni does it when it is to run a single plugin. */
static char *make_chain(const struct conflist *single)
{
	static const char *const keys[] = { "cniVersion", "cniVersions", "name" };
	_cleanup_buf_ struct buf b = { 0 };
	size_t begin = strspn(single->text, " \t\r\n"), end = single->len;
	struct json_span value;

	while (strchr(" \t\r\n", single->text[end - 1]))
		end--;
	buf_str(&b, "{\n");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_text_member(single->text, keys[i], &value))
			buf_printf(&b, "  \"%s\": %.*s,\n", keys[i], (int)(value.end - value.begin),
				   value.begin);
	buf_str(&b, "  \"plugins\": [\n");
	buf_add(&b, single->text + begin, end - begin);
	buf_str(&b, "\n  ]\n}\n");
	return TAKE_PTR(b.data);
}

/* -- what it says ------------------------------------------------------------------------------ */

/* A copy with the others' plugins alone; of a single plugin the chain that it becomes. */
static json_t *others(const struct conflist *c)
{
	json_t *copy = c->kind == CONFLIST_SINGLE ? json_pack("{s:[O]}", "plugins", c->json)
						  : json_deep_copy(c->json);
	json_t *plugins = plugins_of(copy);

	for (size_t i = json_array_size(plugins); i > 0; i--)
		if (is_ours(json_array_get(plugins, i - 1)))
			json_array_remove(plugins, i - 1);
	return copy;
}

/* What is written is read first: a runtime with a broken file starts no pods. */
static bool is_edited_well(const struct conflist *before, const char *after, size_t ours)
{
	_cleanup_free_ char *why = NULL;
	_cleanup_conflist_ struct conflist c = { 0 };
	_cleanup_json_ json_t *is = NULL, *was = NULL;

	if (conflist_parse(xstrdup(after), strlen(after), &c, &why))
		return false;
	is = others(&c);
	was = others(before);
	return json_array_size(plugins_of(c.json)) == json_array_size(plugins_of(is)) + ours &&
	       (before->kind == CONFLIST_SINGLE ? json_equal(plugins_of(is), plugins_of(was))
						: json_equal(is, was));
}

/* As a runtime chooses one of several (libcni 1.2): any that both know will do. */
static bool is_version_known(const json_t *conf)
{
	const char *version = json_string_value(json_object_get(conf, "cniVersion"));
	json_t *versions = json_object_get(conf, "cniVersions"), *item;
	bool known = version && cni_version_number(version) >= 0;
	size_t i;

	json_array_foreach (versions, i, item)
		known |= json_is_string(item) && cni_version_number(json_string_value(item)) >= 0;
	return known;
}

int conflist_chain(const struct conflist *c, const json_t *entry, char **ret, char **ret_error)
{
	_cleanup_free_ char *list = NULL, *edited = NULL;
	struct json_span plugins;

	if (!is_version_known(c->json)) {
		*ret_error = xasprintf(
			"its cniVersion is %s, and weir-cni knows 0.3.1, 0.4.0, 1.0.0 and 1.1.0",
			json_string_value(json_object_get(c->json, "cniVersion")) ?: "0.1.0");
		return -ENOTSUP;
	}
	list = c->kind == CONFLIST_SINGLE ? make_chain(c) : xstrdup(c->text);
	edited = put_entry(list, entry);
	if (edited ? !is_edited_well(c, edited, 1) : !find_plugins(list, &plugins)) {
		*ret_error = xstrdup("its plugins cannot be told apart in the text");
		return -EBADMSG;
	}
	*ret = TAKE_PTR(edited);
	return 0;
}

int conflist_unchain(const struct conflist *c, char **ret)
{
	_cleanup_json_ json_t *rest = others(c);
	size_t ours = json_array_size(plugins_of(c->json)) - json_array_size(plugins_of(rest));
	_cleanup_free_ char *edited = NULL;
	struct json_span plugins, at, before;

	if (c->kind == CONFLIST_SINGLE || !ours)
		return 0;
	if (!json_array_size(plugins_of(rest)))
		return -ENOENT;
	while (find_plugins(edited ?: c->text, &plugins) && find_ours(plugins, 0, &at, &before)) {
		char *shorter = without(edited ?: c->text, plugins, at, before);

		free(edited);
		edited = shorter;
	}
	if (!edited || !is_edited_well(c, edited, 0))
		return -EBADMSG;
	*ret = TAKE_PTR(edited);
	return 0;
}

bool conflist_is_chain_of(const struct conflist *chain, const struct conflist *single)
{
	_cleanup_json_ json_t *rest = others(chain);
	const json_t *plugins = plugins_of(rest);

	return chain->kind == CONFLIST_LIST && single->kind == CONFLIST_SINGLE &&
	       json_array_size(plugins) == 1 &&
	       json_equal(json_array_get(plugins, 0), single->json);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"

#define MAX_DEPTH 64

struct loader {
	yaml_parser_t parser;
	char **error;
	unsigned int depth;
};

static int fail(struct loader *l, const yaml_mark_t *at, const char *what)
{
	*l->error = xasprintf("line %zu column %zu: %s", at->line + 1, at->column + 1, what);
	return -EINVAL;
}

static int next(struct loader *l, yaml_event_t *ret)
{
	if (yaml_parser_parse(&l->parser, ret))
		return 0;
	return fail(l, &l->parser.problem_mark, l->parser.problem ?: "not YAML");
}

static json_t *plain_scalar(const char *text)
{
	char *end;
	long long number;

	if (!*text || !strcmp(text, "~") || !strcmp(text, "null"))
		return json_null();
	if (!strcmp(text, "true") || !strcmp(text, "false"))
		return json_boolean(*text == 't');
	errno = 0;
	number = strtoll(text, &end, 10);
	if (!errno && !*end && strspn(text, "+-0123456789") == strlen(text))
		return json_integer(number);
	return json_string(text);
}

static int load_scalar(struct loader *l, const yaml_event_t *event, json_t **ret)
{
	const char *text = (const char *)event->data.scalar.value;
	bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	*ret = plain ? plain_scalar(text) : json_string(text);
	return *ret ? 0 : fail(l, &event->start_mark, "not UTF-8");
}

static int load_value(struct loader *l, yaml_event_t *event, json_t **ret);

static int load_sequence(struct loader *l, json_t *list)
{
	for (;;) {
		yaml_event_t event;
		json_t *item = NULL;
		bool end;
		int err = next(l, &event);

		if (err < 0)
			return err;
		end = event.type == YAML_SEQUENCE_END_EVENT;
		if (!end)
			err = load_value(l, &event, &item);
		yaml_event_delete(&event);
		if (err < 0 || end)
			return err;
		json_array_append_new(list, item);
	}
}

static int load_member(struct loader *l, yaml_event_t *key, json_t *map)
{
	yaml_event_t event;
	json_t *value = NULL;
	const char *name;
	int err;

	if (key->type != YAML_SCALAR_EVENT)
		return fail(l, &key->start_mark, "a key must be a string");
	name = (const char *)key->data.scalar.value;
	if (json_object_get(map, name))
		return fail(l, &key->start_mark, "the key is there twice");
	err = next(l, &event);
	if (err < 0)
		return err;
	err = load_value(l, &event, &value);
	yaml_event_delete(&event);
	if (!err && json_object_set_new(map, name, value) < 0)
		err = fail(l, &key->start_mark, "not UTF-8");
	return err;
}

static int load_mapping(struct loader *l, json_t *map)
{
	for (;;) {
		yaml_event_t event;
		bool end;
		int err = next(l, &event);

		if (err < 0)
			return err;
		end = event.type == YAML_MAPPING_END_EVENT;
		if (!end)
			err = load_member(l, &event, map);
		yaml_event_delete(&event);
		if (err < 0 || end)
			return err;
	}
}

static int load_collection(struct loader *l, const yaml_event_t *event, json_t **ret)
{
	bool mapping = event->type == YAML_MAPPING_START_EVENT;
	json_t *value;
	int err;

	if (l->depth == MAX_DEPTH)
		return fail(l, &event->start_mark, "nested too deeply");
	value = mapping ? json_object() : json_array();
	l->depth++;
	err = mapping ? load_mapping(l, value) : load_sequence(l, value);
	l->depth--;
	if (err < 0)
		json_decref(value);
	else
		*ret = value;
	return err;
}

static int load_value(struct loader *l, yaml_event_t *event, json_t **ret)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return load_scalar(l, event, ret);
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		return load_collection(l, event, ret);
	case YAML_ALIAS_EVENT:
		return fail(l, &event->start_mark, "aliases are not read");
	default:
		return fail(l, &event->start_mark, "a value is missing");
	}
}

static int load_document(struct loader *l, json_t **ret)
{
	bool found = false;

	*ret = NULL;
	for (;;) {
		yaml_event_t event;
		yaml_event_type_t type;
		int err = next(l, &event);

		if (err < 0)
			return err;
		type = event.type;
		if (type == YAML_DOCUMENT_START_EVENT && found)
			err = fail(l, &event.start_mark, "a second document");
		else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
			 type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT) {
			err = load_value(l, &event, ret);
			found = true;
		}
		yaml_event_delete(&event);
		if (err < 0 || type == YAML_STREAM_END_EVENT)
			return err;
	}
}

int yaml_load(const char *text, size_t len, json_t **ret, char **ret_error)
{
	struct loader l = { .error = ret_error };
	json_t *value = NULL;
	int err;

	if (!yaml_parser_initialize(&l.parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, len);
	err = load_document(&l, &value);
	yaml_parser_delete(&l.parser);
	if (err < 0) {
		json_decref(value);
		return err;
	}
	*ret = value ?: json_null();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_text.h"

#include <stddef.h>
#include <string.h>

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* Behind the string, object, list or other value that begins at p. */
static const char *skip_value(const char *p)
{
	int depth = 0;

	do {
		if (*p == '"')
			for (p++; *p != '"'; p++)
				p += *p == '\\';
		else if (*p == '{' || *p == '[')
			depth++;
		else if (*p == '}' || *p == ']')
			depth--;
		else if (!depth) /* a number, true, false or null */
			return p + strcspn(p, ",}] \t\r\n");
		p++;
	} while (depth);
	return p;
}

/* Behind the comma, if one follows. */
static const char *skip_comma(const char *p)
{
	p = skip_space(p);
	return *p == ',' ? skip_space(p + 1) : p;
}

bool json_text_member(const char *object, const char *key, struct json_span *ret)
{
	size_t len = strlen(key);
	bool found = false;
	struct json_span value;

	for (const char *p = skip_space(skip_space(object) + 1); *p == '"';
	     p = skip_comma(value.end)) {
		const char *name_end = skip_value(p);

		value.begin = skip_space(skip_space(name_end) + 1);
		value.end = skip_value(value.begin);
		if ((size_t)(name_end - p) != len + 2 || strncmp(p + 1, key, len))
			continue;
		*ret = value;
		found = true;
	}
	return found;
}

bool json_text_next(const char *array, struct json_span *span)
{
	const char *p = span->begin ? skip_comma(span->end) : skip_space(skip_space(array) + 1);

	if (*p == ']')
		return false;
	*span = (struct json_span){ p, skip_value(p) };
	return true;
}

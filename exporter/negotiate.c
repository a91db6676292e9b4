/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/negotiate.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* A stretch of a header, without the blanks around it. */
struct span {
	const char *at;
	size_t len;
};

/* One element of a list: "text/plain; version=0.0.4; q=0.5". */
struct choice {
	struct span name;
	struct span version; /* empty: none given */
	int quality; /* 0..1000 */
};

static const char *const content_types[] = {
	[RENDER_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
	[RENDER_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool span_is(struct span s, const char *text)
{
	return strlen(text) == s.len && !strncasecmp(s.at, text, s.len);
}

/* Takes off what stands before the separator, and the separator. */
static struct span split(struct span *rest, char separator)
{
	const char *end = rest->len ? memchr(rest->at, separator, rest->len) : NULL;
	size_t len = end ? (size_t)(end - rest->at) : rest->len;
	struct span s = { rest->at, len };

	rest->at += len + (end ? 1 : 0);
	rest->len -= len + (end ? 1 : 0);
	while (s.len && is_blank(s.at[0])) {
		s.at++;
		s.len--;
	}
	while (s.len && is_blank(s.at[s.len - 1]))
		s.len--;
	return s;
}

/* "0.25" to 250; what is no number counts as 1, like a q that is not there. */
static int parse_quality(struct span s)
{
	int quality = 0, unit = 1000;

	if (!s.len || (s.at[0] != '0' && s.at[0] != '1'))
		return 1000;
	for (size_t i = 0; i < s.len && unit; i++) {
		if (i == 1 && s.at[i] == '.')
			continue;
		if (s.at[i] < '0' || s.at[i] > '9')
			return 1000;
		quality += (s.at[i] - '0') * unit;
		unit /= 10;
	}
	return quality > 1000 ? 1000 : quality;
}

static bool next_choice(struct span *list, struct choice *ret_choice)
{
	struct choice c = { .quality = 1000 };
	struct span element;

	if (!list->len)
		return false;
	element = split(list, ',');
	c.name = split(&element, ';');
	while (element.len) {
		struct span value = split(&element, ';');
		struct span name = split(&value, '=');

		value = split(&value, ';');
		if (span_is(name, "q"))
			c.quality = parse_quality(value);
		else if (span_is(name, "version"))
			c.version = value;
	}
	*ret_choice = c;
	return true;
}

static void prefer(int *quality, int other)
{
	if (other > *quality)
		*quality = other;
}

enum render_format negotiate_format(const char *accept)
{
	struct span list = { accept, accept ? strlen(accept) : 0 };
	int openmetrics = 0, text = -1, wildcard = 0;
	struct choice c;

	while (next_choice(&list, &c)) {
		bool any = !c.version.len;

		if (span_is(c.name, "application/openmetrics-text") &&
		    (any || span_is(c.version, "1.0.0")))
			prefer(&openmetrics, c.quality);
		else if (span_is(c.name, "text/plain") && (any || span_is(c.version, "0.0.4")))
			prefer(&text, c.quality);
		else if (span_is(c.name, "text/*") || span_is(c.name, "*/*"))
			prefer(&wildcard, c.quality);
	}
	if (text < 0) /* what is named outweighs what a wildcard says */
		text = wildcard;
	return openmetrics > 0 && openmetrics >= text ? RENDER_OPENMETRICS : RENDER_TEXT;
}

const char *negotiate_content_type(enum render_format format)
{
	return content_types[format];
}

bool negotiate_gzip(const char *accept_encoding)
{
	struct span list = { accept_encoding, accept_encoding ? strlen(accept_encoding) : 0 };
	int gzip = -1, identity = 0, wildcard = 0;
	struct choice c;

	while (next_choice(&list, &c)) {
		if (span_is(c.name, "gzip") || span_is(c.name, "x-gzip"))
			prefer(&gzip, c.quality);
		else if (span_is(c.name, "identity"))
			prefer(&identity, c.quality);
		else if (span_is(c.name, "*"))
			prefer(&wildcard, c.quality);
	}
	if (gzip < 0)
		gzip = wildcard;
	return gzip > 0 && gzip >= identity;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/text.h"

#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

static const char *const type_names[][2] = {
	[TEXT_COUNTER] = { [RENDER_TEXT] = "counter", [RENDER_OPENMETRICS] = "counter" },
	[TEXT_GAUGE] = { [RENDER_TEXT] = "gauge", [RENDER_OPENMETRICS] = "gauge" },
	[TEXT_INFO] = { [RENDER_TEXT] = "gauge", [RENDER_OPENMETRICS] = "info" },
	[TEXT_HISTOGRAM] = { [RENDER_TEXT] = "histogram", [RENDER_OPENMETRICS] = "histogram" },
};

/* What OpenMetrics takes off a sample's name to get its family's. */
static const char *const suffixes[] = {
	[TEXT_COUNTER] = "_total",
	[TEXT_GAUGE] = "",
	[TEXT_INFO] = "_info",
	[TEXT_HISTOGRAM] = "",
};

const char *text_type_name(enum text_type type, enum render_format format)
{
	return type_names[type][format];
}

static int family_len(enum render_format format, enum text_type type, const char *name)
{
	size_t len = strlen(name), cut = strlen(suffixes[type]);

	if (format == RENDER_OPENMETRICS && len > cut && !strcmp(name + len - cut, suffixes[type]))
		len -= cut;
	return (int)len;
}

static void escape(struct buf *out, char c, const char *escaped)
{
	if (c == '\n')
		buf_str(out, "\\n");
	else if (strchr(escaped, c))
		buf_add(out, (const char[]){ '\\', c }, 2);
	else
		buf_add(out, &c, 1);
}

void text_family(struct buf *out, enum render_format format, enum text_type type, const char *name,
		 const char *help)
{
	int len = family_len(format, type, name);
	const char *escaped = format == RENDER_OPENMETRICS ? "\\\"" : "\\";

	buf_printf(out, "# HELP %.*s ", len, name);
	for (const char *p = help; *p; p++)
		escape(out, *p, escaped);
	buf_printf(out, "\n# TYPE %.*s %s\n", len, name, text_type_name(type, format));
}

/* Length of the UTF-8 sequence at s, of which size bytes may be read; 0 if it is none. */
static size_t utf8_len(const unsigned char *s, size_t size)
{
	static const struct {
		uint8_t first, last; /* byte that starts such a sequence */
		uint8_t len;
		uint8_t low, high; /* bounds of its second byte (RFC 3629, section 4) */
	} forms[] = {
		{ 0x01, 0x7f, 1, 0, 0 },       { 0xc2, 0xdf, 2, 0x80, 0xbf },
		{ 0xe0, 0xe0, 3, 0xa0, 0xbf }, { 0xe1, 0xec, 3, 0x80, 0xbf },
		{ 0xed, 0xed, 3, 0x80, 0x9f }, { 0xee, 0xef, 3, 0x80, 0xbf },
		{ 0xf0, 0xf0, 4, 0x90, 0xbf }, { 0xf1, 0xf3, 4, 0x80, 0xbf },
		{ 0xf4, 0xf4, 4, 0x80, 0x8f },
	};
	size_t i = 0;

	while (i < ARRAY_SIZE(forms) && (*s < forms[i].first || *s > forms[i].last))
		i++;
	if (i == ARRAY_SIZE(forms) || forms[i].len > size)
		return 0;
	if (forms[i].len > 1 && (s[1] < forms[i].low || s[1] > forms[i].high))
		return 0;
	for (size_t n = 2; n < forms[i].len; n++)
		if ((s[n] & 0xc0) != 0x80)
			return 0;
	return forms[i].len;
}

void text_label(struct buf *labels, const char *name, const char *value, size_t size)
{
	size_t len = strnlen(value, size);

	buf_printf(labels, "%s%s=\"", labels->len ? "," : "", name);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len((const unsigned char *)value + i, len - i);

		if (n == 1)
			escape(labels, value[i], "\\\"");
		else if (n)
			buf_add(labels, value + i, n);
		else
			buf_str(labels, "\xef\xbf\xbd");
		i += n ? n : 1;
	}
	buf_str(labels, "\"");
}

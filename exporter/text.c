/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/text.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"

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

void text_label(struct buf *labels, const char *name, const char *value, size_t size)
{
	size_t len = strnlen(value, size);

	buf_printf(labels, "%s%s=\"", labels->len ? "," : "", name);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(value + i, len - i);

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

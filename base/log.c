/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static const char *const format_names[] = { "logfmt", "json" };
static enum log_level threshold = LOG_INFO;
static enum log_format format = LOG_LOGFMT;

static int find_name(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -EINVAL;
}

int log_set_level(const char *name)
{
	int i = find_name(level_names, ARRAY_SIZE(level_names), name);

	if (i < 0)
		return i;
	threshold = (enum log_level)i;
	return 0;
}

int log_set_format(const char *name)
{
	int i = find_name(format_names, ARRAY_SIZE(format_names), name);

	if (i < 0)
		return i;
	format = (enum log_format)i;
	return 0;
}

bool log_enabled(enum log_level level)
{
	return level >= threshold;
}

/* A logfmt value needs quotes when it is empty or holds a space, a quote, = or a control character.
 */
static bool plain(const char *value)
{
	if (!*value)
		return false;
	for (; *value; value++)
		if (*value <= ' ' || *value == '"' || *value == '=' || *value == '\\' ||
		    *value == 0x7f)
			return false;
	return true;
}

static void add_pair(struct buf *line, const char *name, const char *value)
{
	if (format == LOG_JSON) {
		buf_str(line, line->len ? "," : "{");
		buf_json_str(line, name);
		buf_str(line, ":");
		buf_json_str(line, value);
		return;
	}
	buf_printf(line, "%s%s=", line->len ? " " : "", name);
	if (plain(value))
		buf_str(line, value);
	else
		buf_json_str(line, value);
}

static void add_time(struct buf *line)
{
	struct timespec now;
	struct tm tm;
	char text[64];
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03ldZ", now.tv_nsec / 1000000);
	add_pair(line, "ts", text);
}

void log_event(enum log_level level, const char *msg, ...)
{
	_cleanup_buf_ struct buf line = { 0 };
	const char *name, *value;
	va_list ap;

	if (!log_enabled(level))
		return;
	add_time(&line);
	add_pair(&line, "level", level_names[level]);
	add_pair(&line, "msg", msg);
	va_start(ap, msg);
	while ((name = va_arg(ap, const char *))) {
		value = va_arg(ap, const char *);
		if (value)
			add_pair(&line, name, value);
	}
	va_end(ap);
	buf_str(&line, format == LOG_JSON ? "}\n" : "\n");
	if (write(STDERR_FILENO, line.data, line.len) < 0)
		return; /* nowhere left to say it */
}

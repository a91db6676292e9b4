/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/units.h"

#include <stdio.h>

#include "base/cleanup.h"

/* One digit behind the point below ten, none above: 9.9K, 10K, 1023K, 1.0M. */
static const char *scaled(double value, double step, const char *const *suffixes, size_t n,
			  char text[UNITS_TEXT])
{
	size_t i = 0;

	while (i + 1 < n && value >= step - 0.5) {
		value /= step;
		i++;
	}
	snprintf(text, UNITS_TEXT,
		 value < 9.95 && (i || value != (double)(long)value) ? "%.1f%s" : "%.0f%s", value,
		 suffixes[i]);
	return text;
}

const char *units_bytes(double bytes, char text[UNITS_TEXT])
{
	static const char *const suffixes[] = { "", "K", "M", "G", "T", "P", "E" };

	return scaled(bytes, 1024, suffixes, ARRAY_SIZE(suffixes), text);
}

const char *units_rate(double rate, char text[UNITS_TEXT])
{
	static const char *const suffixes[] = { "", "k", "M", "G" };

	return scaled(rate, 1000, suffixes, ARRAY_SIZE(suffixes), text);
}

const char *units_rtt(uint32_t us, char text[UNITS_TEXT])
{
	static const char *const suffixes[] = { "us", "ms", "s" };

	if (!us)
		return "-";
	return scaled(us, 1000, suffixes, ARRAY_SIZE(suffixes), text);
}

const char *units_age(uint64_t ns, char text[UNITS_TEXT])
{
	static const struct {
		uint64_t seconds;
		char suffix;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	uint64_t seconds = ns / 1000000000;
	size_t i = 0;

	while (i + 1 < ARRAY_SIZE(units) && seconds < units[i].seconds)
		i++;
	snprintf(text, UNITS_TEXT, "%llu%c", (unsigned long long)(seconds / units[i].seconds),
		 units[i].suffix);
	return text;
}

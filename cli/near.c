/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/near.h"

#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment over three rows: the last two and the one that is made. */
size_t near_distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), width = lb + 1;
	_cleanup_free_ size_t *rows = xcalloc(3 * width, sizeof(*rows));
	size_t *before = rows, *last = rows + width, *row = rows + 2 * width;

	for (size_t j = 0; j <= lb; j++)
		last[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t *spare = before;

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			row[j] = min(min(last[j], row[j - 1]) + 1,
				     last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = spare;
	}
	return last[lb];
}

bool near_enough(const char *typed, const char *name)
{
	size_t len = strlen(typed);

	if (len >= 2 && strstr(name, typed))
		return true;
	return near_distance(typed, name) <= (len + 1) / 3;
}

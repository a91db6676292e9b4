/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

static int digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

int base64_decode(const char *text, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *out = xcalloc(strlen(text) / 4 * 3 + 4, 1);
	size_t len = 0, digits = 0, padding = 0;
	uint32_t bits = 0;

	for (; *text; text++) {
		if (isspace((unsigned char)*text))
			continue;
		if (*text == '=') {
			padding++;
			continue;
		}
		if (padding || digit(*text) < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)digit(*text);
		if (++digits % 4 == 0) {
			out[len++] = (char)(bits >> 16);
			out[len++] = (char)(bits >> 8);
			out[len++] = (char)bits;
		}
	}
	if ((digits + padding) % 4 || padding > 2)
		return -EINVAL;
	if (padding)
		out[len++] = (char)(padding == 1 ? bits >> 10 : bits >> 4);
	if (padding == 1)
		out[len++] = (char)(bits >> 2);
	out[len] = '\0';
	*ret = TAKE_PTR(out);
	*ret_len = len;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

int base64_decode(const char *text, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *out = xcalloc(strlen(text) / 4 * 3 + 4, 1);
	size_t len = 0, n = 0, padding = 0;
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
		if (++n % 4 == 0) {
			out[len++] = (char)(bits >> 16);
			out[len++] = (char)(bits >> 8);
			out[len++] = (char)bits;
		}
	}
	if ((n + padding) % 4 || padding > 2)
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

char *base64_encode(const void *data, size_t len)
{
	const unsigned char *in = data;
	char *out = xcalloc((len + 2) / 3 * 4 + 1, 1), *p = out;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t bits = (uint32_t)in[i] << 16;

		if (left > 1)
			bits |= (uint32_t)in[i + 1] << 8;
		if (left > 2)
			bits |= in[i + 2];
		*p++ = digits[bits >> 18];
		*p++ = digits[bits >> 12 & 63];
		*p++ = left > 1 ? digits[bits >> 6 & 63] : '=';
		*p++ = left > 2 ? digits[bits & 63] : '=';
	}
	return out;
}

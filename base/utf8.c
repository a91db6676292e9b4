/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

struct range {
	uint32_t first, last;
};

/* East Asian Width W and F, and pictures, in blocks. */
static const struct range wide[] = {
	{ 0x1100, 0x115f },   { 0x2e80, 0xa4cf },   { 0xa960, 0xa97c }, { 0xac00, 0xd7a3 },
	{ 0xf900, 0xfaff },   { 0xfe30, 0xfe6f },   { 0xff00, 0xff60 }, { 0xffe0, 0xffe6 },
	{ 0x1f300, 0x1faff }, { 0x20000, 0x3fffd },
};

/* Marks that sit on the letter before, and what joins letters. */
static const struct range none[] = {
	{ 0x0300, 0x036f }, { 0x200b, 0x200d }, { 0x20d0, 0x20ff },
	{ 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f }, { 0xfeff, 0xfeff },
};

/* C0, DEL and C1; marks and changes of direction; ends of line and paragraph. */
static const struct range obeyed[] = {
	{ 0x0001, 0x001f }, { 0x007f, 0x009f }, { 0x061c, 0x061c },
	{ 0x200e, 0x200f }, { 0x2028, 0x202e }, { 0x2066, 0x2069 },
};

static bool is_in(uint32_t c, const struct range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}

#define IS_IN(c, ranges) is_in(c, ranges, ARRAY_SIZE(ranges))

size_t utf8_len(const char *text, size_t size)
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
	const unsigned char *s = (const unsigned char *)text;
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

/* The character at s, and its length; what is none is one byte of U+FFFD. */
static uint32_t next(const char *s, size_t *ret_len)
{
	size_t len = utf8_len(s, strnlen(s, 4));
	uint32_t c;

	*ret_len = len ?: 1;
	if (len < 2)
		return len ? (uint8_t)*s : 0xfffd;
	c = (uint8_t)*s & (0xff >> (len + 1));
	for (size_t i = 1; i < len; i++)
		c = c << 6 | ((uint8_t)s[i] & 0x3f);
	return c;
}

static size_t columns_of(uint32_t c)
{
	return IS_IN(c, none) ? 0 : IS_IN(c, wide) ? 2 : 1;
}

size_t utf8_columns(const char *text)
{
	size_t columns = 0, len;

	for (; *text; text += len)
		columns += columns_of(next(text, &len));
	return columns;
}

size_t utf8_fit(const char *text, size_t columns)
{
	size_t bytes = 0, taken = 0, len;

	while (text[bytes]) {
		taken += columns_of(next(text + bytes, &len));
		if (taken > columns)
			break;
		bytes += len;
	}
	return bytes;
}

void utf8_disarm(char *text)
{
	char *to = text;
	size_t len;

	for (; *text; text += len) {
		uint32_t c = next(text, &len);

		if (c == 0xfffd || IS_IN(c, obeyed)) {
			*to++ = '?';
		} else {
			memmove(to, text, len);
			to += len;
		}
	}
	*to = '\0';
}

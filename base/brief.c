/* SPDX-License-Identifier: Apache-2.0 */
#include "base/brief.h"

#include "base/buf.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 100
#define LIST_END 40 /* of a list that is longer: as much of either end */
#define LEFT_OUT 40 /* what the brackets may take */

/* The largest start of text, up to `most` bytes, that ends with a character. */
static size_t head(const char *text, size_t most)
{
	while (most && (text[most] & 0xc0) == 0x80)
		most--;
	return most;
}

/* The first byte, from `least` on, at which a character begins. */
static size_t tail(const char *text, size_t least)
{
	while ((text[least] & 0xc0) == 0x80)
		least++;
	return least;
}

/* Its first and last bytes with what is left out between them in brackets. */
static void add_ends(struct buf *b, const char *text, size_t len, size_t first, size_t last)
{
	size_t from = head(text, first), to = tail(text, len - last);

	buf_add(b, text, from);
	buf_printf(b, "[%zu bytes]", to - from);
	buf_add(b, text + to, len - to);
}

/* Words up to a space that is not behind a comma: most often one word, or a list. */
static size_t list_length(const char *text)
{
	size_t len = 0;

	for (;;) {
		len += strcspn(text + len, " ");
		if (!text[len] || !len || text[len - 1] != ',')
			return len;
		len += strspn(text + len, " ");
	}
}

static void shorten_lists(struct buf *b, const char *text)
{
	while (*text) {
		size_t len = list_length(text), spaces = strspn(text + len, " ");

		if (len > LIST_MAX)
			add_ends(b, text, len, LIST_END, LIST_END);
		else
			buf_add(b, text, len);
		buf_add(b, text + len, spaces);
		text += len + spaces;
	}
}

static void add_printable(struct buf *b, const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			buf_printf(b, *text == '\n' ? "\\n" : "\\x%02x", (unsigned char)*text);
		else
			buf_add(b, text, 1);
}

char *brief(const char *text, size_t room)
{
	struct buf printable = { 0 };
	_cleanup_buf_ struct buf lists = { 0 };
	struct buf ends = { 0 };

	add_printable(&printable, text);
	if (printable.len <= LIST_MAX)
		return printable.data ?: xstrdup("");
	shorten_lists(&lists, printable.data);
	buf_free(&printable);
	if (lists.len > room) {
		add_ends(&ends, lists.data, lists.len, (room - LEFT_OUT) / 2,
			 (room - LEFT_OUT) / 2);
		return ends.data;
	}
	return xstrdup(lists.data);
}

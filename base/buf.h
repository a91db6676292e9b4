/* SPDX-License-Identifier: Apache-2.0 */
/* A growing string. Out of memory ends the program: no caller could do better. */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

struct buf {
	char *data; /* always terminated once something was added; owned */
	size_t len;
	size_t cap;
};

void buf_free(struct buf *b);
void buf_add(struct buf *b, const char *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Adds s as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void buf_json_str(struct buf *b, const char *s);
/* The text so far, "" when empty; valid until the next change. */
const char *buf_text(const struct buf *b);

/* calloc() that ends the program when memory is out. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Appends to an array that has grown by doubling: its capacity is the power of two above n. */
#define list_append(items, n, item)                                                          \
	({                                                                                   \
		if (!((n) & ((n)-1)))                                                        \
			(items) = xrealloc((items), ((n) ? 2 * (n) : 1) * sizeof(*(items))); \
		(items)[(n)++] = (item);                                                     \
	})

#define _cleanup_buf_ __attribute__((cleanup(buf_free)))

#endif

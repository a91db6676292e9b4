/* SPDX-License-Identifier: Apache-2.0 */
/* Text as terminals show it, whatever the locale. Names are ASCII in Kubernetes, not in every file.
 */
#ifndef WEIR_BASE_UTF8_H
#define WEIR_BASE_UTF8_H

#include <stddef.h>

/* Length of the sequence at s, of which size bytes may be read; 0 if it is none (RFC 3629). */
size_t utf8_len(const char *s, size_t size);
/* Columns that a text takes; what is no UTF-8 takes one a byte. */
size_t utf8_columns(const char *text);
/* Bytes of its beginning that fit into so many columns. */
size_t utf8_fit(const char *text, size_t columns);
/* Puts "?" in the place of whatever would not be shown but obeyed: controls, escapes, changes of
 * direction, and of what is no UTF-8. */
void utf8_disarm(char *text);

#endif

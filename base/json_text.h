/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where values lie in JSON text. Numbers beyond 64 bits, the digits of a fraction and the order of
 * what a writer chose do not survive a parser: text that others own is handed on, or edited, as
 * text. All of this is for text that a parser has found to be right; it is not checked again.
 */
#ifndef WEIR_BASE_JSON_TEXT_H
#define WEIR_BASE_JSON_TEXT_H

#include <stdbool.h>

/* From the first byte of a value to behind its last. */
struct json_span {
	const char *begin, *end;
};

/* The value of an object's member; of several with that name the last, as for all who parse. */
bool json_text_member(const char *object, const char *key, struct json_span *ret);
/* The element of an array behind `span`, or its first when span->begin is NULL; false at the end.
 */
bool json_text_next(const char *array, struct json_span *span);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Long texts for people: an error that quotes ten thousand items stays readable. */
#ifndef WEIR_BASE_BRIEF_H
#define WEIR_BASE_BRIEF_H

#include <stddef.h>

/* Bytes of a reason or warning in a log line and in a table. */
#define BRIEF_REASON 1000

/*
 * The text in at most `room` bytes (64 at least), owned by the caller. First each list ("1,2,3" or
 * "1, 2, 3") longer than 100 bytes keeps its ends, then the whole does; what is left out is told in
 * brackets: "80,81,[48890 bytes],9999". So what was wrong, and with what, remains. Control
 * characters are written as \x1b, for the text may be an annotation's and the reader a terminal.
 * UTF-8 stays whole.
 */
char *brief(const char *text, size_t room);

#endif

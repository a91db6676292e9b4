/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a command line that only fill a member of the struct that argp hands to the parser:
 * the key in argp's table says which member, so they need neither a name for it nor a case.
 */
#ifndef WEIR_BASE_OPTS_H
#define WEIR_BASE_OPTS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

/* Beyond the keys that a table names itself; argp keeps 24 bits of them. */
enum { OPTS_TEXT = 0x100000, OPTS_FLAG = 0x200000, OPTS_MEMBER = 0x0fffff };

#define OPTS_KEY(kind, held, type, member)                                                         \
	((int)((kind) + offsetof(type, member) +                                                   \
	       0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((type *)0)->member), held) \
				       ? 1                                                         \
				       : -1])))

/* For a member that is a const char *: it points to the argument. */
#define OPT_TEXT(type, member) OPTS_KEY(OPTS_TEXT, const char *, type, member)
/* For a bool, which becomes true. */
#define OPT_FLAG(type, member) OPTS_KEY(OPTS_FLAG, bool, type, member)

/* What a parser returns for a key that it has no case for. */
static inline error_t opts_set(void *input, int key, char *arg)
{
	char *member = (char *)input + (key & OPTS_MEMBER);

	if ((key & ~OPTS_MEMBER) == OPTS_TEXT)
		*(const char **)member = arg;
	else if ((key & ~OPTS_MEMBER) == OPTS_FLAG)
		*(bool *)member = true;
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A set of keys, all of one size and compared by their bytes: those of a kernel's map, or ids. */
#ifndef WEIR_BASE_KEYSET_H
#define WEIR_BASE_KEYSET_H

#include <stdbool.h>
#include <stddef.h>

struct keyset {
	size_t key_size;
	size_t n; /* a key that was added twice counts twice */
	size_t cap;
	char *keys; /* one behind the other; owned */
	bool sorted;
};

void keyset_init(struct keyset *s, size_t key_size);
void keyset_free(struct keyset *s);
void keyset_add(struct keyset *s, const void *key);
/* So that equal ones stand together. */
void keyset_sort(struct keyset *s);
/* Sorts, once after what was added last. */
bool keyset_has(struct keyset *s, const void *key);

#define _cleanup_keyset_ __attribute__((cleanup(keyset_free)))

#endif

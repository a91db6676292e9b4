/* SPDX-License-Identifier: Apache-2.0 */
#include "base/keyset.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

void keyset_init(struct keyset *s, size_t key_size)
{
	*s = (struct keyset){ .key_size = key_size };
}

void keyset_free(struct keyset *s)
{
	free(s->keys);
	*s = (struct keyset){ 0 };
}

void keyset_add(struct keyset *s, const void *key)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->keys = xrealloc(s->keys, s->cap * s->key_size);
	}
	memcpy(s->keys + s->n++ * s->key_size, key, s->key_size);
	s->sorted = false;
}

static int compare_keys(const void *a, const void *b, void *key_size)
{
	return memcmp(a, b, *(size_t *)key_size);
}

void keyset_sort(struct keyset *s)
{
	if (!s->sorted && s->n)
		qsort_r(s->keys, s->n, s->key_size, compare_keys, &s->key_size);
	s->sorted = true;
}

bool keyset_has(struct keyset *s, const void *key)
{
	size_t lo = 0, hi = s->n;

	keyset_sort(s);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int order = memcmp(key, s->keys + mid * s->key_size, s->key_size);

		if (!order)
			return true;
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

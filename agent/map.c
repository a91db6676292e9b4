/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

void desired_init(struct desired *t, size_t key_size, size_t value_size)
{
	*t = (struct desired){ .key_size = key_size, .value_size = value_size };
}

void desired_free(struct desired *t)
{
	free(t->rows);
	*t = (struct desired){ 0 };
}

static size_t row_size(const struct desired *t)
{
	return t->key_size + t->value_size;
}

void desired_add(struct desired *t, const void *key, const void *value)
{
	char *row;

	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 16;
		t->rows = xrealloc(t->rows, t->cap * row_size(t));
	}
	row = t->rows + t->n++ * row_size(t);
	memcpy(row, key, t->key_size);
	if (t->value_size)
		memcpy(row + t->key_size, value, t->value_size);
	t->sorted = false;
}

static int compare_keys(const void *a, const void *b, void *key_size)
{
	return memcmp(a, b, *(size_t *)key_size);
}

void desired_sort(struct desired *t)
{
	if (!t->sorted && t->n)
		qsort_r(t->rows, t->n, row_size(t), compare_keys, &t->key_size);
	t->sorted = true;
}

bool desired_has(struct desired *t, const void *key)
{
	size_t lo = 0, hi = t->n;

	desired_sort(t);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int order = memcmp(key, t->rows + mid * row_size(t), t->key_size);

		if (!order)
			return true;
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

int map_put(int fd, const void *key, const void *value, size_t value_size)
{
	_cleanup_free_ void *old = xcalloc(1, value_size);

	if (bpf_map_lookup_elem(fd, key, old) == 0 && !memcmp(old, value, value_size))
		return 0;
	return bpf_map_update_elem(fd, key, value, BPF_ANY) < 0 ? -errno : 1;
}

int map_remove(int fd, const void *key)
{
	if (bpf_map_delete_elem(fd, key) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int map_prune(int fd, size_t key_size, size_t value_size,
	      bool (*remove)(const void *key, const void *value, void *ctx), void *ctx)
{
	_cleanup_free_ char *key = xcalloc(1, key_size), *next = xcalloc(1, key_size);
	_cleanup_free_ char *value = xcalloc(1, value_size);
	_cleanup_desired_ struct desired doomed;
	const void *from = NULL;
	int removed = 0;

	desired_init(&doomed, key_size, 0);
	while (bpf_map_get_next_key(fd, from, next) == 0) {
		if (bpf_map_lookup_elem(fd, next, value) == 0 && remove(next, value, ctx))
			desired_add(&doomed, next, value);
		memcpy(key, next, key_size);
		from = key;
	}
	for (size_t i = 0; i < doomed.n; i++) {
		int err = map_remove(fd, doomed.rows + i * key_size);

		if (err < 0)
			return err;
		removed += err;
	}
	return removed;
}

static bool not_desired(const void *key, const void *value, void *ctx)
{
	(void)value;
	return !desired_has(ctx, key);
}

int map_sync(int fd, struct desired *t)
{
	int changes = map_prune(fd, t->key_size, t->value_size, not_desired, t);
	int first_error = 0;

	for (size_t i = 0; changes >= 0 && i < t->n; i++) {
		const char *row = t->rows + i * row_size(t);
		int err;

		if (i && !memcmp(row, row - row_size(t), t->key_size))
			continue; /* twice: the first one counts */
		err = map_put(fd, row, row + t->key_size, t->value_size);
		if (err < 0 && !first_error)
			first_error = err;
		else if (err > 0)
			changes++;
	}
	return first_error ?: changes;
}

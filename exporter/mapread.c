/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/mapread.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define BATCH_ENTRIES 1024

/*
 * A walk by keys starts again when the key it stands on is deleted. What comes twice is dropped
 * afterwards; this many times the map's size is when a walk that keeps starting again is given up.
 */
#define WALK_LIMIT 4

/* Entries read so far, in whatever order and however often. */
struct entries {
	uint8_t *data;
	size_t n, cap;
	size_t key_size, value_size;
	bool counted; /* their number is all that is wanted */
};

struct map_shape {
	uint32_t key_size, value_size, max_entries;
};

static int read_shape(int fd, struct map_shape *ret_shape)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	*ret_shape = (struct map_shape){ info.key_size, info.value_size, info.max_entries };
	return 0;
}

static size_t entry_size(const struct entries *e)
{
	return e->key_size + e->value_size;
}

/* Makes room for one more and returns where it goes. */
static uint8_t *entries_next(struct entries *e)
{
	if (e->n == e->cap) {
		e->cap = e->cap ? e->cap * 2 : BATCH_ENTRIES;
		e->data = xrealloc(e->data, e->cap * entry_size(e));
	}
	return e->data + e->n * entry_size(e);
}

static void entries_add(struct entries *e, const uint8_t *keys, const uint8_t *values, size_t n)
{
	if (e->counted) {
		e->n += n;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint8_t *entry = entries_next(e);

		memcpy(entry, keys + i * e->key_size, e->key_size);
		memcpy(entry + e->key_size, values + i * e->value_size, e->value_size);
		e->n++;
	}
}

static int compare_keys(const void *a, const void *b, void *key_size)
{
	return memcmp(a, b, *(size_t *)key_size);
}

static void entries_sort_unique(struct entries *e)
{
	size_t size = entry_size(e), kept = 0;

	if (e->n)
		qsort_r(e->data, e->n, size, compare_keys, &e->key_size);
	for (size_t i = 0; i < e->n; i++) {
		uint8_t *entry = e->data + i * size, *next = e->data + kept * size;

		if (kept && !memcmp(next - size, entry, e->key_size))
			continue;
		if (next != entry)
			memcpy(next, entry, size);
		kept++;
	}
	e->n = kept;
}

/*
 * BPF_MAP_LOOKUP_BATCH: since Linux 5.6 for hash maps (057996380a42). It goes bucket by bucket,
 * so whatever is added or deleted meanwhile, it neither starts again nor returns a key twice.
 */
static int read_batches(int fd, struct entries *e, uint32_t max_entries)
{
	_cleanup_free_ uint8_t *keys = NULL, *values = NULL;
	uint64_t cursor[64]; /* opaque, never longer than a key nor than a bucket's number */
	uint32_t room = 0, want = BATCH_ENTRIES;
	bool first = true;

	if (e->key_size > sizeof(cursor))
		return -EOPNOTSUPP;
	for (;;) {
		uint32_t n;
		int err;

		if (want != room) {
			keys = xrealloc(keys, want * e->key_size);
			values = xrealloc(values, want * e->value_size);
			room = want;
		}
		n = room;
		err = bpf_map_lookup_batch(fd, first ? NULL : cursor, cursor, keys, values, &n,
					   NULL) < 0
			      ? -errno
			      : 0;
		if (err == -ENOSPC && want <= max_entries) {
			want *= 2; /* one bucket holds more than fits */
			continue;
		}
		if (err && err != -ENOENT) /* -ENOENT: these were the last */
			return err;
		entries_add(e, keys, values, n);
		if (err)
			return 0;
		first = false;
	}
}

/* BPF_MAP_GET_NEXT_KEY and a lookup each: any kernel, any map. */
static int walk_keys(int fd, struct entries *e, uint32_t max_entries)
{
	_cleanup_free_ uint8_t *key = xcalloc(1, e->key_size), *value = xcalloc(1, e->value_size);
	uint64_t limit = (uint64_t)max_entries * WALK_LIMIT + 1;
	bool first = true;

	for (uint64_t i = 0; i < limit; i++) {
		if (bpf_map_get_next_key(fd, first ? NULL : key, key) < 0)
			return errno == ENOENT ? 0 : -errno;
		first = false;
		if (bpf_map_lookup_elem(fd, key, value) == 0)
			entries_add(e, key, value, 1);
		else if (errno != ENOENT) /* deleted meanwhile */
			return -errno;
	}
	return -EAGAIN;
}

int map_read(int fd, uint32_t key_size, uint32_t value_size, void **ret_entries, size_t *ret_n)
{
	struct entries e = { .key_size = key_size, .value_size = value_size };
	struct map_shape shape;
	int err;

	err = read_shape(fd, &shape);
	if (err)
		return err;
	if (shape.key_size != key_size || shape.value_size != value_size)
		return -EINVAL;
	err = read_batches(fd, &e, shape.max_entries);
	if (err) {
		e.n = 0;
		err = walk_keys(fd, &e, shape.max_entries);
	}
	if (err) {
		free(e.data);
		return err;
	}
	entries_sort_unique(&e);
	*ret_entries = e.data;
	*ret_n = e.n;
	return 0;
}

/* What kinds of maps know no batches are small ones. */
static int count_keys(int fd, const struct map_shape *shape, size_t *ret_entries)
{
	_cleanup_free_ uint8_t *key = xcalloc(1, shape->key_size);
	uint64_t n = 0;

	while (n < shape->max_entries && bpf_map_get_next_key(fd, n ? key : NULL, key) == 0)
		n++;
	if (n < shape->max_entries && errno != ENOENT)
		return -errno;
	*ret_entries = n;
	return 0;
}

int map_count(int fd, uint64_t *ret_entries, uint64_t *ret_max_entries)
{
	struct entries e = { .counted = true };
	struct map_shape shape;
	int err;

	err = read_shape(fd, &shape);
	if (err)
		return err;
	e.key_size = shape.key_size;
	e.value_size = shape.value_size;
	err = read_batches(fd, &e, shape.max_entries);
	if (err)
		err = count_keys(fd, &shape, &e.n);
	if (err)
		return err;
	*ret_entries = e.n;
	*ret_max_entries = shape.max_entries;
	return 0;
}

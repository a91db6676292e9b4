/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/keyset.h"

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
	_cleanup_keyset_ struct keyset doomed;
	const void *from = NULL;
	int removed = 0;

	keyset_init(&doomed, key_size);
	while (bpf_map_get_next_key(fd, from, next) == 0) {
		if (bpf_map_lookup_elem(fd, next, value) == 0 && remove(next, value, ctx))
			keyset_add(&doomed, next);
		memcpy(key, next, key_size);
		from = key;
	}
	for (size_t i = 0; i < doomed.n; i++) {
		int err = map_remove(fd, doomed.keys + i * key_size);

		if (err < 0)
			return err;
		removed += err;
	}
	return removed;
}

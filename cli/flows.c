/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flows.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/maps.h"

/* The agent has pinned the iterator; reading its file runs it. Without it: as of the last scrape.
 */
static void fold(const char *bpf_dir)
{
	_cleanup_free_ char *path = xasprintf("%s/iter_fold", bpf_dir);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char none[64];
	ssize_t n;

	do
		n = fd < 0 ? 0 : read(fd, none, sizeof(none));
	while (n > 0 || (n < 0 && errno == EAGAIN));
}

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct weir_flow_key));
}

/* A walk begins again when the key that it stands on is deleted: what comes twice is dropped. */
static size_t drop_repeated(struct flow_entry *list, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(list, n, sizeof(*list), by_key);
	for (size_t i = 0; i < n; i++)
		if (!kept || by_key(&list[kept - 1], &list[i]))
			list[kept++] = list[i];
	return kept;
}

int flows_read(const char *bpf_dir, struct flow_entry **ret, size_t *ret_n)
{
	_cleanup_close_ int fd = maps_open(bpf_dir, "weir_flows", sizeof(struct weir_flow_key),
					   sizeof(struct weir_flow));
	struct weir_flow_key *from = NULL, key;
	struct flow_entry *list = NULL, entry;
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);
	size_t n = 0, limit;

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	limit = 2 * (size_t)info.max_entries;
	fold(bpf_dir);
	while (n < limit && !bpf_map_get_next_key(fd, from, &key)) {
		entry.key = key;
		if (!bpf_map_lookup_elem(fd, &key, &entry.value))
			list_append(list, n, entry);
		from = &key;
	}
	*ret_n = drop_repeated(list, n);
	*ret = list;
	return 0;
}

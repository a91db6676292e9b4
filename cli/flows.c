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
static size_t drop_repeated(char *rows, size_t n, size_t size)
{
	size_t kept = 0;

	if (n)
		qsort(rows, n, size, by_key);
	for (size_t i = 0; i < n; i++)
		if (!kept || by_key(rows + (kept - 1) * size, rows + i * size))
			memmove(rows + kept++ * size, rows + i * size, size);
	return kept;
}

/* Rows of a key and a value of this size; there are none of a table that is not there. */
static int read_rows(const char *bpf_dir, const char *name, size_t value_size, char **ret,
		     size_t *ret_n)
{
	_cleanup_close_ int fd =
		maps_open(bpf_dir, name, sizeof(struct weir_flow_key), (uint32_t)value_size);
	size_t size = sizeof(struct weir_flow_key) + value_size, n = 0, room = 0, limit;
	struct weir_flow_key *from = NULL, key;
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);
	char *rows = NULL;

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	limit = 2 * (size_t)info.max_entries;
	while (n < limit && !bpf_map_get_next_key(fd, from, &key)) {
		if (n == room) {
			room = room ? 2 * room : 64;
			rows = xrealloc(rows, room * size);
		}
		memcpy(rows + n * size, &key, sizeof(key));
		if (!bpf_map_lookup_elem(fd, &key, rows + n * size + sizeof(key)))
			n++;
		from = &key;
	}
	*ret_n = drop_repeated(rows, n, size);
	*ret = rows;
	return 0;
}

_Static_assert(sizeof(struct flow_entry) == sizeof(struct weir_flow_key) + sizeof(struct weir_flow),
	       "a row");
_Static_assert(sizeof(struct udp_flow_entry) ==
		       sizeof(struct weir_flow_key) + sizeof(struct weir_udp_flow),
	       "a row");

int flows_read(const char *bpf_dir, struct flow_entry **ret, size_t *ret_n)
{
	fold(bpf_dir);
	return read_rows(bpf_dir, "weir_flows", sizeof(struct weir_flow), (char **)ret, ret_n);
}

int flows_read_udp(const char *bpf_dir, struct udp_flow_entry **ret, size_t *ret_n)
{
	int r = read_rows(bpf_dir, "weir_udp_flows", sizeof(struct weir_udp_flow), (char **)ret,
			  ret_n);

	if (r != -ENOENT)
		return r;
	*ret = NULL;
	*ret_n = 0;
	return 0;
}

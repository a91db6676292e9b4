/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/live.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "cli/maps.h"
#include "conns.skel.h"
#include "maps/datagram.h"

#define ROOM_FIRST 4096 /* rows; more when there are more connections */
#define TRIES	   8 /* connections may grow in number while room is made for them */

enum { TCP, UDP, KINDS };

static const struct {
	const char *map;
	size_t value_size;
	bool optional; /* there only while datagrams are counted */
} kinds[KINDS] = {
	[TCP] = { "weir_conns", sizeof(struct weir_conn), false },
	[UDP] = { "weir_udp_socks", sizeof(struct weir_udp_sock), true },
};

struct live {
	int fds[KINDS]; /* of the maps; -1: it is not there */
	struct conns_bpf *skel;
	struct bpf_link *links[KINDS];
	uint32_t room; /* rows */
	struct weir_live *rows; /* weir_rows, mapped */
};

/* An array's memory, as the kernel sizes it: elements of eight bytes' alignment, whole pages. */
static size_t rows_size(uint32_t room)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (room * sizeof(struct weir_live) + page - 1) / page * page;
}

_Static_assert(sizeof(struct weir_live) % 8 == 0, "elements of an array are aligned so");

static void unload(struct live *l)
{
	if (l->rows)
		munmap(l->rows, rows_size(l->room));
	for (int i = 0; i < KINDS; i++) {
		bpf_link__destroy(l->links[i]);
		l->links[i] = NULL;
	}
	conns_bpf__destroy(l->skel);
	l->rows = NULL;
	l->skel = NULL;
}

static int attach_one(struct live *l, int kind, const struct bpf_program *prog)
{
	union bpf_iter_link_info info = { .map.map_fd = (__u32)l->fds[kind] };
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info,
			    .link_info_len = sizeof(info));

	if (l->fds[kind] < 0)
		return 0;
	l->links[kind] = bpf_program__attach_iter(prog, &opts);
	return l->links[kind] ? 0 : -errno;
}

static int attach(struct live *l)
{
	int err = attach_one(l, TCP, l->skel->progs.weir_list);
	void *rows;

	if (!err)
		err = attach_one(l, UDP, l->skel->progs.weir_list_udp);
	if (err)
		return err;
	rows = mmap(NULL, rows_size(l->room), PROT_READ, MAP_SHARED,
		    bpf_map__fd(l->skel->maps.weir_rows), 0);
	if (rows == MAP_FAILED)
		return -errno;
	l->rows = rows;
	return 0;
}

/* The program with an array of so many rows. */
static int load(struct live *l, uint32_t room)
{
	int err;

	unload(l);
	l->room = room;
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	l->skel = conns_bpf__open();
	if (!l->skel)
		return -errno;
	err = bpf_map__set_max_entries(l->skel->maps.weir_rows, room);
	if (!err)
		err = conns_bpf__load(l->skel);
	return err ?: attach(l);
}

int live_open(const char *bpf_dir, struct live **ret)
{
	_cleanup_live_ struct live *l = xcalloc(1, sizeof(*l));
	int err;

	for (int i = 0; i < KINDS; i++)
		l->fds[i] = -1;
	for (int i = 0; i < KINDS; i++) {
		int fd = maps_open(bpf_dir, kinds[i].map, sizeof(int), kinds[i].value_size);

		if (fd < 0 && !(kinds[i].optional && fd == -ENOENT))
			return fd;
		l->fds[i] = fd < 0 ? -1 : fd;
	}
	err = load(l, ROOM_FIRST);
	if (err)
		return err;
	*ret = TAKE_PTR(l);
	return 0;
}

void live_free(struct live *l)
{
	if (!l)
		return;
	unload(l);
	for (int i = 0; i < KINDS; i++)
		close_fd(&l->fds[i]);
	free(l);
}

bool live_has_udp(const struct live *l)
{
	return l->fds[UDP] >= 0;
}

/* One walk; the file that it runs through has no text. */
static int walk_one(const struct bpf_link *link)
{
	_cleanup_close_ int fd = bpf_iter_create(bpf_link__fd(link));
	char none[64];
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = read(fd, none, sizeof(none));
	while (n > 0 || (n < 0 && errno == EAGAIN)); /* a pause after a million elements */
	return n < 0 ? -errno : 0;
}

/* All of them, one kind after the other. Returns the number of sockets met. */
static int walk(struct live *l, uint32_t *ret_met)
{
	int err = 0;

	l->skel->bss->weir_met = 0;
	for (int i = 0; !err && i < KINDS; i++)
		if (l->links[i])
			err = walk_one(l->links[i]);
	*ret_met = l->skel->bss->weir_met;
	return err;
}

static int by_cookie(const void *a, const void *b)
{
	const struct weir_live *p = a, *q = b;

	return p->socket_cookie < q->socket_cookie ? -1 : p->socket_cookie > q->socket_cookie;
}

/* A walk with a pause in it may have met a connection twice. */
static size_t drop_repeated(struct weir_live *rows, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!kept || rows[kept - 1].socket_cookie != rows[i].socket_cookie)
			rows[kept++] = rows[i];
	return kept;
}

static void copy_rows(const struct live *l, size_t n, struct weir_live **ret, size_t *ret_n)
{
	struct weir_live *rows = xcalloc(n + 1, sizeof(*rows));

	memcpy(rows, l->rows, n * sizeof(*rows));
	qsort(rows, n, sizeof(*rows), by_cookie);
	*ret_n = drop_repeated(rows, n);
	*ret = rows;
}

int live_read(struct live *l, struct weir_live **ret, size_t *ret_n)
{
	for (int i = 0; i < TRIES; i++) {
		uint32_t met = 0;
		int err = walk(l, &met);

		if (!err && met <= l->room) {
			copy_rows(l, met, ret, ret_n);
			return 0;
		}
		if (!err)
			err = load(l, met + met / 4);
		if (err)
			return err;
	}
	return -EAGAIN;
}

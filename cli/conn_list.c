/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conn_list.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"

/* What a kernel says no to is best explained by `weir check`. */
static int explain(const char *bpf_dir, int err, char **ret_error)
{
	if (err == -ENOENT || err == -ENOTDIR || err == -EACCES || err == -EPROTO)
		*ret_error = maps_error(bpf_dir, "weir_conns", err);
	else if (err == -EPERM)
		*ret_error = xasprintf("cannot read connections: permission denied: run as root, "
				       "or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN");
	else
		*ret_error = xasprintf("cannot read connections: %s; weir check tells what this "
				       "kernel lacks",
				       strerror(-err));
	return err;
}

int conn_list_open(const char *bpf_dir, struct conn_list *ret, char **ret_error)
{
	struct conn_list list = { .bpf_dir = bpf_dir, .directory = { .names_fd = -1 } };
	int r = directory_open(bpf_dir, &list.directory);

	if (r == 0)
		r = live_open(bpf_dir, &list.live);
	if (r < 0) {
		conn_list_close(&list);
		return explain(bpf_dir, r, ret_error);
	}
	*ret = list;
	return 0;
}

int conn_list_read(struct conn_list *list, const struct conn_filter *filter, char **ret_error)
{
	_cleanup_free_ struct weir_live *rows = NULL;
	struct conn *conns;
	size_t n = 0, met;
	int r = directory_refresh(&list->directory);

	if (r == 0)
		r = live_read(list->live, &rows, &met);
	if (r < 0)
		return explain(list->bpf_dir, r, ret_error);
	conns = xcalloc(met + 1, sizeof(*conns));
	for (size_t i = 0; i < met; i++) {
		conn_describe(&conns[n], &rows[i], &list->directory);
		n += conn_matches(filter, &conns[n]);
	}
	free(list->conns);
	list->conns = conns;
	list->n = n;
	return 0;
}

void conn_list_close(struct conn_list *list)
{
	free(list->conns);
	live_free(list->live);
	if (list->bpf_dir)
		directory_close(&list->directory);
	*list = (struct conn_list){ 0 };
}

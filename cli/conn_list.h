/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of this node with their names, as often as they are asked for. */
#ifndef WEIR_CLI_CONN_LIST_H
#define WEIR_CLI_CONN_LIST_H

#include "cli/conn_filter.h"
#include "cli/directory.h"
#include "cli/live.h"

struct conn_list {
	const char *bpf_dir;
	struct live *live;
	struct directory directory;
	struct conn *conns; /* owned */
	size_t n;
};

/* Both: 0, or -errno with one line for the user in *ret_error, the caller's. */
int conn_list_open(const char *bpf_dir, struct conn_list *ret, char **ret_error);
/* Those that match, by socket cookie; the former ones end. */
int conn_list_read(struct conn_list *list, const struct conn_filter *filter, char **ret_error);
void conn_list_close(struct conn_list *list);

#define _cleanup_conn_list_ _cleanup_(conn_list_close)

#endif

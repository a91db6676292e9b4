// SPDX-License-Identifier: Apache-2.0
/* User and group ids of a process, changed for good or for one system call. */
#pragma once
#include <grp.h>

#include "base.h"

/* -1: leave it as it is */
struct ids {
	uid_t uid;
	gid_t gid;
};

/* The saved ids stay 0, so that every change can be taken back. */
static void become(struct ids ids, bool real)
{
	if (setresgid(real ? ids.gid : (gid_t)-1, ids.gid, 0) ||
	    setresuid(real ? ids.uid : (uid_t)-1, ids.uid, 0))
		die("changing ids needs root: %s", strerror(errno));
}

static void become_root(void)
{
	if (seteuid(0) || setresuid(0, 0, 0) || setresgid(0, 0, 0))
		die("becoming root again: %s", strerror(errno));
}

static bool has_ids(struct ids ids)
{
	return ids.uid != (uid_t)-1 || ids.gid != (gid_t)-1;
}

static void set_groups(char *text)
{
	uint64_t list[MAX_ITEMS];
	gid_t groups[MAX_ITEMS];
	size_t count = number_list(text, list);

	for (size_t i = 0; i < count; i++)
		groups[i] = list[i];
	if (setgroups(count, groups))
		die("setgroups: %s", strerror(errno));
}

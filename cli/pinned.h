/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pinned links: BPFDIR/links/HOOK at the kubepods cgroup, BPFDIR/netns/COOKIE in a captured pod's
 * network namespace.
 */
#ifndef WEIR_CLI_PINNED_H
#define WEIR_CLI_PINNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The names under links/, in the order in which they are detached: no new redirects first. */
extern const char *const pinned_hook_names[];
extern const size_t pinned_hooks_n;
#define PINNED_HOOKS_DIVERT 4 /* so many of them divert new connections */

struct pinned_link {
	uint32_t id;
	uint32_t prog_id;
	char prog_name[16];
	bool attached; /* false: what it was attached to is gone, or somebody detached it */
};

/* -ENOENT when nothing is pinned there, -EMEDIUMTYPE when it is no link. */
int pinned_link_read(const char *path, struct pinned_link *ret);
/* Does the program of this link bear a name of weir's? */
bool pinned_link_is_ours(const struct pinned_link *link);
/* Is any hook under BPFDIR/links attached? */
bool pinned_any_attached(const char *bpf_dir);
/* Name and tag (which may be NULL) of a loaded program. 0 or -errno. */
int prog_info(uint32_t id, char ret_name[16], char ret_tag[17]);

#endif

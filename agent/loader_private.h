/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the loader share: loader.c for the node, loader_netns.c for each pod. */
#ifndef WEIR_AGENT_LOADER_PRIVATE_H
#define WEIR_AGENT_LOADER_PRIVATE_H

#include <bpf/libbpf.h>

#include "agent/former.h"
#include "agent/loader.h"

#define LOADER_HOOKS 20

struct loader {
	struct loader_options options;
	char *bpf_dir;
	char *cgroup_root;
	int lock_fd; /* BPFDIR itself, locked while this process lives */
	int cgroup_fd; /* of cgroup_root */
	struct weir_bpf *skel;
	struct bpf_link *links[LOADER_HOOKS];
	bool made[LOADER_HOOKS]; /* by this process, not adopted */
	struct bpf_link *fold;
	struct bpf_link *adopt;
	struct bpf_link *set_state; /* NULL unless a found connection needs it */
	struct bpf_link *udp_dropped; /* NULL unless WITH_UDP */
	struct former former; /* what an earlier agent left of another size */
	uint64_t *fresh; /* cookies whose link already runs this agent's program */
	size_t n_fresh;
};

/* Not the compiler's: weir_bpf.rodata. */
bool loader_owns(const struct bpf_map *map);

#endif

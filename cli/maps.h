/* SPDX-License-Identifier: Apache-2.0 */
/* The pinned maps, as the commands read them: with or without an agent. */
#ifndef WEIR_CLI_MAPS_H
#define WEIR_CLI_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "maps/pod.h"

/*
 * A descriptor of BPFDIR/name, the caller's. -ENOENT: not there; -EPROTO: its keys or values have
 * other sizes than this program knows.
 */
int maps_open(const char *bpf_dir, const char *name, uint32_t key_size, uint32_t value_size);
/* One line that says what to do about an error of maps_open(); the caller's. */
char *maps_error(const char *bpf_dir, const char *name, int err);

/* A pod that the agent has put into the maps. */
struct pod_entry {
	uint64_t cookie; /* of its network namespace */
	struct weir_pod_names names;
	struct weir_pod policy;
	bool has_policy; /* false: not even observed */
};

struct pod_list {
	struct pod_entry *items; /* owned, by namespace and name, the newest first */
	size_t n;
};

void pod_list_free(struct pod_list *pods);
#define _cleanup_pods_ _cleanup_(pod_list_free)

/* All of weir_pod_names with their policies. Errors are those of maps_open("weir_pod_names"). */
int maps_pods(const char *bpf_dir, struct pod_list *ret);

const char *maps_mesh_name(enum weir_mesh mesh);
/* "captured", "not_captured" or "failed" */
const char *maps_state_name(const struct pod_entry *pod);

#endif

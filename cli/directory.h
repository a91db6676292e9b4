/* SPDX-License-Identifier: Apache-2.0 */
/* What the ids and cookies in weir's maps are called: pods of this node, workloads, Services. */
#ifndef WEIR_CLI_DIRECTORY_H
#define WEIR_CLI_DIRECTORY_H

#include "cli/maps.h"
#include "maps/flow.h"

struct directory {
	const char *bpf_dir;
	int names_fd; /* weir_names */
	struct pod_list pods; /* by cookie */
	void *names; /* a tree of what was asked for: an id is never given to another name */
	void *same; /* of these, the first of each name */
};

/* Errors are those of maps_open(). bpf_dir must outlive it. */
int directory_open(const char *bpf_dir, struct directory *ret);
void directory_close(struct directory *d);
/* Reads the pods anew; pointers to the former ones end. */
int directory_refresh(struct directory *d);

/* NULL when no pod of that network namespace is known (any more). */
const struct pod_entry *directory_pod(const struct directory *d, uint64_t cookie);
/* Never NULL: an id that is fixed, or that nothing names, reads "external", "unknown", ... */
const struct weir_name *directory_name(struct directory *d, uint32_t id);
/* One id for all of that name: each pod of a workload may have one of its own. */
uint32_t directory_same(struct directory *d, uint32_t id);

#define _cleanup_directory_ _cleanup_(directory_close)

#endif

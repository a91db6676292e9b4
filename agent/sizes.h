/* SPDX-License-Identifier: Apache-2.0 */
/* How large the kernel's tables are: --map-size. What each bounds stands in docs/METRICS.md. */
#ifndef WEIR_AGENT_SIZES_H
#define WEIR_AGENT_SIZES_H

#include <bpf/libbpf.h>
#include <stdint.h>

#define SIZES_MAX 32 /* options; of two for one table the last one counts */

struct sizes {
	struct {
		char map[16];
		uint32_t entries;
	} items[SIZES_MAX];
	size_t n;
};

/* arg: MAP=N. -EINVAL with *ret_error, the caller's. */
int sizes_parse(struct sizes *sizes, const char *arg, char **ret_error);
/* Before obj is loaded. A table that is pinned in bpf_dir keeps its size, which is said. 0 or
 * -errno. */
int sizes_apply(const struct sizes *sizes, struct bpf_object *obj, const char *bpf_dir);

#endif

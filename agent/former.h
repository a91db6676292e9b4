/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables that an earlier agent left pinned, of another size or layout. Most keep the size that they
 * have. Those of flows grow when they must: the earlier one is set aside, the hooks count into a
 * larger one from the moment of their update on, and then what was counted before is moved there,
 * within the kernel, each figure in one step. An agent that is killed meanwhile leaves both tables,
 * and the next one goes on with them.
 */
#ifndef WEIR_AGENT_FORMER_H
#define WEIR_AGENT_FORMER_H

#include <bpf/libbpf.h>
#include <stdint.h>

enum former_table { FORMER_FLOWS, FORMER_UDP_FLOWS, FORMER_TABLES };

struct former {
	uint32_t words[FORMER_TABLES]; /* of 64 bits, of a value in the table set aside; 0: none */
};

/*
 * Before obj is loaded: gives its maps the sizes of what is pinned in bpf_dir, and sets a table of
 * flows aside that has not room for `flows` of them. 0, or -errno with *ret_error when one cannot
 * be taken over.
 */
int former_adopt(const char *bpf_dir, struct bpf_object *obj, uint32_t flows, struct former *ret,
		 char **ret_error);

/*
 * Once all hooks count into the new table: moves what is in the one set aside, by a program of
 * bpf/merge.bpf.c that was loaded with former's words. 0 or -errno.
 */
int former_merge(const char *bpf_dir, const struct former *former, enum former_table table,
		 const struct bpf_program *merge);

#endif

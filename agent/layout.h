/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a pinned table's keys and values are laid out as this version has them, by what the
 * kernel keeps of their types (BTF). Sizes tell a version with more fields; they do not tell one in
 * which two fields have changed places, or one has another meaning, which has another name then.
 */
#ifndef WEIR_AGENT_LAYOUT_H
#define WEIR_AGENT_LAYOUT_H

#include <bpf/btf.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Each member of the former type is there still, of its name, place and type. What was padding, by
 * the name pad, may have become anything: it is zero. False with *ret_name, a member that differs,
 * which lives as long as `former` does. Type 0, of which nothing is known, is like every other.
 */
bool layout_is_kept(const struct btf *former, uint32_t former_type, const struct btf *now,
		    uint32_t now_type, const char **ret_name);

#endif

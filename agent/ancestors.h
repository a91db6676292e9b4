/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of others at the cgroups above ours, where attaching would break them or fail. */
#ifndef WEIR_AGENT_ANCESTORS_H
#define WEIR_AGENT_ANCESTORS_H

/*
 * A program that an ancestor attached with BPF_F_ALLOW_OVERRIDE is silently disabled for everything
 * below as soon as somebody attaches there (compute_effective_progs() in kernel/bpf/cgroup.c): that
 * is not for weir to do. -EEXIST with *ret_error when there is one for this attach type; else 0.
 */
int ancestors_allow(const char *cgroup, const char *hook, int attach_type, char **ret_error);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between kernels, each entry found by trying: what is missing, since when it is
 * there, and what weir does instead. What cannot be replaced fails when the programs are loaded.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "agent/agent.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

static bool has_set_retval(void)
{
	return libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, NULL) ==
	       1;
}

static const struct feature {
	bool (*present)(void);
	const char *note;
} features[] = {
	/* b44123b4a3dc, 5.18. Can go when 5.15 is no longer supported. */
	{ has_set_retval, "bpf_set_retval is missing (it came with Linux 5.18): a connection that "
			  "weir itself refuses gets EPERM instead of ECONNREFUSED" },
};

void feature_probe(struct agent *agent)
{
	agent->notes = xcalloc(ARRAY_SIZE(features), sizeof(*agent->notes));
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].present())
			continue;
		agent->notes[agent->n_notes++] = features[i].note;
		log_warn("kernel", "lacks", features[i].note, NULL);
	}
}

/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* One case: what is asked, and what was answered. */
#ifndef WEIR_TESTS_BPF_DECIDE_H
#define WEIR_TESTS_BPF_DECIDE_H

#include "maps/decide.h"

struct decide_case {
	struct weir_pod pod;
	struct weir_connect connect;
	struct weir_syn syn;
	__u8 inbound;
	__u8 pad[3];
	enum weir_presence presence;
	struct weir_answer answer; /* by the program */
};

#endif

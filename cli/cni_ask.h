/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin's end of RUNDIR/cni.sock. */
#ifndef WEIR_CLI_CNI_ASK_H
#define WEIR_CLI_CNI_ASK_H

#include "cli/cni_request.h"

/* An agent that takes a request says so within moments: a space before its answer. */
enum cni_patience {
	CNI_WAITS_FOR_A_SIGN, /* so long, and less where one was silent just now; then for the rest
			       */
	CNI_WAITS_FOR_ALL, /* of the time, though it is silent */
};

/*
 * Hands the request to the agent and waits for its answer, timeout_ms at most. 0 with *ret, which
 * is the caller's; else -errno: nobody answered, or not as an agent does.
 */
int cni_ask(const struct cni_request *r, int timeout_ms, enum cni_patience patience, json_t **ret);

#endif

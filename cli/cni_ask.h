/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin's end of RUNDIR/cni.sock. */
#ifndef WEIR_CLI_CNI_ASK_H
#define WEIR_CLI_CNI_ASK_H

#include "cli/cni_request.h"

/*
 * Hands the request to the agent and waits for its answer, timeout_ms at most. 0 with *ret, which
 * is the caller's; else -errno: nobody answered, or not as an agent does.
 */
int cni_ask(const struct cni_request *r, int timeout_ms, json_t **ret);

#endif

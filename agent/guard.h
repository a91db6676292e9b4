/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod that CNI ADD told of and whose object does not come starts all the same, or a broken watch
 * would stop the node. Where it is likely to be one that weir captures it is refused its
 * connections until the object is there: none of them passes its proxy by. The pod is pending.
 */
#ifndef WEIR_AGENT_GUARD_H
#define WEIR_AGENT_GUARD_H

#include "agent/managed.h"
#include "agent/sandbox.h"

/* Makes m stand for the sandbox's pod, with a policy that refuses. */
void guard_take(struct managed *m, const struct sandbox *sandbox);

#endif

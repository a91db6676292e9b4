/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's tables hold and no pod has any more. */
#ifndef WEIR_AGENT_LEFTOVER_H
#define WEIR_AGENT_LEFTOVER_H

#include "agent/reconcile.h"

/*
 * Takes in the pods that an earlier agent left in the kernel's tables, once, before the first run:
 * what is captured stays captured, and is shown, until a source tells of the pod or all sources
 * have been read and none does. 0 or -errno.
 */
int leftover_recall(struct reconciler *r);
/* Has the network namespace of a recalled pod ended, as far as the kernel tells? */
bool leftover_ended(const struct reconciler *r, const struct managed *m);
/* Removes the addresses, links and routes that this run has not found. The number of changes. */
int leftover_former(struct reconciler *r);

#endif

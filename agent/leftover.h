/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's tables hold and no pod has any more. */
#ifndef WEIR_AGENT_LEFTOVER_H
#define WEIR_AGENT_LEFTOVER_H

#include "agent/reconcile.h"

/*
 * Lets go what an earlier agent captured and nobody names now; once, as soon as all sources can be
 * read (r->adopted). The number of changes.
 */
int leftover_strangers(struct reconciler *r);
/* Removes the addresses, links and routes that this run has not found. The number of changes. */
int leftover_former(struct reconciler *r);

#endif

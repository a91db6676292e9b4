/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which network namespace is a pod's. Only one pod may have it: what two claim stays with the one
 * that has it.
 */
#ifndef WEIR_AGENT_CLAIM_H
#define WEIR_AGENT_CLAIM_H

#include "agent/reconcile.h"

/* The pod that has the network namespace, other than `but`; NULL: none. */
struct managed *claim_holder(const struct reconciler *r, uint64_t cookie,
			     const struct managed *but);
/* Finds the pod's network namespace: a file descriptor, or -errno with *ret_error (the caller's).
 */
int claim_netns(struct reconciler *r, struct managed *m, uint64_t *ret_cookie, char **ret_error);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What weir does with this node's pods, told where their owners look: as Events of the API. */
#ifndef WEIR_AGENT_REPORT_H
#define WEIR_AGENT_REPORT_H

#include "agent/kube.h"
#include "agent/reconcile.h"

/* After each reconciliation. Only pods that the API knows: for others there is nobody to tell. */
void report_pods(struct kube *kube, const struct reconciler *r);
/* An object of the API that is not understood. */
void report_broken(struct kube *kube, const json_t *pod, const char *error);

#endif

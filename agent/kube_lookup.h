/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_AGENT_KUBE_LOOKUP_H
#define WEIR_AGENT_KUBE_LOOKUP_H

struct kube;

/* Ends what kube_lookup_pod() has begun. */
void kube_lookups_stop(struct kube *k);

#endif

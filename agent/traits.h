/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What metrics say of workloads beyond their names, where flags ask for it: a series for each pod
 * (--metrics.pod-label), Istio's labels (--metrics.istio). Kept in weir_traits, so that the last
 * figures of a workload bear the same labels as those before.
 */
#ifndef WEIR_AGENT_TRAITS_H
#define WEIR_AGENT_TRAITS_H

#include "agent/managed.h"
#include "agent/names.h"
#include "agent/source.h"

struct traits_options {
	bool pod_label;
	bool istio;
};

/* Under which id a pod's connections are counted. */
uint32_t traits_workload(struct names *names, const struct traits_options *options,
			 const struct managed *m);

/*
 * Describes every workload of the source as Istio's labels have it, once. Of pods that differ the
 * one counts that has replaced the others; a workload is reported if any of its pods is.
 */
void traits_sync(struct names *names, const struct traits_options *options,
		 const struct source *source);

#endif

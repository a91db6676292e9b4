/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose pod is it? Workload name and kind as Istio derives them, so that metrics of both join
 * (istio: pkg/kube/util.go, GetWorkloadMetaFromPod).
 */
#ifndef WEIR_AGENT_WORKLOAD_H
#define WEIR_AGENT_WORKLOAD_H

#include "agent/pod.h"
#include "maps/flow.h"

/* Both results are owned by the caller and never empty. */
void pod_workload(const struct pod *pod, char **ret_name, char **ret_kind);

/*
 * All that metrics may say of a pod besides: its name, canonical service and revision as Istio
 * derives them (istio: pkg/config/labels, the injector's labels), and whether a proxy of Istio's
 * tells of its connections. workload: its name.
 */
void pod_traits(const struct pod *pod, const char *workload, struct weir_traits *ret);

#endif

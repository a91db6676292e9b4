/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose pod is it? Workload name and kind as Istio derives them, so that metrics of both join
 * (istio: pkg/kube/util.go, GetWorkloadMetaFromPod).
 */
#ifndef WEIR_AGENT_WORKLOAD_H
#define WEIR_AGENT_WORKLOAD_H

#include "agent/pod.h"

/* Both results are owned by the caller and never empty. */
void pod_workload(const struct pod *pod, char **ret_name, char **ret_kind);

#endif

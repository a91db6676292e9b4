/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is weir being uninstalled? The agent's end alone does not tell: an upgrade is one too. So it
 * watches the DaemonSet that it belongs to. The watch is open while that lives, so the event comes
 * although the same `helm uninstall` takes away our right to ask. When the DaemonSet goes:
 *
 *     RUNDIR/uninstalled is written --> SIGTERM --> install-cni removes weir-cni, and that file
 *                                              \--> the agent ends and becomes `weir cleanup`
 *
 * An event that was missed leaves everything in place, diverted and counted. So does a DaemonSet
 * that leaves its pods to another one, or that is there again before this agent has ended.
 */
#ifndef WEIR_AGENT_UNINSTALL_H
#define WEIR_AGENT_UNINSTALL_H

#include <stdbool.h>

#include "agent/kube_client.h"
#include "agent/kube_json.h"

struct uninstall {
	struct kube_client *client;
	struct kube_request *request; /* NULL: waiting for the timer */
	struct kube_json *json;
	char *path; /* of the watch; NULL: no DaemonSet was named */
	char *mark; /* RUNDIR/uninstalled */
	int timer;
	bool refused; /* said once */
	bool orphaning; /* its pods are to outlive it */
	bool decided;
};

/* daemonset: NAMESPACE/NAME, NULL: not watched. Removes an old mark. 0 or -errno. */
int uninstall_watch(struct uninstall *u, struct loop *loop, struct kube_client *client,
		    const char *daemonset, const char *run_dir);
void uninstall_stop(struct uninstall *u);

/* The agent has let everything go: removes what is to outlive agents in run_dir, detaches what is
 * pinned in bpf_dir. Returns only on failure. */
int uninstall_finish(const char *run_dir, const char *bpf_dir);

#endif

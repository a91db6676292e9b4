/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STATEDIR/captured.json: what weir-cni is to hold up while no agent runs. It outlives a reboot,
 * after which the runtime makes the sandboxes of all pods anew, perhaps before the agent's own.
 */
#ifndef WEIR_AGENT_CAPTURED_H
#define WEIR_AGENT_CAPTURED_H

#include "agent/reconcile.h"
#include "agent/writer.h"

struct captured {
	char *path;
	struct writer *writer; /* NULL: nothing is written */
	char *text; /* what the file holds or is given; NULL: this agent has written nothing yet */
	bool failed; /* told already */
};

/* Forgets what weir-cni has noted of an earlier agent, as well: RUNDIR/cni-*. 0 or -errno. */
int captured_open(struct captured *c, struct loop *loop, const char *state_dir,
		  const char *run_dir);
void captured_close(struct captured *c);
/*
 * Is the pod of a sandbox whose object is not known likely to be captured? As weir-cni judges while
 * no agent runs; what its namespace asks for now counts more than what was written of it.
 */
bool captured_expected(const struct captured *c, const struct reconciler *r,
		       const struct sandbox *sandbox);
/*
 * After a run that knew all pods. Writes only what has changed, beside the loop: nothing waits for
 * it. An agent that dies before that leaves what was so some seconds ago: a pod that is not in it
 * is judged by its namespace.
 */
void captured_update(struct captured *c, const struct reconciler *r);

#endif

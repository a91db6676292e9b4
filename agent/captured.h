/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STATEDIR/captured.json: what weir-cni is to hold up while no agent runs. It outlives a reboot,
 * after which the runtime makes the sandboxes of all pods anew, perhaps before the agent's own.
 */
#ifndef WEIR_AGENT_CAPTURED_H
#define WEIR_AGENT_CAPTURED_H

#include "agent/reconcile.h"

struct captured {
	char *path; /* NULL: nothing is written */
	char *written; /* what the file holds, as far as this agent wrote it */
	bool failed; /* told already */
};

/* Ends what weir-cni counts while no agent runs, as well: RUNDIR/cni-away. */
void captured_open(struct captured *c, const char *state_dir, const char *run_dir);
void captured_close(struct captured *c);
/*
 * Is the pod of a sandbox whose object is not known likely to be captured? As weir-cni judges while
 * no agent runs; what its namespace asks for now counts more than what was written of it.
 */
bool captured_expected(const struct captured *c, const struct reconciler *r,
		       const struct sandbox *sandbox);
/* After a run that knew all pods. Writes only what has changed. */
void captured_update(struct captured *c, const struct reconciler *r);

#endif

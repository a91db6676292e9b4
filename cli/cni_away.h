/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a pod while no agent answers. Nothing is asked of the API or of the agent here:
 * what the agent wrote down while it ran (STATEDIR/captured.json, which outlives a reboot) says
 * which pods it would capture. Only they are held up, and not for ever.
 */
#ifndef WEIR_CLI_CNI_AWAY_H
#define WEIR_CLI_CNI_AWAY_H

#include "cli/cni_request.h"

/* Is it a pod that the node may need to recover? It starts, whatever is wrong. */
bool cni_away_exempts(const struct cni_request *r, const char **ret_why);
/* Does it start unseen where nobody knows it? So the administrator wants it, or the node needs it.
 */
bool cni_away_never_refused(const struct cni_request *r);
/* Does it start without an agent, whatever agentAway says of those that weir would capture? */
bool cni_away_needs_nobody(const struct cni_request *r, const char **ret_why);
/* True when the pod may start; *ret_why is a static text. */
bool cni_away_allows(const struct cni_request *r, const char **ret_why);

#endif

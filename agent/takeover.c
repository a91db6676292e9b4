/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/takeover.h"

#include "agent/rules.h"
#include "base/buf.h"
#include "base/cleanup.h"

void takeover_decide(struct policy *policy, struct taken before, int netns_fd, const char *netns)
{
	_cleanup_free_ char *command = NULL;
	uint32_t kinds = 0;

	if (policy->state == POLICY_CAPTURED && before.over)
		policy->pod.flags |= WEIR_POD_TAKEN_OVER;
	/* what a captured pod loads is no way out; what was taken over by request goes back by one
	 */
	if (policy->state != POLICY_CAPTURED ||
	    (!policy->takeover && before.captured && !before.over) ||
	    rules_find(netns_fd, &kinds) || !kinds)
		return;
	if (!policy->takeover) {
		policy_decline(policy, xstrdup("the pod has its own iptables rules, which redirect "
					       "it; to have weir take over, annotate it with "
					       "weir.io/takeover: \"on\""));
		return;
	}
	policy->pod.flags |= WEIR_POD_TAKEN_OVER;
	command = rules_removal(kinds, netns);
	policy_add_warning(policy,
			   xasprintf("weir has taken over from the pod's own iptables rules; they "
				     "can go, on its node: %s",
				     command));
	policy->took_over = policy->warnings[policy->n_warnings - 1];
}

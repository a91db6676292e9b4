/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/fallback.h"

#include "base/cleanup.h"
#include "cli/ctl.h"
#include "cli/pinned.h"

void fallback_say(const struct options *o, int ctl_err)
{
	_cleanup_free_ char *why = ctl_error(o->run_dir, ctl_err);

	if (!ctl_nobody(ctl_err))
		options_fail(o, "%s; told from what is pinned", why);
	else if (pinned_any_attached(o->bpf_dir))
		options_fail(o, "agent is not running; traffic is still diverted by the pinned "
				"programs");
	else
		options_fail(o,
			     "agent is not running, and no program of its is attached: traffic is "
			     "not diverted");
}

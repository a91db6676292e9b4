/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guard.h"

#include "base/buf.h"

static const char reason[] =
	"its object is not known yet: the API has not told of it; it is refused "
	"its connections until then";

void guard_take(struct managed *m, const struct sandbox *sandbox)
{
	const struct source_file said = { .name = (char *)"CNI ADD" };
	const struct pod pod = { .namespace = sandbox->namespace,
				 .name = sandbox->name,
				 .uid = sandbox->uid };
	struct place place = { .netns = xstrdup(sandbox->netns),
			       .cgroup = xstrdup(""),
			       .how = PLACE_CNI };

	managed_take(m, &pod, &said, &place);
	m->guard = true;
	m->policy = xcalloc(1, sizeof(*m->policy));
	m->policy->state = POLICY_PENDING;
	m->policy->reason = xstrdup(reason);
	m->policy->pod.mode = WEIR_MODE_REFUSE;
	pod_addresses(&pod, &m->policy->pod.ip4, &m->policy->pod.ip6);
}

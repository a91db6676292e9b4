/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/place.h"

#include "base/buf.h"

const char *place_how_name(enum place_how how)
{
	static const char *const names[] = {
#define X(NAME, text) [PLACE_##NAME] = text,
		PLACE_HOWS(X)
#undef X
	};

	return names[how];
}

void place_free(struct place *p)
{
	free(p->netns);
	free(p->cgroup);
	*p = (struct place){ 0 };
}

/* The pod file's word counts most: whoever writes it knows where the pod is. */
bool place_find(const struct sandboxes *sandboxes, const struct pod *pod, struct place *ret)
{
	const char *netns = pod_annotation(pod, "weir.io/netns");
	const char *cgroup = pod_annotation(pod, "weir.io/cgroup");
	const struct sandbox *sandbox = sandboxes_of_pod(sandboxes, pod);

	if (pod->host_network || !(netns || sandbox))
		return false;
	*ret = (struct place){ .how = netns ? PLACE_FILE : PLACE_CNI,
			       .netns = xstrdup(netns ?: sandbox->netns),
			       .cgroup = xstrdup(cgroup ?: "") };
	return true;
}

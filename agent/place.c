/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/place.h"

#include <string.h>

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

/* "" when there is none yet. */
static const char *find_cgroup(const struct places *places, const struct pod *pod)
{
	const char *said = pod_annotation(pod, "weir.io/cgroup");
	const char *hash = pod_annotation(pod, POD_CONFIG_HASH);
	const char *found = said ?: discovery_cgroup(places->discovery, pod->uid);

	if (!found && hash) /* a static pod */
		found = discovery_cgroup(places->discovery, hash);
	return found ?: "";
}

static bool runs_here(const struct places *places, const struct pod *pod, bool api,
		      const char *cgroup)
{
	if (*cgroup)
		return !pod->node_name || !strcmp(pod->node_name, places->node);
	return api && !pod_finished(pod) && pod->node_name && !strcmp(pod->node_name, places->node);
}

/* The pod file's word counts most: whoever writes it knows where the pod is. */
bool place_find(const struct places *places, const struct pod *pod, bool api, struct place *ret)
{
	const char *netns = pod_annotation(pod, "weir.io/netns");
	const struct sandbox *sandbox = netns ? NULL : sandboxes_of_pod(places->sandboxes, pod);
	const char *cgroup = find_cgroup(places, pod);
	enum place_how how = netns ? PLACE_FILE : sandbox ? PLACE_CNI : PLACE_PROCESS;

	if (pod->host_network)
		return false;
	if (how == PLACE_PROCESS && !runs_here(places, pod, api, cgroup))
		return false;
	*ret = (struct place){ .how = how,
			       .netns = xstrdup(netns	  ? netns
						: sandbox ? sandbox->netns
							  : ""),
			       .cgroup = xstrdup(cgroup) };
	return true;
}

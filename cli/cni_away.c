/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cni_away.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/shared_files.h"
#include "cli/cni_marker.h"

/*
 * The kubelet gives a static pod, which it reads from a file of the node, the MD5 of that file for
 * its uid; all others have a UUID.
 */
static bool is_static_pod(const struct cni_request *r)
{
	size_t n = 0;

	if (!r->uid)
		return false;
	while (isxdigit((unsigned char)r->uid[n]))
		n++;
	return n == 32 && !r->uid[n];
}

static bool in_exempt_namespace(const struct cni_request *r)
{
	json_t *name;
	size_t i;

	if (!json_is_array(r->exempt))
		return !strcmp(r->namespace, "kube-system");
	json_array_foreach ((json_t *)r->exempt, i, name)
		if (json_is_string(name) && !strcmp(json_string_value(name), r->namespace))
			return true;
	return false;
}

static bool lists(const json_t *names, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach ((json_t *)names, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), name))
			return true;
	return false;
}

/* A node where the agent has never run, or whose disk is new, holds up nobody. */
static bool would_be_captured(const struct cni_request *r)
{
	_cleanup_free_ char *path = xasprintf("%s/" STATE_CAPTURED, r->state_dir);
	json_t *state = json_load_file(path, 0, NULL);
	const json_t *pod = r->uid ? json_object_get(json_object_get(state, "pods"), r->uid) : NULL;
	bool captured =
		pod ? json_is_true(pod) : lists(json_object_get(state, "namespaces"), r->namespace);

	json_decref(state);
	return captured;
}

/* Seconds since the first pod was held up. */
static long held_up_for(const struct cni_request *r)
{
	long age = cni_marker_age(r, CNI_MARKER_AWAY);

	if (age < 0)
		cni_marker_set(r, CNI_MARKER_AWAY);
	return age < 0 ? 0 : age;
}

bool cni_away_exempts(const struct cni_request *r, const char **ret_why)
{
	*ret_why = is_static_pod(r) ? "it is a static pod" : "its namespace is exempt";
	return is_static_pod(r) || in_exempt_namespace(r);
}

bool cni_away_never_refused(const struct cni_request *r)
{
	const char *why;

	return r->away == CNI_AWAY_ALLOW || cni_away_exempts(r, &why);
}

bool cni_away_needs_nobody(const struct cni_request *r, const char **ret_why)
{
	if (cni_away_exempts(r, ret_why))
		return true;
	*ret_why = "weir would not capture it";
	return r->away == CNI_AWAY_REFUSE_CAPTURED && !would_be_captured(r);
}

bool cni_away_allows(const struct cni_request *r, const char **ret_why)
{
	if (cni_away_needs_nobody(r, ret_why))
		return true;
	*ret_why = "agentAway is allow";
	if (r->away == CNI_AWAY_ALLOW)
		return true;
	*ret_why = "pods have been held up for agentAwaySeconds: weir gives up";
	if (held_up_for(r) >= r->away_seconds && r->away_seconds)
		return true;
	*ret_why = r->away == CNI_AWAY_REFUSE ? "agentAway is refuse" : "weir would capture it";
	return false;
}

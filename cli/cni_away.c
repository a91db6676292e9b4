/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cni_away.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#define STATE_FILE  "captured.json"
#define MARKER_FILE "cni-away"

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
	_cleanup_free_ char *path = xasprintf("%s/" STATE_FILE, r->state_dir);
	json_t *state = json_load_file(path, 0, NULL);
	const json_t *pod = r->uid ? json_object_get(json_object_get(state, "pods"), r->uid) : NULL;
	bool captured =
		pod ? json_is_true(pod) : lists(json_object_get(state, "namespaces"), r->namespace);

	json_decref(state);
	return captured;
}

/*
 * Seconds since the first pod was held up. The marker lies in /run, which a reboot wipes; it holds
 * seconds since boot, because the clock of a machine that has just booted may still jump.
 */
static long held_up_for(const struct cni_request *r)
{
	_cleanup_free_ char *path = xasprintf("%s/" MARKER_FILE, r->run_dir), *text = NULL;
	_cleanup_free_ char *new = NULL;
	struct timespec now;
	size_t len;
	long since;

	clock_gettime(CLOCK_BOOTTIME, &now);
	if (file_read(path, 64, &text, &len) == 0) {
		since = strtol(text, NULL, 10);
		if (since > 0 && since <= now.tv_sec)
			return now.tv_sec - since;
	}
	new = xasprintf("%ld\n", (long)now.tv_sec);
	if (make_dirs(r->run_dir, 0755) == 0)
		file_write_volatile(path, new, strlen(new), 0600);
	return 0;
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

bool cni_away_allows(const struct cni_request *r, const char **ret_why)
{
	*ret_why = "agentAway is allow";
	if (r->away == CNI_AWAY_ALLOW || cni_away_exempts(r, ret_why))
		return true;
	*ret_why = "weir would not capture it";
	if (r->away == CNI_AWAY_REFUSE_CAPTURED && !would_be_captured(r))
		return true;
	*ret_why = "pods have been held up for agentAwaySeconds: weir gives up";
	if (held_up_for(r) >= r->away_seconds && r->away_seconds)
		return true;
	*ret_why = r->away == CNI_AWAY_REFUSE ? "agentAway is refuse" : "weir would capture it";
	return false;
}

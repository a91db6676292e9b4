/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uninstall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/shared_files.h"

#define WATCH_SECONDS 600
#define EXTRA_MS      30000 /* the server's own end of the watch comes first */
#define AGAIN_MS      2000
#define REFUSED_MS    60000

static const struct keep metadata[] = { { .key = "deletionTimestamp" },
					{ .key = "finalizers" },
					{ 0 } };
static const struct keep object[] = { { .key = "kind" },
				      { .key = "metadata", .below = metadata },
				      { 0 } };
static const struct keep event[] = { { .key = "type" },
				     { .key = "object", .below = object },
				     { 0 } };

static void decide(struct uninstall *u)
{
	int err;

	if (u->decided)
		return;
	u->decided = true;
	err = file_write(u->mark, "", 0, 0600);
	log_info("the DaemonSet is deleted: what is attached goes when this agent ends", NULL);
	if (err < 0)
		log_error("cannot tell install-cni of it", "file", u->mark, "error", strerror(-err),
			  "effect", "weir-cni stays in the CNI configuration", NULL);
}

/* Made anew before this agent has ended, as by `kubectl replace --force`: an upgrade after all. */
static void take_back(struct uninstall *u)
{
	if (!u->decided)
		return;
	u->decided = false;
	unlink(u->mark);
	log_info("the DaemonSet is there again: what is attached stays when this agent ends", NULL);
}

/* Deleted with --cascade=orphan, the pods stay, for another DaemonSet to take them over. */
static bool is_orphaning(const json_t *meta)
{
	json_t *item;
	size_t i;

	json_array_foreach (json_object_get(meta, "finalizers"), i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), "orphan"))
			return true;
	return false;
}

static void on_event(void *ctx, const json_t *root)
{
	struct uninstall *u = ctx;
	const json_t *o = json_object_get(root, "object");
	const json_t *meta = json_object_get(o, "metadata");
	const char *type = json_string_value(json_object_get(root, "type")) ?: "";
	const char *kind = json_string_value(json_object_get(o, "kind")) ?: "";
	bool gone = !strcmp(type, "DELETED");

	if (strcmp(kind, "DaemonSet"))
		return;
	if (!gone && !json_object_get(meta, "deletionTimestamp")) {
		u->orphaning = false;
		take_back(u);
		return;
	}
	if (is_orphaning(meta) && !u->orphaning) {
		u->orphaning = true;
		log_info("the DaemonSet leaves its pods to another: what is attached stays", NULL);
	}
	if (!u->orphaning)
		decide(u);
}

static int on_data(void *ctx, const char *data, size_t len, char **ret_error)
{
	struct uninstall *u = ctx;

	return kube_json_feed(u->json, data, len, ret_error);
}

static void on_done(void *ctx, const struct kube_result *result)
{
	struct uninstall *u = ctx;
	bool refused = result->status == 403;

	u->request = NULL;
	if (refused && !u->refused && !u->decided)
		log_warn(
			"kubernetes", "error", result->error, "effect",
			"an uninstallation will not be noticed; the Role lacks {apiGroups: [apps], "
			"resources: [daemonsets], verbs: [watch]}",
			NULL);
	u->refused = refused;
	loop_arm(u->timer, refused ? REFUSED_MS : AGAIN_MS);
}

static void on_timer(void *ctx, uint32_t events)
{
	struct uninstall *u = ctx;
	struct kube_json_handler handler = { .root = on_event, .ctx = u };
	struct kube_call call = { .method = "GET",
				  .path = u->path,
				  .timeout_ms = WATCH_SECONDS * 1000 + EXTRA_MS,
				  .data = on_data,
				  .done = on_done,
				  .ctx = u };

	(void)events;
	if (u->request)
		return;
	kube_json_free(u->json);
	u->json = kube_json_new(event, true, &handler);
	u->request = kube_client_call(u->client, &call);
}

int uninstall_watch(struct uninstall *u, struct loop *loop, struct kube_client *client,
		    const char *daemonset, const char *run_dir)
{
	const char *slash = daemonset ? strchr(daemonset, '/') : NULL;
	_cleanup_free_ char *namespace = NULL, *ns = NULL, *name = NULL;

	*u = (struct uninstall){ .client = client, .timer = -1 };
	if (!slash)
		return 0;
	u->mark = xasprintf("%s/" RUN_UNINSTALLED, run_dir);
	if (unlink(u->mark) < 0 && errno != ENOENT)
		log_warn("cannot remove", "file", u->mark, "error", strerror(errno), NULL);
	namespace = xasprintf("%.*s", (int)(slash - daemonset), daemonset);
	ns = kube_escape(namespace);
	name = kube_escape(slash + 1);
	u->path = xasprintf("/apis/apps/v1/namespaces/%s/daemonsets?watch=1&resourceVersion=0"
			    "&timeoutSeconds=%d&fieldSelector=metadata.name%%3D%s",
			    ns, WATCH_SECONDS, name);
	u->timer = loop_timer(loop, on_timer, u);
	if (u->timer < 0)
		return u->timer;
	loop_arm(u->timer, 0);
	return 0;
}

void uninstall_stop(struct uninstall *u)
{
	kube_json_free(u->json);
	free(u->path);
	free(u->mark);
	close_fd(&u->timer);
	*u = (struct uninstall){ .timer = -1, .decided = u->decided };
}

int uninstall_finish(const char *run_dir, const char *bpf_dir)
{
	_cleanup_free_ char *dir = xasprintf("--bpf-dir=%s", bpf_dir);
	_cleanup_free_ char *sandboxes = xasprintf("%s/sandboxes", run_dir);

	sandboxes_remove(sandboxes);
	execl("/proc/self/exe", "weir", "cleanup", dir, NULL);
	return -errno;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One pod, asked for by its name: a container runtime may be faster than the watch. */
#include <stdlib.h>
#include <string.h>

#include "agent/kube.h"
#include "agent/kube_lookup.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

#define LOOKUP_MS   5000
#define MAX_LOOKUPS 64 /* at once; the watch brings the others */

struct kube_lookup {
	struct kube_lookup *next;
	struct kube *kube;
	struct kube_request *request;
	struct kube_json *json;
	char *path;
};

static void lookup_free(struct kube_lookup *l)
{
	struct kube_lookup **p = &l->kube->lookups;

	while (*p != l)
		p = &(*p)->next;
	*p = l->next;
	kube_json_free(l->json);
	free(l->path);
	free(l);
}

/* Pods of other nodes are none of ours, whoever names them. */
static void on_pod(void *ctx, const json_t *pod)
{
	struct kube_lookup *l = ctx;
	const json_t *spec = json_object_get(pod, "spec");
	const char *node = json_string_value(json_object_get(spec, "nodeName"));

	if (node && !strcmp(node, l->kube->options.node_name))
		kube_watch_offer(&l->kube->watches[KUBE_PODS_HERE], pod);
}

static int on_data(void *ctx, const char *data, size_t len, char **ret_error)
{
	struct kube_lookup *l = ctx;

	return kube_json_feed(l->json, data, len, ret_error);
}

static void on_done(void *ctx, const struct kube_result *result)
{
	struct kube_lookup *l = ctx;

	if (result->status == 403)
		log_error("kubernetes", "error", result->error, "effect",
			  "pods start more slowly; the ClusterRole lacks {apiGroups: [\"\"], "
			  "resources: [\"pods\"], verbs: [\"get\"]}",
			  NULL);
	else if (!result->good && result->status != 404)
		log_warn("kubernetes", "path", l->path, "error", result->error, NULL);
	lookup_free(l);
}

void kube_lookup_pod(struct kube *k, const char *namespace, const char *name)
{
	_cleanup_free_ char *ns = kube_escape(namespace), *pod = kube_escape(name);
	struct kube_lookup *l = xcalloc(1, sizeof(*l));
	struct kube_json_handler handler = { .root = on_pod, .ctx = l };
	struct kube_call call = {
		.method = "GET", .timeout_ms = LOOKUP_MS, .data = on_data, .done = on_done, .ctx = l
	};
	size_t n = 0;

	l->path = xasprintf("/api/v1/namespaces/%s/pods/%s", ns, pod);
	l->kube = k;
	l->next = k->lookups;
	k->lookups = l;
	for (const struct kube_lookup *other = l->next; other; other = other->next, n++)
		if (!strcmp(other->path, l->path))
			n = MAX_LOOKUPS;
	if (n >= MAX_LOOKUPS) {
		lookup_free(l);
		return;
	}
	l->json = kube_json_new(kube_resources[KUBE_PODS_HERE].object, false, &handler);
	call.path = l->path;
	l->request = kube_client_call(k->client, &call);
}

void kube_lookups_stop(struct kube *k)
{
	while (k->lookups) {
		kube_client_cancel(k->lookups->request);
		lookup_free(k->lookups);
	}
}

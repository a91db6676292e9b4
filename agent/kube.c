/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube.h"

#include <stdlib.h>
#include <string.h>

#include "agent/kube_lookup.h"
#include "agent/report.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

#define GRACE_MS 30000

static void on_changed(void *ctx, const struct kube_watch *w)
{
	struct kube *k = ctx;

	k->options.changed(k->options.ctx, w - k->watches >= KUBE_ENDPOINT_SLICES);
}

static void on_broken(void *ctx, const struct kube_watch *w, const json_t *object, const char *text)
{
	struct kube *k = ctx;

	if (w == &k->watches[KUBE_PODS_HERE])
		report_broken(k, object, text);
	log_error("kubernetes: an object is wrong", "resource", w->resource->name, "error", text,
		  "effect", "what it said before stays in force", NULL);
}

static void on_grace(void *ctx, uint32_t events)
{
	struct kube *k = ctx;

	(void)events;
	k->grace_over = true;
	k->options.changed(k->options.ctx, false);
}

static int start_watches(struct kube *k, struct loop *loop, struct source *source)
{
	struct kube_watch_options o = { .node_name = k->options.node_name,
					.watch_ms = k->options.watch_ms,
					.changed = on_changed,
					.broken = on_broken,
					.ctx = k };

	for (enum kube_resource_id id = 0; id < KUBE_RESOURCES; id++) {
		struct source_file *part;
		int err;

		if (id >= KUBE_NODES && !k->options.all_peers)
			continue;
		part = source_add_api(source, kube_resources[id].name);
		err = kube_watch_start(&k->watches[id], id, loop, k->client, part, &o);
		if (err < 0)
			return err;
	}
	return 0;
}

int kube_start(struct kube *k, struct loop *loop, struct source *source,
	       const struct kube_options *options, char **ret_error)
{
	int err;

	*k = (struct kube){ .options = *options, .grace_timer = -1 };
	err = kube_client_new(loop, options->kubeconfig, &k->client, ret_error);
	if (err < 0)
		return err;
	err = kube_events_new(loop, k->client, options->node_name, &k->events);
	if (err < 0)
		return err;
	k->grace_timer = loop_timer(loop, on_grace, k);
	if (k->grace_timer < 0)
		return k->grace_timer;
	loop_arm(k->grace_timer, GRACE_MS);
	log_info("kubernetes", "server", kube_client_server(k->client), "node", options->node_name,
		 "peers", options->all_peers ? "cluster" : "node", NULL);
	return start_watches(k, loop, source);
}

void kube_stop(struct kube *k)
{
	if (!k->client)
		return;
	kube_lookups_stop(k);
	kube_events_free(k->events);
	for (size_t i = 0; i < KUBE_RESOURCES; i++)
		kube_watch_stop(&k->watches[i]);
	kube_client_free(k->client);
	close_fd(&k->grace_timer);
	*k = (struct kube){ 0 };
}

bool kube_synced(const struct kube *k)
{
	for (size_t i = 0; i < KUBE_RESOURCES; i++)
		if (k->watches[i].resource && !k->watches[i].synced)
			return false;
	return true;
}

bool kube_grace_over(const struct kube *k)
{
	return k->grace_over;
}

double kube_last_sync(const struct kube *k)
{
	double oldest = 0;

	for (size_t i = 0; i < KUBE_RESOURCES; i++) {
		const struct kube_watch *w = &k->watches[i];

		if (!w->resource)
			continue;
		if (!w->synced)
			return 0;
		if (!oldest || w->heard < oldest)
			oldest = w->heard;
	}
	return oldest;
}

bool kube_reachable(const struct kube *k, double *ret_since)
{
	double up = 0, down = 0;

	for (size_t i = 0; i < KUBE_RESOURCES; i++) {
		const struct kube_watch *w = &k->watches[i];

		if (!w->resource)
			continue;
		if (w->connected && w->since > up)
			up = w->since;
		if (!w->connected && (!down || w->since < down))
			down = w->since;
	}
	*ret_since = down ?: up;
	return !down;
}

const char *kube_error(const struct kube *k)
{
	for (size_t i = 0; i < KUBE_RESOURCES; i++)
		if (k->watches[i].error)
			return k->watches[i].error;
	return NULL;
}
